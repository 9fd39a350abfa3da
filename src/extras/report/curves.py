"""The section of curves: loss and score of every fold after each epoch, and what they say."""

import json
from collections.abc import Sequence

import numpy as np

from src.extras.page.blocks import Block, Figure, Note, Row, Section
from src.extras.page.charts import Line, line_chart
from src.extras.report.material import Material
from src.extras.report.words import Curves, diagnose

LEGEND = [("c0", "mean of the folds"), ("c7", "each fold")]


def read_logs(material: Material) -> dict[int, list[dict]]:
    """fold -> its lines of log.jsonl, one per epoch."""
    logs = {}
    for k in material.paths.finished():
        log = material.paths.fold(k).log
        if log.exists():
            lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            logs[k] = [line for line in lines if "epoch" in line]
    return {k: lines for k, lines in logs.items() if lines}


def column(logs: dict[int, list[dict]], name: str) -> list[list[float]]:
    """By fold, the values after each epoch; nan where there is none."""
    return [
        [np.nan if line.get(name) is None else float(line[name]) for line in lines] for lines in logs.values()
    ]


def mean_of(folds: Sequence[Sequence[float]]) -> np.ndarray:
    """(E,) over the folds that are still in training then."""
    longest = max(map(len, folds))
    padded = np.array([[*fold, *[np.nan] * (longest - len(fold))] for fold in folds])
    known = np.isfinite(padded)
    return np.where(known, padded, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def lines_of(
    folds: Sequence[Sequence[float]], *, colour: str = "c0", look: str = "", names: bool = True
) -> list[Line]:
    epochs = [list(range(1, len(fold) + 1)) for fold in folds]
    thin = [
        Line(x, fold, "c7", "thin", f"fold {k}" if names else "")
        for k, (x, fold) in enumerate(zip(epochs, folds))
    ]
    mean = mean_of(folds)
    return [*thin, Line(list(range(1, len(mean) + 1)), mean.tolist(), colour, look, "mean of the folds")]


def curves(material: Material) -> Section:
    logs = read_logs(material)
    epochs = material.score.get("epochs")
    if not logs or not epochs:
        sentence = "This run has no curves of its own: it blends runs that are trained already."
        return Section("curves", "Curves", sentence, [])
    metric, lower = material.competition.metric_name, material.competition.lower_is_better
    best, last = epochs["joint_best"], len(epochs["mean"])
    scores = list(epochs["scores"].values())
    train, valid = column(logs, "loss"), column(logs, "valid_loss")
    findings = diagnose(
        Curves(
            loss=mean_of(train),
            valid_loss=mean_of(valid),
            score=mean_of(scores) * (-1 if lower else 1),
            spread=material.score["spread"],
            first_loss=float(np.nanmax(mean_of(train))),
        )
    )
    sentence = f"All folds together are best after epoch {best} of {last}"
    if best < last:
        sentence += f", {epochs['joint_gain']:.4f} better than at the end, which is what predicts"
    figures = [score_figure(scores, best, metric), loss_figure(train, valid, best)]
    if any(len(set(rates)) > 1 for rates in column(logs, "lr")):
        figures.append(rate_figure(column(logs, "lr")[:1]))
    blocks: list[Block] = [Note(text, "" if text.startswith("No sign") else "bad") for text in findings]
    return Section("curves", "Curves", f"{sentence}.", [*blocks, Row(figures)])


def score_figure(scores: list[list[float]], best: int, metric: str) -> Figure:
    drawing = line_chart(
        lines_of(scores),
        title=f"{metric} on held-out images after each epoch",
        x_label="epoch",
        y_label=metric,
        at=best,
        at_name=f"best: {best}",
    )
    return Figure(
        drawing,
        f"{metric} on held-out images. The dashed line marks the best epoch of all folds together.",
        LEGEND,
    )


def loss_figure(train: list[list[float]], valid: list[list[float]], best: int) -> Figure:
    drawing = line_chart(
        [*lines_of(train), *lines_of(valid, colour="c1")],
        title="Training loss and held-out loss after each epoch",
        x_label="epoch",
        y_label="loss",
        at=best,
    )
    legend = [("c0", "training"), ("c1", "held out"), ("c7", "each fold")]
    return Figure(
        drawing, "Loss. A growing gap between the two means that the model learns images by heart.", legend
    )


def rate_figure(rates: list[list[float]]) -> Figure:
    x = list(range(1, len(rates[0]) + 1))
    drawing = line_chart(
        [Line(x, rates[0])],
        title="Learning rate of the head",
        x_label="epoch",
        y_label="rate",
        y_range=(0.0,),
    )
    return Figure(drawing, "Learning rate of the head at the end of each epoch.")
