"""Two runs, or as many seeds of each, compared on out-of-fold predictions: the difference, its error over
images, models and seeds, and a verdict in words. Shared by compare and report.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.competition import paired, scoring
from src.competition.facts import Competition
from src.competition.paired import Difference
from src.run import predictions

SURE, PROBABLE = 0.01, 0.05  # p below which B is better, or probably better
# standard errors that a difference must have to be seen at p < 0.05 in four of five tries
REACH = 1.96 + 0.84


class Part(NamedTuple):
    variance: float  # of the difference
    freedom: float  # degrees of freedom of that estimate


class Noise(NamedTuple):
    """Why the difference would come out otherwise another time."""

    images: Part  # other held-out images
    # models trained on other images: what folds differ by beyond the noise of their held-out images
    folds: Part
    seeds: Part  # models trained with another seed; of one seed per run it is part of `folds`

    @property
    def variance(self) -> float:
        return self.images.variance + self.training

    @property
    def training(self) -> float:
        return self.folds.variance + self.seeds.variance

    @property
    def freedom(self) -> float:
        """Satterthwaite 1946, doi:10.2307/3002019."""
        return self.variance**2 / sum(part.variance**2 / part.freedom for part in self)


class Comparison(NamedTuple):
    """Scores as the metric gives them; a difference is positive where B is better, whatever the metric."""

    a: float
    b: float
    over_images: Difference
    per_fold: list[float]  # empty when folds differ
    noise: Noise | None  # None: the metric has no value without some of the images
    per_class: dict[str, float]
    num_rows: int
    num_seeds: int = 1

    @property
    def gain(self) -> float:
        return self.over_images.gain

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, for these models on other images like these."""
        return self.over_images.interval

    @property
    def p(self) -> float:
        """Two-sided, of such a difference between equals, over images, models and seeds; nan: unknown."""
        from scipy.stats import t

        if self.noise is None:
            return math.nan
        if self.noise.variance == 0:
            return 1.0 if self.gain == 0 else 0.0
        return float(2 * t.sf(abs(self.gain) / math.sqrt(self.noise.variance), self.noise.freedom))

    def verdict(self) -> str:
        """The answer in a sentence."""
        leader = "B" if self.gain > 0 else "A"
        if self.noise is None:
            return (
                "no verdict: the metric has no value without some of these images (too few rows of a class),"
                " so the error of the difference is unknown"
            )
        if self.p < SURE:
            return f"{leader} is better"
        chance = f"of equal runs, 1 in {round(1 / self.p)} pairs would differ as much"
        if self.p < PROBABLE:
            return f"{leader} is probably better: {chance}"
        return f"no difference that this data can show: {chance}. {self.needs(self.noise)}"

    def needs(self, noise: Noise) -> str:
        """What would show a difference of this size, if it is real."""
        if self.gain == 0:
            return "There is none to be shown"
        target = (self.gain / REACH) ** 2  # the variance with which it would show
        rows = rounded(self.num_rows * noise.variance / target)
        text = f"To show one of this size takes about {rows} rows (here {self.num_rows:,})"
        per_seed = noise.folds.variance if self.num_seeds == 1 else noise.seeds.variance * self.num_seeds
        others = noise.variance - per_seed / self.num_seeds
        if per_seed > 0 and target > others:
            seeds = max(math.ceil(per_seed / (target - others)), self.num_seeds + 1)
            return f'{text} or {seeds} seeds of each run: make compare A="a a-seed=1" B="b b-seed=1"'
        return f"{text}; more seeds would not do, the noise is that of the images"


def rounded(number: float) -> str:
    """Two digits: 2,400."""
    if number > 1e7:
        return "ten million or more"
    step = 10 ** max(len(str(math.ceil(number))) - 2, 0)
    return f"{math.ceil(number / step) * step:,}"


