"""The sections of competitions whose answers are numbers: predicted against true, and for grades the cells of
the weighted kappa.
"""

from collections.abc import Iterator

import numpy as np

from src.extras.page.blocks import Block, Cell, Figure, Row, Section, Table, number, signed
from src.extras.page.charts import Line, circles, line, line_chart, plot, x_scale, y_scale
from src.extras.report.classes import confusion, matrix
from src.extras.report.material import Material

MOST_TARGETS, MOST_POINTS, BINS = 4, 1500, 10


def values(material: Material) -> Section:
    names, truth, predicted = material.classes, material.target.astype(float), material.predicted
    shares = [explained(truth[:, t], predicted[:, t]) for t in range(len(names))]
    sentence = f"The predictions explain {shares[0]:.0%} of the variance of {names[0]}"
    if len(names) > 1:
        sentence += f" (on average of {len(names)} numbers {np.mean(shares):.0%})"
    sentence += "; where the line of residuals bends, a range is predicted too high or too low."
    blocks: list[Block] = []
    for t, name in list(enumerate(names))[:MOST_TARGETS]:
        blocks.append(
            Row([scatter(truth[:, t], predicted[:, t], name), residuals(truth[:, t], predicted[:, t], name)])
        )
    blocks.append(per_target(names, truth, predicted))
    blocks += by_range(truth[:, 0], predicted[:, 0], names[0])
    return Section("classes", "Values", sentence, blocks)


def explained(truth: np.ndarray, predicted: np.ndarray) -> float:
    """R squared."""
    return float(1 - np.square(predicted - truth).sum() / max(np.square(truth - truth.mean()).sum(), 1e-12))


def some(size: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(size)[:MOST_POINTS])


def scatter(truth: np.ndarray, predicted: np.ndarray, name: str) -> Figure:
    rows = some(len(truth))
    x, y = x_scale(truth, margin=0.04), y_scale([*predicted, *truth])
    ends = [max(x.low, y.low), min(x.high, y.high)]
    marks = [line(Line(ends, ends, "c7", "dashed", "perfect"), x, y)]
    marks.append(circles(x(truth[rows]), y(predicted[rows]), ["c0 faint"] * len(rows), [""] * len(rows)))
    drawing = plot(
        x, y, marks, title=f"Predicted against true {name}", x_label=f"true {name}", y_label="predicted"
    )
    return Figure(drawing, f"{name}: predicted against true. On the dashed line an answer is perfect.")


def residuals(truth: np.ndarray, predicted: np.ndarray, name: str) -> Figure:
    rows, error = some(len(truth)), predicted - truth
    x, y = x_scale(truth, margin=0.04), y_scale(error[rows])
    parts = np.array_split(np.argsort(truth, kind="stable"), min(BINS, len(truth)))
    means = Line([truth[p].mean() for p in parts], [error[p].mean() for p in parts], "c1", "", "mean")
    marks = [circles(x(truth[rows]), y(error[rows]), ["c0 faint"] * len(rows), [""] * len(rows))]
    marks += [line(Line([x.low, x.high], [0, 0], "c7", "dashed"), x, y), line(means, x, y)]
    drawing = plot(
        x, y, marks, title=f"Residuals of {name}", x_label=f"true {name}", y_label="predicted − true"
    )
    return Figure(drawing, f"{name}: what is left, by size. The line is the mean of tenths of the images.")


def per_target(names: list[str], truth: np.ndarray, predicted: np.ndarray) -> Table:
    rows = []
    for t, name in enumerate(names):
        error = predicted[:, t] - truth[:, t]
        rank = np.corrcoef(truth[:, t].argsort().argsort(), predicted[:, t].argsort().argsort())[0, 1]
        rows.append(
            [
                Cell(name),
                number(float(np.sqrt(np.square(error).mean()))),
                number(float(np.abs(error).mean())),
                signed(float(error.mean())),
                number(explained(truth[:, t], predicted[:, t]), 3),
                number(float(rank), 3),
            ]
        )
    columns = ["number", "RMSE", "MAE", "mean error", "R²", "rank correlation"]
    return Table(
        "Each number that is predicted.", columns, rows, frozenset(range(1, 6)), is_sortable=len(rows) > 1
    )


