"""How much a difference of two scores varies by chance, estimated from how it varies between folds.

The variance of a gain in one fold, of n images, holds the chance of those images and of that training. The
gain of all K folds counts 1 / K + 1 / (K - 1) of it, since training parts overlap (Nadeau and Bengio 2003,
doi:10.1023/A:1024068626366); on m test rows it is n / m of it.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from src.extras.ledger.entries import Entry

# of the predictions of two entries: 0 for equal ones, nan where unknown
Difference = Callable[[Entry, Entry], float]


def overlap(num_folds: int) -> float:
    """The part of a fold's variance that is left in the mean of K folds."""
    return 1 / num_folds + 1 / (num_folds - 1) if num_folds > 1 else math.nan


def fold_variance(a: Entry, b: Entry) -> float:
    """Of the gain of b over a between folds: fold by fold where both have the same, else of both together.
    nan for a single fold.
    """
    is_paired = bool(a.fold_hash) and a.fold_hash == b.fold_hash and len(a.folds) == len(b.folds)
    if is_paired:
        return variance(np.array(b.folds) - np.array(a.folds))
    return variance(np.array(a.folds)) + variance(np.array(b.folds))


def variance(values: np.ndarray) -> float:
    """Of values (K,), without those that are nan: the AUC of a fold with one class."""
    values = values[np.isfinite(values)]
    return float(values.var(ddof=1)) if len(values) > 1 else math.nan


def margin(a: Entry, b: Entry) -> float:
    """Half the 95 % interval of the gain of b over a: a smaller gain may be the noise of the folds."""
    from scipy.stats import t

    num_folds = min(len(a.folds), len(b.folds))
    if num_folds < 2:
        return math.nan
    return float(t.ppf(0.975, num_folds - 1) * math.sqrt(fold_variance(a, b) * overlap(num_folds)))


def variances(best: Entry, others: Sequence[Entry], difference: Difference) -> np.ndarray:
    """(J,) of the gain of each other over the best in one fold. The few folds of one pair tell little, so all
    pairs are pooled: the variance is proportional to how much the predictions differ.
    """
    between_folds = np.array([fold_variance(best, other) for other in others])
    differences = np.array([difference(best, other) for other in others])
    is_known = np.isfinite(differences)
    typical = differences[is_known].mean() if is_known.any() else 1.0
    differences = np.where(is_known, differences, typical)
    is_measured = np.isfinite(between_folds)
    if not is_measured.any() or not differences[is_measured].any():
        return np.full(len(others), math.nan)
    return differences * between_folds[is_measured].mean() / differences[is_measured].mean()
