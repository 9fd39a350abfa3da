"""How sure is a difference? Two predictions of the same images are scored again and again, each time with a
part of the images left out.

The standard error is the delete-a-group jackknife's (Shao and Wu 1989, doi:10.1214/aos/1176347263; Kott
2001), the interval Student's t with one degree of freedom less than there are parts. A part is made of whole
rows and whole groups, since images of one patient are not independent. Unlike a bootstrap it needs no row
twice, which pooling would join again and a host's metric refuse; it rarely loses the last positive; and it is
not too narrow where there are only ten groups: tests/simulations/test_simulated_compare.py has its coverage.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.competition import scoring
from src.competition.facts import Competition
from src.competition.groups import join_groups

PARTS = 50  # at most so many; the error of the error is then a tenth


class Difference(NamedTuple):
    """B minus A, positive where B is better, and its standard error over images; nan where the metric has no
    value without some part.
    """

    gain: float
    error: float
    num_parts: int
    per_fold: tuple[float, ...] = ()  # gains, where B was fitted fold by fold

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of such intervals hold the true difference."""
        return self.gain - self.margin, self.gain + self.margin

    @property
    def margin(self) -> float:
        """Half the interval."""
        from scipy.stats import t

        return float(t.ppf(0.975, self.num_parts - 1) * self.error) if self.num_parts > 1 else float("nan")

    @property
    def is_gain(self) -> bool:
        """Is B better by more than chance? Over images and, where it was fitted fold by fold, over folds too:
        what is fitted varies with them.
        """
        is_over_images = self.gain > self.margin + 1e-9  # False for nan
        return is_over_images and (not self.per_fold or corrected_p(self.per_fold) < 0.025)


def difference(
    competition: Competition, table: pd.DataFrame, a: list[pd.DataFrame], b: list[pd.DataFrame]
) -> Difference:
    """Of the mean scores of two lists of predictions by row (as competition.pooled has them, all of the same
    rows). table: their images.
    """
    part = parts(table)
    gain = gain_of(competition, table, a, b)
    gains = np.array([gain_of(competition, table[part != k], a, b) for k in range(part.max() + 1)])
    return Difference(gain, jackknife_error(gains), len(gains))


def jackknife_error(gains: np.ndarray) -> float:
    """The standard error of a gain by the gains (G,) that are left without each part in turn."""
    return float(np.sqrt(gains.var() * (len(gains) - 1))) if len(gains) > 1 else float("nan")


def fitted_difference(
    competition: Competition, table: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame
) -> Difference:
    """Where b was fitted fold by fold, each on the other folds: with the gain in each fold."""
    per_fold = tuple(gain_of(competition, part, [a], [b]) for _, part in table.groupby("fold"))
    return difference(competition, table, [a], [b])._replace(per_fold=per_fold)


def corrected_p(per_fold: Sequence[float]) -> float:
    """One-sided p of the gains of folds, corrected for training parts that overlap. Nadeau and Bengio 2003,
    doi:10.1023/A:1024068626366.
    """
    from scipy.stats import t

    # the AUC of a fold with one class is nan
    gains = np.array([gain for gain in per_fold if np.isfinite(gain)])
    if len(gains) < 2:
        return 1.0
    # held-out / training images = 1 / (folds - 1)
    variance = gains.var(ddof=1) * (1 / len(gains) + 1 / (len(gains) - 1))
    if variance == 0:
        return 0.0 if gains.mean() > 0 else 1.0
    return float(t.sf(gains.mean() / np.sqrt(variance), len(gains) - 1))


def gain_of(
    competition: Competition, table: pd.DataFrame, a: list[pd.DataFrame], b: list[pd.DataFrame]
) -> float:
    """The mean score of b less that of a over the table's rows, positive where b is better."""
    rows = a[0].index[a[0].index.isin(table["row"])]
    score = scoring.scorer(competition, table, rows)
    gain = np.mean([score(frame.loc[rows]) for frame in b]) - np.mean([score(frame.loc[rows]) for frame in a])
    return float(-gain if competition.lower_is_better else gain)


def parts(table: pd.DataFrame) -> np.ndarray:
    """The number of each image's part: one row, group or content is never in two."""
    _, unit = np.unique(join_groups(table), return_inverse=True)
    num_units = unit.max() + 1
    return (np.random.default_rng(0).permutation(num_units) % min(num_units, PARTS))[unit]