def compare(
    competition: Competition,
    table: pd.DataFrame,
    a: list[pd.DataFrame],
    b: list[pd.DataFrame],
    *,
    same_folds: bool = True,
) -> Comparison:
    """Compare the out-of-fold predictions of two runs, or of several seeds of each, for the same images.
    table: folds.csv. Raises ValueError for differing images.
    """
    if len(a) != len(b):
        raise ValueError(f"A has {len(a)} runs and B {len(b)}: name as many seeds of each")
    table = table[table["fold"] >= 0].reset_index(drop=True)
    frames = predictions.aligned([predictions.check_ids(a[0], table["id"], "run A"), *a[1:], *b])
    by_row = [scoring.pooled(competition, table, frame)[1] for frame in frames]
    rows_a, rows_b = by_row[: len(a)], by_row[len(a) :]
    over_images = paired.difference(competition, table, rows_a, rows_b)
    folds = [part for _, part in table.groupby("fold")] if same_folds else []
    by_seed = [
        [paired.gain_of(competition, part, [one], [other]) for one, other in zip(rows_a, rows_b)]
        for part in folds
    ]
    sizes = np.array([part["row"].nunique() for part in folds])
    noise = noise_of(over_images, np.reshape(by_seed, (len(folds), len(a))), sizes)
    score = scoring.scorer(competition, table, by_row[0].index)
    recall = [recalls(competition, table, frame) for frame in frames]
    return Comparison(
        a=float(np.mean([score(frame) for frame in rows_a])),
        b=float(np.mean([score(frame) for frame in rows_b])),
        over_images=over_images,
        per_fold=[float(np.mean(gains)) for gains in by_seed],
        noise=noise if np.isfinite(over_images.margin) else None,
        per_class=dict(sum(recall[len(a) :]) / len(b) - sum(recall[: len(a)]) / len(a)),
        num_rows=len(by_row[0]),
        num_seeds=len(a),
    )


def noise_of(over_images: Difference, by_seed: np.ndarray, sizes: np.ndarray) -> Noise:
    """by_seed: differences (K, S) of folds and seeds; sizes: held-out rows (K,). K is 0 where the runs have
    differing folds.

    Seeds: their variance within a fold. Folds: what is left of the variance between them without that of
    held-out images and of seeds. The training parts of folds overlap, so it counts 1 / K + 1 / (K - 1) in
    place of 1 / K (Nadeau and Bengio 2003, doi:10.1023/A:1024068626366). They apply that to all noise, also
    to that of held-out images, which do not overlap: it costs half the power.
    """
    has_score = np.isfinite(by_seed).all(axis=1)  # the AUC of a fold with one class is nan
    by_seed, sizes = by_seed[has_score], sizes[has_score]
    num_folds, num_seeds = by_seed.shape
    images = over_images.error**2
    of_seed = by_seed.var(axis=1, ddof=1).mean() if num_seeds > 1 and num_folds else 0.0
    of_fold = 0.0
    if num_folds > 1:
        explained = images * np.mean(sizes.sum() / sizes) + of_seed / num_seeds
        of_fold = max(0.0, by_seed.mean(axis=1).var(ddof=1) - explained)
    return Noise(
        images=Part(images, max(over_images.num_parts - 1, 1)),
        folds=Part(of_fold * (1 / max(num_folds, 1) + 1 / max(num_folds - 1, 1)), max(num_folds - 1, 1)),
        seeds=Part(of_seed / (max(num_folds, 1) * num_seeds), max(num_folds * (num_seeds - 1), 1)),
    )


def recalls(competition: Competition, table: pd.DataFrame, frame: pd.DataFrame) -> pd.Series:
    """The share of each class's images that get their class."""
    if competition.outputs != competition.classes or len(competition.targets) > 1:
        return pd.Series(dtype=float)
    truth = table[competition.targets[0]]
    return (frame.loc[table["id"]].idxmax(axis=1).to_numpy() == truth).groupby(truth).mean()


def summary_lines(comparison: Comparison, names: tuple[str, str], metric: str) -> str:
    """The comparison as it is printed."""
    low, high = comparison.interval
    seeds = "" if comparison.num_seeds == 1 else f", {comparison.num_seeds} seeds of each"
    interval = f"95 % over images{seeds}: {low:+.4f} to {high:+.4f}"
    lines = [
        f"A {names[0]}: {metric} {comparison.a:.4f}",
        f"B {names[1]}: {metric} {comparison.b:.4f}",
        f"difference, positive where B is better: {comparison.gain:+.4f}; {interval}",
    ]
    if comparison.per_fold:
        lines.append("by fold: " + " ".join(f"{gain:+.4f}" for gain in comparison.per_fold))
    if comparison.noise:
        images, training = (
            math.sqrt(v) for v in (comparison.noise.images.variance, comparison.noise.training)
        )
        note = "" if comparison.per_fold else " (without that of training: the folds differ)"
        errors = f"{images:.4f} of images, {training:.4f} of training{note}"
        lines.append(f"standard error: {errors}; p = {comparison.p:.3f}")
    if comparison.per_class:
        largest = sorted(comparison.per_class.items(), key=lambda item: -abs(item[1]))[:6]
        lines.append("recall by class: " + ", ".join(f"{name} {gain:+.3f}" for name, gain in largest))
    return "\n".join([*lines, comparison.verdict()])
