"""What the leaderboard adds to the out-of-fold scores: do both rank alike, and how much of a gain is luck?"""

import math
from collections.abc import Sequence

import numpy as np

from src.extras.ledger.entries import Entry

FEWEST = 5  # submissions for a rank correlation


def rank_correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Spearman's, with its 95 % interval (Bonett and Wright 2000, doi:10.1007/BF02294183); nan for fewer than
    five pairs.
    """
    from scipy.stats import spearmanr

    if len(a) < FEWEST:
        return math.nan, math.nan, math.nan
    rho = float(spearmanr(a, b).statistic)
    z = math.atanh(max(-0.9999, min(0.9999, rho)))
    width = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(a) - 3))
    return rho, math.tanh(z - width), math.tanh(z + width)


def expected_maximum(number: int) -> float:
    """Of so many standard normal values (Blom 1958)."""
    from scipy.stats import norm

    return float(norm.ppf((number - 0.375) / (number + 0.25)))


def public_luck(entries: Sequence[Entry], public_error: float) -> tuple[float, float]:
    """How far the best public score lies above the mean of all, and how far it would if all were equally
    good. public_error: the standard error of one's public score beside the others'.
    """
    public = np.array([entry.public for entry in entries])
    return float(public.max() - public.mean()), expected_maximum(len(public)) * public_error
