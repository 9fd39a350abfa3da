"""How far above the plain score does what a decoder reports lie, where nothing is to be gained? And the gain
of the best epoch, on noise?

By hand, at full size: python -m tests.simulations.test_simulated_decode 200        in the tests: fewer draws,
the same seeds
"""

import sys

import numpy as np
import pandas as pd
import pytest

from src.competition import decoders
from src.competition.facts import Competition
from src.run import predictions

LETTERS = ("a", "b", "c")
CLASSES = Competition(
    labels=("label",),
    task="multiclass",
    classes=LETTERS,
    header=("id", "label"),
    answer="label",
    metric="accuracy",
)
GRADES = Competition(
    labels=("label",),
    task="ordinal",
    classes=tuple("01234"),
    header=("id", "label"),
    answer="label",
    metric="quadratic_weighted_kappa",
)
CASES = {"offsets": CLASSES, "cut_points": GRADES}


def draw(name: str, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """150 images whose predictions tell nothing of their labels: accuracy is 1/3, kappa 0, whatever is
    decoded.
    """
    competition, ids = CASES[name], [f"i{n:03}" for n in range(150)]
    labels = rng.choice(competition.classes, 150)
    values = rng.dirichlet(np.ones(3), 150) if name == "offsets" else rng.uniform(0, 4, (150, 1))
    table = pd.DataFrame(
        {"id": ids, "row": ids, "label": labels, "group": ids, "fold": rng.permutation(np.arange(150) % 5)}
    )
    return table, predictions.make(ids, values, competition.outputs)


def simulate(name: str, times: int, seed: int = 0) -> dict[str, np.ndarray]:
    """By draw: what is reported now, and the better of plain and nested, less the truth."""
    rng, truth, now, best = np.random.default_rng(seed), {"offsets": 1 / 3, "cut_points": 0.0}[name], [], []
    for _ in range(times):
        result = decoders.fit(decoders.DECODERS[name], CASES[name], *draw(name, rng))
        now.append(result.nested if result.parameters and result.gain.is_gain else result.plain)
        best.append(max(result.nested, result.plain))
    return {"reported": np.array(now) - truth, "better of both": np.array(best) - truth}


def gain_of_best_epoch(times: int, seed: int = 0, num_epochs: int = 10, num_folds: int = 5) -> np.ndarray:
    """Over folds whose scores walk a little from epoch to epoch and lead nowhere, as with a rate that ends at
    0.
    """
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 1, (times, num_folds, num_epochs)) * np.linspace(0.02, 0.002, num_epochs)
    mean = steps.cumsum(axis=2).mean(axis=1)
    return mean.max(axis=1) - mean[:, -1]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_decoder_reports_no_gain_of_noise(name):
    result = simulate(name, 25)
    error = result["reported"].std(ddof=1) / 5
    assert (
        abs(result["reported"].mean()) < 2.5 * error
        and result["reported"].mean() <= result["better of both"].mean()
    ), result


def test_the_best_epoch_gains_on_noise_in_most_runs():
    """What the line of the joint epoch warns of."""
    assert 0.8 < (gain_of_best_epoch(2000) > 0).mean() < 0.99


if __name__ == "__main__":
    for decoder in CASES:
        draws = simulate(decoder, int(sys.argv[1]))
        print(
            decoder,
            *(
                f"{key} {values.mean():+.4f} +- {values.std(ddof=1) / np.sqrt(len(values)):.4f}"
                for key, values in draws.items()
            ),
            flush=True,
        )
    gains = gain_of_best_epoch(5000)
    print(
        f"the best of 10 epochs gains on noise in {(gains > 0).mean():.0%} of runs, {gains.mean():.4f} on average"
    )
