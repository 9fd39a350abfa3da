"""Two submissions to be judged by: the best out-of-fold, and the one with the most to win beside it.

The host counts the better of the two. So the second is worth the part of its gain over the first that is
above zero: little where it is surely worse, and little where it answers alike. That is the expected
improvement (Jones, Schonlau and Welch 1998, doi:10.1023/A:1008306431147). tests/simulations compares it with
other ways to pick.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from src.extras.ledger.entries import Entry
from src.extras.ledger.noise import Difference, overlap, variances

ENOUGH = 5  # entries with a public score from which it is estimated how far the test set differs


class Second(NamedTuple):
    entry: Entry
    gain: float  # over the best, expected from out-of-fold and public scores
    error: float  # its standard error
    win: float  # expected improvement
    difference: float  # of the predictions; nan: unknown

    @property
    def chance(self) -> float:
        """That it is the better of the two."""
        return 0.5 * (1 + math.erf(self.gain / self.error / math.sqrt(2)))


def choose(
    entries: Sequence[Entry], difference: Difference, public_share: float
) -> tuple[Entry, list[Second]]:
    """The best out-of-fold, and all others, the one with the most to win first. public_share: of the test
    rows.
    """
    best, *others = sorted(entries, key=lambda entry: -entry.oof)
    if not others:
        return best, []
    of_fold = variances(best, others, difference)
    gains, weights = weighted_gains(best, others, of_fold, public_share)
    errors = np.sqrt(of_fold * weights)
    ranked = [
        Second(entry, gain, error, improvement(gain, error), difference(best, entry))
        for entry, gain, error in zip(others, gains.tolist(), errors.tolist())
    ]
    return best, sorted(ranked, key=lambda one: (-one.win, -one.gain))


def weighted_gains(
    best: Entry, others: Sequence[Entry], of_fold: np.ndarray, public_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """(J,) gains over the best from out-of-fold and public scores, each weighted by how sure it is; and their
    variances in units of that of one fold.
    """
    of_oof, of_public = overlap(len(best.folds)), public_variance(best, public_share)
    of_oof += shift([best, *others], of_fold.mean() / 2, of_oof + of_public)
    oof = np.array([entry.oof - best.oof for entry in others])
    public = np.array([entry.public - best.public for entry in others])
    weight = of_oof / (of_oof + of_public)  # of the public score
    weights = np.where(np.isfinite(public) & np.isfinite(weight), weight, 0.0)
    gains = (1 - weights) * oof + weights * np.nan_to_num(public)
    return gains, of_oof * (1 - weights)


def public_variance(entry: Entry, public_share: float) -> float:
    """Of the public score, in units of the variance of one fold; nan where numbers of rows are unknown."""
    num_folds = max(len(entry.folds), 1)
    return entry.oof_rows / num_folds / (public_share * entry.test_rows)


def shift(entries: Sequence[Entry], of_one: float, expected: float) -> float:
    """What public scores scatter around out-of-fold scores beyond the expected noise, in the same units: the
    test set differs from the training images. 0 for few scores. of_one: the variance of one score in one
    fold.
    """
    residuals = np.array([entry.public - entry.oof for entry in entries])
    residuals = residuals[np.isfinite(residuals)]
    if len(residuals) < ENOUGH or not of_one > 0 or not math.isfinite(expected):
        return 0.0
    return max(0.0, float(residuals.var(ddof=1)) / of_one - expected)


def improvement(gain: float, error: float) -> float:
    """The mean of the part above zero of a normal variable. Without an error the gain itself, so that the
    order is that of the gains.
    """
    if not error > 0:
        return gain
    ratio = gain / error
    density = math.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    return gain * 0.5 * (1 + math.erf(ratio / math.sqrt(2))) + error * density
