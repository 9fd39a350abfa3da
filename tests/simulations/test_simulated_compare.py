"""How often does compare's interval hold the true difference, how often is an equal run called better, and
how often is a better one found?

By hand, at full size: python -m tests.simulations.test_simulated_compare 2000        in the tests: fewer
draws, the same seeds
"""

import sys
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from src.competition import paired
from src.extras import comparison

PRIOR = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
BETTER = 0.23  # of latent quality: 5.6 points of macro F1
TIMES = 200


class Case(NamedTuple):
    """Rows of a group share a difficulty, which differs for each run too; the images of a row share half of
    their luck.
    """

    num_rows: int = 600
    per_row: int = 1
    num_groups: int = 0  # 0: each row is its own
    # of a run, on a row and again on each image: the less, the more alike two runs are
    luck: float = 0.5
    # spread of a fold's quality by the luck of its training, in units of the latent quality
    training: float = 0.0


CASES = {
    "600 rows, 1 image each": Case(),
    "150 rows, 3 images each": Case(150, 3),
    "150 rows, 8 images each": Case(150, 8),
    "600 rows in 10 groups": Case(600, 1, 10),
    "600 rows in 60 groups": Case(600, 1, 60),
    "600 rows, folds differ by training": Case(training=0.15),
}


class Draw(NamedTuple):
    """By row, the images pooled."""

    truth: np.ndarray  # (N,)
    fold: np.ndarray  # (N,)
    group: np.ndarray  # (N,)
    runs: np.ndarray  # (2, S, N): the class that A and B say, for each seed


def draw(case: Case, better: float, rng: np.random.Generator, num_seeds: int = 1) -> Draw:
    """Two runs whose latent quality is 1 and 1 + better."""
    row = np.arange(case.num_rows)
    group = row * case.num_groups // case.num_rows if case.num_groups else row
    truth, fold = rng.choice(5, case.num_rows, p=PRIOR), group % 5
    spread = 0.7 if case.num_groups else 0.0
    shared = rng.normal(0, spread, case.num_rows)[group] + rng.normal(0, 1, case.num_rows)

    def run(quality: float) -> np.ndarray:
        of_group, of_fold = rng.normal(0, spread, case.num_rows)[group], rng.normal(0, case.training, 5)[fold]
        of_image = rng.normal(0, case.luck, (case.per_row, case.num_rows))
        margin = quality + shared + of_group + of_fold + rng.normal(0, case.luck, case.num_rows) + of_image
        is_right = (1 / (1 + np.exp(-margin))).mean(axis=0) > 0.5  # the mean over the row's images
        return np.where(is_right, truth, (truth + rng.integers(1, 5, case.num_rows)) % 5)

    return Draw(
        truth,
        fold,
        group,
        np.array([[run(1.0 + extra) for _ in range(num_seeds)] for extra in (0.0, better)]),
    )


def macro_f1(truth: np.ndarray, guess: np.ndarray) -> float:
    hits, size = (
        np.bincount(truth[truth == guess], minlength=5),
        np.bincount(truth, minlength=5) + np.bincount(guess, minlength=5),
    )
    return float((2 * hits[size > 0] / size[size > 0]).mean())


def gains(drawn: Draw, rows: np.ndarray) -> np.ndarray:
    """By seed (S,), of these rows."""
    a, b = ([macro_f1(drawn.truth[rows], guess[rows]) for guess in run] for run in drawn.runs)
    return np.array(b) - np.array(a)


def judge(drawn: Draw) -> comparison.Comparison:
    """As comparison.compare does, by the same parts, error and noise; only the scores are taken in numpy, a
    hundred times as fast.
    """
    part = paired.parts(pd.DataFrame({"row": np.arange(len(drawn.truth)), "group": drawn.group.astype(str)}))
    left = np.array([gains(drawn, part != k).mean() for k in range(part.max() + 1)])
    over_images = paired.Difference(
        float(gains(drawn, part >= 0).mean()), paired.jackknife_error(left), len(left)
    )
    by_seed, sizes = (
        np.array([gains(drawn, drawn.fold == k) for k in range(5)]),
        np.bincount(drawn.fold, minlength=5),
    )
    return comparison.Comparison(
        a=0.0,
        b=0.0,
        over_images=over_images,
        per_fold=by_seed.mean(axis=1).tolist(),
        per_class={},
        num_rows=len(drawn.truth),
        noise=comparison.noise_of(over_images, by_seed, sizes),
        num_seeds=by_seed.shape[1],
    )


def simulate(
    case: Case, better: float, times: int, true: float, seed: int = 0, num_seeds: int = 1
) -> dict[str, float]:
    rng, rows = np.random.default_rng(seed), []
    for _ in range(times):
        result = judge(draw(case, better, rng, num_seeds))
        low, high = result.interval
        rows.append(
            [
                low <= true <= high,
                result.p < comparison.SURE,
                result.p < comparison.PROBABLE,
                low > 0 or high < 0,
                old_rule(result),
            ]
        )
    return dict(
        zip(("coverage", "better", "probably", "interval", "old rule"), np.mean(rows, axis=0).tolist())
    )


def old_rule(result: comparison.Comparison) -> bool:
    """The interval is off 0, and so is Nadeau and Bengio's test, which inflates the noise of held-out images
    too.
    """
    low, high = result.interval
    leads = np.array(result.per_fold) if low > 0 else -np.array(result.per_fold)
    return (low > 0 or high < 0) and paired.corrected_p(leads) < 0.025


def true_difference(case: Case, better: float) -> float:
    """Of very many rows (and a group for every ten of them), and models without luck in their training."""
    large = case._replace(num_rows=400_000, num_groups=case.num_groups and 40_000, training=0.0)
    drawn = draw(large, better, np.random.default_rng(1000))
    return float(gains(drawn, np.ones(large.num_rows, bool)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if "training" not in name])
def test_the_interval_holds_the_true_difference_and_equal_runs_are_seldom_called_better(name):
    result = simulate(CASES[name], 0.0, TIMES, true=0.0)
    error = np.sqrt(0.95 * 0.05 / TIMES)
    assert 0.93 - 2 * error < result["coverage"] < 0.96 + 2 * error, result
    assert result["better"] < 0.01 + 2 * error and result["probably"] < 0.05 + 2 * error, result


@pytest.mark.slow
def test_a_better_run_is_found_twice_as_often_as_by_the_old_rule():
    result = simulate(CASES["600 rows, 1 image each"], BETTER, TIMES, true=0.0)
    assert result["probably"] > 2 * result["old rule"] and result["better"] > result["old rule"], result


def line(result: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in result.items())


if __name__ == "__main__":
    times = int(sys.argv[1])
    for name in ("600 rows, 1 image each", "600 rows, folds differ by training"):
        true = true_difference(CASES[name], BETTER)
        print(
            f"{name}, B better by {true:.3f}: {line(simulate(CASES[name], BETTER, times, true))}", flush=True
        )
    for name, case in CASES.items():
        print(f"{name}, equal: {line(simulate(case, 0.0, times, 0.0))}", flush=True)
    print(
        f"folds differ by training, 3 seeds, equal: {line(simulate(CASES['600 rows, folds differ by training'], 0.0, times, 0.0, num_seeds=3))}"
    )
