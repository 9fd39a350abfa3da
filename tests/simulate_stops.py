"""How often does the sanity check stop an honest fold? Models that know nothing, or little, of labels per
patient, rare classes, one-class folds.

Run: python tests/simulate_stops.py --runs 100 --seed 0        prints a line per case: the share of folds that
would be stopped
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

sys.path[:0] = [str(Path(__file__).parents[1])]

from src.competition.metrics import METRICS
from src.training.sanity import STOP_AFTER, below_constant


class Case(NamedTuple):
    """Labels belong to patients, and so does most of what a model makes of an image; `shift` is what it knows
    of the label.
    """

    metric: str
    patients: int
    images: int  # of each patient
    positive: float  # share of the patients
    shift: float  # 0.42 gives an AUC of 0.61, 0.8 one of 0.71
    threshold: float = 0.0  # above it a probability is over a half
    noise: float = 0.2


CASES = {
    "chance, 200 patients x 5": Case("roc_auc", 200, 5, 0.5, 0.0),
    "chance, 20 patients x 50": Case("roc_auc", 20, 50, 0.5, 0.0),
    "AUC 0.61, 200 patients x 5": Case("roc_auc", 200, 5, 0.5, 0.42),
    "AUC 0.61, 20 patients x 50": Case("roc_auc", 20, 50, 0.5, 0.42),
    "MCC, 2 % positive": Case("mcc", 1000, 1, 0.02, 0.8, threshold=2.2),
    "kappa, 2 % positive": Case("quadratic_weighted_kappa", 1000, 1, 0.02, 0.8, threshold=2.2),
    "accuracy, folds of one class": Case("accuracy", 100, 2, 0.0, 0.8, threshold=1.0),
    "F1, 200 patients x 5": Case("macro_f1", 200, 5, 0.5, 0.0),
}


def share_stopped(case: Case, runs: int, seed: int) -> float:
    """The share of the folds, five in a run, that would be stopped."""
    rng, metric, verdicts = np.random.default_rng(seed), METRICS[case.metric], []
    for _ in range(runs):
        label = rng.permutation((np.arange(case.patients) < case.positive * case.patients).astype(int))
        fold = rng.permutation(case.patients) % 5
        for number in range(5):
            patients = np.flatnonzero(fold == number)
            truth = np.repeat(label[patients], case.images)
            known = np.repeat(rng.normal(size=len(patients)) + case.shift * label[patients], case.images)
            ids = pd.Index([f"i{i}" for i in range(len(truth))])
            solution = pd.DataFrame({"p": truth}, index=ids)
            logits = known + case.noise * rng.normal(size=len(truth)) - case.threshold
            frame = pd.DataFrame({"p": 1 / (1 + np.exp(-logits))}, index=ids)
            constant = metric(solution, frame.assign(p=label[fold != number].mean()))
            verdicts.append(
                bool(
                    below_constant(
                        lambda dealt, solution=solution: metric(solution, dealt),
                        frame,
                        np.repeat(patients, case.images),
                        metric(solution, frame),
                        constant,
                        STOP_AFTER,
                    )
                )
            )
    return float(np.mean(verdicts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name, case in CASES.items():
        print(
            f"{name}: {share_stopped(case, given.runs, given.seed):.1%} of {5 * given.runs} folds stopped",
            flush=True,
        )


if __name__ == "__main__":
    main()
