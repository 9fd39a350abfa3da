"""The first section: how good is the run, how sure is that, and what does it gain over its neighbour?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.competition import paired, scoring
from src.extras.comparison import Comparison, compare
from src.extras.page.blocks import Block, Cell, Figure, Note, Row, Section, Table, number, signed
from src.extras.page.charts import intervals
from src.extras.report.material import Material
from src.extras.results import Result, changes
from src.run import predictions
from src.training.sanity import constant_answer

MOST_CHANGES = 8
FOLD_PARTS = 25  # half as many as for all images: quicker, and its error of the error is a seventh


def margin(material: Material, table: pd.DataFrame, most: int = paired.PARTS) -> float:
    """Half the 95 % interval of the score over images like these (delete-a-group jackknife); nan where the
    metric has no value without some of them. most: parts that are left out in turn.
    """
    table = table.reset_index(drop=True)
    part = paired.parts(table) % most
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
    blocks = [*neighbour_blocks(material), fold_blocks(material, half, constant)]
    return Section("score", "Score", sentence, blocks)


def fold_blocks(material: Material, half: float, constant: float) -> Row:
    table, score, metric = material.table, material.score, material.competition.metric_name
    folds = dict(iter(table.groupby("fold")))
    names, values = [f"fold {k}" for k in folds], [score["folds"][str(k)] for k in folds]
    margins = [margin(material, part, FOLD_PARTS) for part in folds.values()]
    drawing = intervals(
        [*names, "all"],
        [*values, score["oof"]],
        [*margins, half],
        title=f"{metric} of each fold with its 95 % interval",
        x_label=metric,
    )
    spread = f"The folds differ by {score['spread']:.4f} (standard deviation). "
    inside = sum(abs(value - score["oof"]) <= m for value, m in zip(values, margins))
    caption = spread + f"{inside} of {len(folds)} intervals hold the score of all: "
    caption += (
        "that much the images alone explain."
        if inside == len(folds)
        else "the others differ by more than chance."
    )
    figure = Figure(drawing, caption)
    rows = [
        [Cell(name), number(value), number(m), Cell(f"{len(part):,}", len(part))]
        for name, value, m, part in zip(names, values, margins, folds.values())
    ]
    rows.append([Cell("all"), number(score["oof"]), number(half), Cell(f"{len(table):,}", len(table))])
    rows.append([Cell("no image looked at"), number(constant), Cell(""), Cell("")])
    also = [
        [Cell(f"all, {name}"), number(value), Cell(""), Cell("")] for name, value in score["also"].items()
    ]
    columns = ["", metric, "± 95 %", "images"]
    table = Table(
        "The score in numbers.", columns, [*rows, *also], frozenset({1, 2, 3}), is_sortable=False, first=99
    )
    return Row([figure, table])


def neighbour_blocks(material: Material) -> Iterator[Block]:
    """What differs from the run that is most like this one, and whether it helps."""
    other = material.neighbour
    if other is None:
        yield Note("There is no other finished run of this competition to compare with yet.")
        return
    different = changes(material.result, other)
    names = "; ".join(map(str, different[:MOST_CHANGES])) or "no setting, only code or versions"
    if len(different) > MOST_CHANGES:
        names += f"; and {len(different) - MOST_CHANGES} more"
    comparison = compare_with(material, other)
    if comparison is None:
        yield Note(
            f"Of the other runs it differs least from {other.name}, in {names}; their images are not the"
            " same."
        )
        return
    low, high = comparison.interval
    verdict = comparison.verdict().replace("B is", "this run is").replace("A is", f"{other.name} is")
    level = ""
    if verdict.startswith("this run is better"):
        level = "good"
    elif verdict.startswith(f"{other.name} is better"):
        level = "bad"
    yield Note(
        f"Of {len(material.others)} other runs it differs least from {other.name}, in {names} (there in"
        f" brackets). The difference is {comparison.gain:+.4f} (95 % over images: {low:+.4f} to {high:+.4f}):"
        f" {verdict}.",
        level,
    )
    if comparison.per_fold:
        rows = [[Cell(f"fold {k}"), signed(gain)] for k, gain in enumerate(comparison.per_fold)]
        yield Table(
            f"Gain over {other.name}, fold by fold.", ["", "gain"], rows, frozenset({1}), is_sortable=False
        )
