"""The first section: how good is the run, how sure is that, and what does it gain over its neighbour?"""

import numpy as np
import pandas as pd

from src.competition import paired, scoring
from src.extras.comparison import SURE, Comparison, compare
from src.extras.page.blocks import Cell, Figure, Note, Row, Section, Table, number, signed
from src.extras.page.charts import intervals
from src.extras.report.material import Material
from src.extras.results import Result, changes
from src.run import predictions
from src.training.sanity import constant_answer

MOST_CHANGES = 8
LARGE = 50_000  # images: from here on a fold's interval follows from that of all, for the sake of minutes


def margin(material: Material, table: pd.DataFrame) -> float:
    """Half the 95 % interval of the score over images like these (delete-a-group jackknife); nan where the
    metric has no value without some of them.
    """
    table = table.reset_index(drop=True)
    part = paired.parts(table)
    scores = [material.score_of(table[part != k]) for k in range(part.max() + 1)]
    gains = paired.Difference(0.0, paired.jackknife_error(np.array(scores)), len(scores))
    return gains.margin


def constant_score(material: Material) -> float:
    """The out-of-fold score of an answer that looks at no image: the training part's mean, fold by fold."""
    table, parts = material.table, []
    for k in sorted(table["fold"].unique()):
        held_out = (table["fold"] == k).to_numpy()
        answer = constant_answer(material.target[~held_out])
        ids = table["id"][held_out]
        parts.append(predictions.make(ids, np.tile(answer, (len(ids), 1)), material.competition.outputs))
    frame = pd.concat(parts).loc[table["id"]]
    return scoring.score(material.competition, table, frame)


def compare_with(material: Material, other: Result) -> Comparison | None:
    """This run as B and the other as A; None where they have not the same images."""
    theirs = predictions.read(other.paths.scored()[0])
    if set(theirs.index) != set(material.oof.index) or list(theirs.columns) != list(material.oof.columns):
        return None
    same_folds = other.score["fold_hash"] == material.score["fold_hash"]
    return compare(material.competition, material.table, [theirs], [material.oof], same_folds=same_folds)


def standing(material: Material) -> Section:
    score, metric = material.score, material.competition.metric_name
    half, constant = margin(material, material.table), constant_score(material)
    direction = "lower is better" if material.competition.lower_is_better else "higher is better"
    sentence = f"Out-of-fold {metric} is {score['oof']:.4f}"
    if half == half:
        sentence += f", and would be within ±{half:.4f} on 95 of 100 other sets of images like these"
    sentence += f" ({direction}); an answer that looks at no image gets {constant:.4f}."
    other = material.neighbour
    comparison = compare_with(material, other) if other else None
    beside = beside_neighbour(material, other, comparison)
    return Section("score", "Score", sentence, [beside, by_fold(material, half, constant, comparison)])


def by_fold(material: Material, half: float, constant: float, comparison: Comparison | None) -> Row:
    """The folds as a picture and as numbers. half: the margin of all images."""
    table, score, metric = material.table, material.score, material.competition.metric_name
    folds = dict(iter(table.groupby("fold")))
    names, values = [f"fold {k}" for k in folds], [score["folds"][str(k)] for k in folds]
    margins = [half * np.sqrt(len(table) / len(part)) for part in folds.values()]
    if len(table) <= LARGE:
        margins = [margin(material, part) for part in folds.values()]
    drawing = intervals(
        [*names, "all"],
        [*values, score["oof"]],
        [*margins, half],
        title=f"{metric} of each fold with its 95 % interval",
        x_label=metric,
    )
    inside = sum(abs(value - score["oof"]) <= m for value, m in zip(values, margins))
    caption = (
        f"The folds differ by {score['spread']:.4f} (standard deviation); {inside} of {len(folds)} intervals"
        " hold the score of all images."
    )
    gains = comparison.per_fold if comparison else []
    rows = [
        [
            Cell(name),
            number(value),
            number(m),
            Cell(f"{len(part):,}", len(part)),
            *map(signed, gains[k : k + 1]),
        ]
        for k, (name, value, m, part) in enumerate(zip(names, values, margins, folds.values()))
    ]
    gain = [signed(comparison.gain)] if comparison and gains else []
    rows.append([Cell("all"), number(score["oof"]), number(half), Cell(f"{len(table):,}", len(table)), *gain])
    empty = [Cell("")] * (2 + len(gain))
    rows.append([Cell("no image looked at"), number(constant), *empty])
    rows += [[Cell(f"all, {name}"), number(value), *empty] for name, value in score["also"].items()]
    columns = ["", metric, "± 95 %", "images", *["gain"] * len(gain)]
    numeric = frozenset(range(1, len(columns)))
    numbers = Table("The score in numbers.", columns, rows, numeric, is_sortable=False, first=len(rows))
    return Row([Figure(drawing, caption), numbers])


def beside_neighbour(material: Material, other: Result | None, comparison: Comparison | None) -> Note:
    """What differs from the run that is most like this one, and whether it helps."""
    if other is None:
        return Note("There is no other finished run of this competition to compare with yet.")
    different = changes(material.result, other)
    names = "; ".join(map(str, different[:MOST_CHANGES])) or "no setting, only code or versions"
    if len(different) > MOST_CHANGES:
        names += f"; and {len(different) - MOST_CHANGES} more"
    count = len(material.others)
    of = f"Of {count} other runs" if count > 1 else "Of all runs"
    if comparison is None:
        return Note(f"{of} it differs least from {other.name}, in {names}; their images are not the same.")
    low, high = comparison.interval
    verdict = comparison.verdict().replace("B is", "this run is").replace("A is", f"{other.name} is")
    level = ""
    if comparison.p < SURE:
        level = "good" if comparison.gain > 0 else "bad"
    return Note(
        f"{of} it differs least from {other.name}, in {names}. The gain is"
        f" {comparison.gain:+.4f} (95 % over images: {low:+.4f} to {high:+.4f}): {verdict}.",
        level,
    )
