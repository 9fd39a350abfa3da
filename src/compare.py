"""Is run B really better than run A? Paired by image, on out-of-fold predictions.  runs/<A>, runs/<B> -> lines on the terminal

Run: python -m src.compare runs/<A> runs/<B>        make compare A=run B=run
"""
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from src import competitions, config, predictions, runs
from src.competitions import Competition
from src.data import tables
from src.runs import RunPaths

DRAWS = 200     # of the bootstrap: its interval is good to about a tenth of its width


class Comparison(NamedTuple):
    """B minus A, higher is better; interval: 95 % of bootstrap draws over groups; p: two-sided, None when folds differ or are too few."""

    a: float
    b: float
    interval: tuple[float, float]
    per_fold: list[float]
    p: float | None
    per_class: dict[str, float]

    @property
    def difference(self) -> float:
        return self.b - self.a

    def verdict(self) -> str:
        low, high = self.interval
        leader = "B" if low > 0 else "A"
        if low <= 0 <= high:
            return "no difference that this data can show: it is smaller than the noise"
        if self.p is not None and self.p > 0.05:
            return f"{leader} leads on these images, but folds vary as much (p = {self.p:.2f}): try a second fold_seed"
        return f"{leader} is better"


def compare(competition: Competition, table: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame, *, same_folds: bool = True) -> Comparison:
    """Compare two runs' out-of-fold predictions of the same images. table: folds.csv. Raises ValueError for differing images."""
    table = table[table["fold"] >= 0].reset_index(drop=True)
    a, b = predictions.aligned([predictions.check_ids(a, table["id"], "run A"), b])
    sign = -1 if competition.lower_is_better else 1

    def difference(part: pd.DataFrame) -> float:
        return sign * (competition.score(part, b.loc[part["id"]]) - competition.score(part, a.loc[part["id"]]))

    parts = [part for _, part in table.groupby("fold")] if same_folds else []
    per_fold = [difference(part) for part in parts]
    return Comparison(
        competition.score(table, a), competition.score(table, b), bootstrap(competition, table, a, b, sign), per_fold,
        corrected_p(per_fold) if len(per_fold) > 1 else None, dict(recalls(competition, table, b) - recalls(competition, table, a)),
    )


def bootstrap(competition: Competition, table: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame, sign: int) -> tuple[float, float]:
    """95 % interval of the difference over draws of whole groups with replacement: images of one patient are not independent. Efron 1979."""
    rng = np.random.default_rng(0)
    positions = list(table.groupby("group").indices.values())
    found = []
    for _ in range(DRAWS):
        drawn = np.concatenate([positions[i] for i in rng.integers(0, len(positions), len(positions))])
        names = np.array([f"{n}" for n in range(len(drawn))], dtype=object)
        part = table.iloc[drawn].assign(id=names, row=names)
        pair = [competition.score(part, one.loc[table["id"].iloc[drawn]].set_axis(pd.Index(names, name="id"))) for one in (a, b)]
        found.append(sign * (pair[1] - pair[0]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def corrected_p(differences: list[float]) -> float:
    """Two-sided p of the folds' differences, corrected for training parts that overlap. Nadeau and Bengio 2003, doi:10.1023/A:1024068626366."""
    from scipy.stats import t

    values = np.array(differences)
    folds, variance = len(values), values.var(ddof=1)
    if variance == 0:
        return 1.0 if values.mean() == 0 else 0.0
    statistic = values.mean() / np.sqrt(variance * (1 / folds + 1 / (folds - 1)))       # test / train images = 1 / (folds - 1)
    return float(2 * t.sf(abs(statistic), folds - 1))


def recalls(competition: Competition, table: pd.DataFrame, frame: pd.DataFrame) -> pd.Series:
    """The share of each class's images that get their class."""
    if competition.outputs != competition.classes or len(competition.targets) > 1:
        return pd.Series(dtype=float)
    truth = table[competition.targets[0]]
    return (frame.loc[table["id"]].idxmax(axis=1).to_numpy() == truth).groupby(truth).mean()


def say(comparison: Comparison, names: tuple[str, str], metric: str) -> str:
    low, high = comparison.interval
    lines = [f"A {names[0]}: {metric} {comparison.a:.4f}", f"B {names[1]}: {metric} {comparison.b:.4f}",
             f"B - A, positive when B is better: 95 % between {low:+.4f} and {high:+.4f}"]
    if comparison.per_fold:
        lines.append("by fold: " + " ".join(f"{d:+.4f}" for d in comparison.per_fold) + ("" if comparison.p is None else f"; p = {comparison.p:.3f}"))
    if comparison.per_class:
        by_size = sorted(comparison.per_class.items(), key=lambda item: -abs(item[1]))[:6]
        lines.append("by class, recall: " + ", ".join(f"{name} {d:+.3f}" for name, d in by_size))
    return "\n".join([*lines, comparison.verdict()])


def main() -> None:
    if len(sys.argv) != 3:
        raise ValueError("usage: make compare A=run B=run")
    a, b = (RunPaths(Path(argument)) for argument in sys.argv[1:])
    lost = [paths.name for paths in (a, b) if not paths.score.exists()]
    if lost:
        raise ValueError(f"{' and '.join(lost)} has no score.json yet: make train RUN={lost[0]}")
    settings = config.load(a.config)
    competition = competitions.load(settings.comp, settings.inputs)
    same_folds = runs.read_json(a.score)["fold_hash"] == runs.read_json(b.score)["fold_hash"]
    if not same_folds:
        print("the runs have differing folds: images are paired, folds are not", file=sys.stderr)
    found = compare(competition, tables.read_folds(a.folds), *(predictions.read(paths.scored()[0]) for paths in (a, b)), same_folds=same_folds)
    print(say(found, (a.name, b.name), competition.metric_name))


if __name__ == "__main__":
    runs.main(main)