def by_range(truth: np.ndarray, predicted: np.ndarray, name: str) -> Iterator[Block]:
    """The error in tenths of the images, from the smallest to the largest truth."""
    rows = []
    for part in np.array_split(np.argsort(truth, kind="stable"), min(BINS, len(truth))):
        error = predicted[part] - truth[part]
        span = Cell(f"{truth[part].min():.4g} – {truth[part].max():.4g}", float(truth[part].min()))
        rows.append(
            [
                span,
                Cell(f"{len(part):,}", len(part)),
                number(float(np.abs(error).mean())),
                signed(float(error.mean())),
            ]
        )
    columns = [f"true {name}", "images", "MAE", "mean error"]
    yield Table(f"The error by size of {name}, in tenths of the images.", columns, rows, frozenset({1, 2, 3}))


# -- grades


def grades(material: Material) -> Section:
    counts = confusion(material)
    cost, kappa = kappa_cells(counts)
    wrong = np.unravel_index(cost.argmax(), cost.shape)
    names = material.classes
    sentence = f"Rounded to the nearest grade, the quadratic weighted kappa is {kappa:.4f}"
    if cost.max() > 0:
        i, j = wrong
        sentence += f"; {names[i]} answered as {names[j]} costs most of what is missing, {cost[i, j]:.4f}"
    pair = Row([matrix(material, counts), spread_figure(material)])
    blocks: list[Block] = [pair, kappa_table(material, counts, cost), per_grade(material, counts)]
    return Section("classes", "Grades", f"{sentence}.", blocks)


def kappa_cells(counts: np.ndarray) -> tuple[np.ndarray, float]:
    """What each pair of grades takes from the quadratic weighted kappa, 1 - sum(w O) / sum(w E), and the
    kappa.
    """
    places = np.arange(len(counts))
    weight = np.square(places[:, None] - places[None])
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / max(counts.sum(), 1)
    cost = weight * counts / max((weight * expected).sum(), 1e-12)
    return cost, float(1 - cost.sum())


def kappa_table(material: Material, counts: np.ndarray, cost: np.ndarray) -> Table:
    rows = []
    for i, j in zip(*np.unravel_index(np.argsort(-cost, axis=None, kind="stable"), cost.shape)):
        if not cost[i, j]:
            break
        share = float(cost[i, j] / cost.sum())
        rows.append(
            [
                Cell(material.classes[i]),
                Cell(material.classes[j]),
                Cell(str(counts[i, j]), int(counts[i, j]), f"#mistakes?label={i}&answer={j}"),
                number(float(cost[i, j])),
                Cell(f"{share:.0%}", share, share=share),
            ]
        )
    columns = ["true", "answered", "images", "costs kappa", "of all that is missing"]
    caption = "The kappa's cells: a mistake by two grades costs four times one by one grade."
    return Table(caption, columns, rows, frozenset({2, 3, 4}))


def per_grade(material: Material, counts: np.ndarray) -> Table:
    rows = []
    for c, name in enumerate(material.classes):
        of_grade = material.label == c
        error = material.predicted[of_grade, 0] - c
        rows.append(
            [
                Cell(name, c, f"#mistakes?label={c}"),
                Cell(f"{of_grade.sum():,}", int(of_grade.sum())),
                number(counts[c, c] / of_grade.sum() if of_grade.any() else np.nan, 3),
                number(float(np.abs(error).mean()) if len(error) else np.nan, 3),
                signed(float(error.mean()) if len(error) else np.nan, 3),
            ]
        )
    columns = ["grade", "images", "recall", "MAE in grades", "mean error"]
    return Table("Each grade.", columns, rows, frozenset({1, 2, 3, 4}))


def spread_figure(material: Material) -> Figure:
    """The predicted numbers of each true grade, between which a decoder could cut."""
    grades_, lines = material.predicted[:, 0], []
    edges = np.linspace(*np.quantile(grades_, [0.002, 0.998]), 40)
    for c in range(min(len(material.classes), 8)):
        share = np.histogram(grades_[material.label == c], edges)[0] / max((material.label == c).sum(), 1)
        lines.append(
            Line(((edges[1:] + edges[:-1]) / 2).tolist(), share.tolist(), f"c{c}", "", material.classes[c])
        )
    drawing = line_chart(
        lines,
        title="Predicted numbers by true grade",
        x_label="predicted number",
        y_label="share of the grade",
    )
    legend = [(f"c{c}", name) for c, name in enumerate(material.classes[:8])]
    return Figure(drawing, 'Where two hills meet is the best cut; SET="decode=cut_points" fits it.', legend)
