"""The section of a competition with one class per image: who is taken for whom, each class's figures, and
whether the probabilities can be believed.
"""

from collections.abc import Iterator

import numpy as np

from src.competition.tasks import softmax
from src.extras.page.blocks import Block, Cell, Figure, Own, Row, Section, Table, number
from src.extras.page.charts import NUM_COLOURS, Line, line_chart
from src.extras.report.material import Material, share_interval

LARGEST_MATRIX = 24  # classes; of more, those with the most mistakes
MOST_PAIRS = 60
MANY = 30  # classes: more are listed from the worst on
BINS = 15
WORST_CURVES = 5


def classes(material: Material) -> Section:
    counts = confusion(material)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    recall = np.diag(counts) / np.maximum(counts.sum(axis=1), 1)
    names = material.classes
    worst = int(np.where(counts.sum(axis=1) > 0, recall, np.inf).argmin())
    sentence = f"{names[worst]} is found least often ({recall[worst]:.0%} of its images)"
    if wrong.any():
        i, j = np.unravel_index(wrong.argmax(), wrong.shape)
        sentence += f"; the most frequent mistake is {names[i]} taken for {names[j]}, {wrong[i, j]} times"
    both = Row([matrix(material, counts), *pairs(material, wrong)])
    blocks: list[Block] = [both, per_class(material, counts), figures(material)]
    return Section("classes", "Classes", f"{sentence}.", blocks)


def confusion(material: Material) -> np.ndarray:
    """(C, C) images by true and by answered class."""
    size = len(material.classes)
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (material.label, material.answer), 1)
    return counts


def matrix(material: Material, counts: np.ndarray) -> Own:
    """The confusion matrix, or the part of it with the most mistakes."""
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    shown = np.sort(np.argsort(-wrong, kind="stable")[:LARGEST_MATRIX])
    part = counts[np.ix_(shown, shown)]
    support = counts.sum(axis=1)[shown]
    recall = np.diag(part) / np.maximum(support, 1)
    orders = {
        "as given": list(range(len(shown))),
        "by size": np.argsort(-support, kind="stable").tolist(),
        "by recall": np.argsort(recall, kind="stable").tolist(),
        "alike together": alike_together(part).tolist(),
    }
    data = {
        "names": [material.classes[i] for i in shown],
        "numbers": shown.tolist(),
        "counts": part.tolist(),
        "shares": (part / np.maximum(support, 1)[:, None]).tolist(),
        "orders": orders,
        "left_out": len(material.classes) - len(shown),
    }
    return Own("matrix.html.j2", data)


def alike_together(counts: np.ndarray) -> np.ndarray:
    """An order in which classes that are taken for each other stand side by side (average linkage)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance.clip(0), checks=False), "average", optimal_ordering=True))


def pairs(material: Material, wrong: np.ndarray) -> Iterator[Table]:
    """The most frequent mistakes, as a table."""
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    support = np.bincount(material.label, minlength=len(wrong))
    rows = []
    for i, j in zip(*np.unravel_index(order, wrong.shape)):
        if not wrong[i, j]:
            break
        share = wrong[i, j] / support[i]
        link = f"#mistakes?label={i}&answer={j}"
        rows.append(
            [
                Cell(material.classes[i]),
                Cell(material.classes[j]),
                Cell(str(wrong[i, j]), int(wrong[i, j]), link),
                Cell(f"{share:.1%}", float(share), share=float(share)),
            ]
        )
    if rows:
        columns = ["true", "answered", "images", "of the true class"]
        yield Table(
            "The most frequent mistakes; a number leads to its images.",
            columns,
            rows,
            frozenset({2, 3}),
            first=8,
        )


def per_class(material: Material, counts: np.ndarray) -> Table:
    """Recall with its interval, precision, F1 and average precision of each class."""
    support, answered, right = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    order, rows = np.arange(len(support)), []
    if len(order) > MANY:
        order = np.argsort(right / np.maximum(support, 1), kind="stable")
    for c in order:
        name = material.classes[c]
        recall = right[c] / support[c] if support[c] else np.nan
        precision = right[c] / answered[c] if answered[c] else np.nan
        f1 = 2 * right[c] / (support[c] + answered[c]) if support[c] + answered[c] else np.nan
        low, high = share_interval(right[c], support[c])
        span = Cell(f"{low:.2f} – {high:.2f}", low) if low == low else Cell("–", -1.0)
        average = average_precision(material.label == c, material.predicted[:, c])
        shown = (
            Cell(f"{recall:.3f}", float(recall), share=float(recall)) if recall == recall else Cell("–", -1.0)
        )
        rows.append(
            [
                Cell(name, link=f"#mistakes?label={c}"),
                Cell(f"{support[c]:,}", int(support[c])),
                shown,
                span,
                number(precision, 3),
                number(f1, 3),
                number(average, 3),
            ]
        )
    columns = ["class", "images", "recall", "95 %", "precision", "F1", "average precision"]
    caption = (
        "Each class: recall is the share of its images that are found, precision that of its answers that are"
        " right."
    )
    return Table(
        caption, columns, rows, frozenset({1, 2, 3, 4, 5, 6}), can_filter=len(rows) > MANY, first=MANY
    )


def average_precision(is_true: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return (
        float(average_precision_score(is_true, score)) if 0 < is_true.sum() < len(is_true) else float("nan")
    )


def precision_recall(
    is_true: np.ndarray, score: np.ndarray, points: int = 80
) -> tuple[list[float], list[float]]:
    """Recall and precision at so many thresholds, the highest first."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(is_true[order])
    # equally far apart in recall
    at = np.unique(np.searchsorted(hits, np.linspace(1, max(hits[-1], 1), points)).clip(max=len(order) - 1))
    recall = hits[at] / max(hits[-1], 1)
    return recall.tolist(), (hits[at] / (at + 1)).tolist()


def figures(material: Material) -> Row:
    return Row([precision_recall_figure(material), calibration_figure(material)])


def precision_recall_figure(material: Material, worst: int = WORST_CURVES) -> Figure:
    """Of the classes with the lowest average precision."""
    is_true = (
        np.eye(len(material.classes), dtype=bool)[material.label]
        if material.is_single
        else material.target >= 0.5
    )
    average = np.array(
        [average_precision(is_true[:, c], material.predicted[:, c]) for c in range(is_true.shape[1])]
    )
    order = [int(c) for c in np.argsort(average, kind="stable") if average[c] == average[c]][:worst]
    lines, legend = [], []
    for number_, c in enumerate(order):
        colour = f"c{number_ % NUM_COLOURS}"
        lines.append(
            Line(*precision_recall(is_true[:, c], material.predicted[:, c]), colour, "", material.classes[c])
        )
        legend.append((colour, f"{material.classes[c]} ({average[c]:.2f})"))
    drawing = line_chart(
        lines, title="Precision against recall", x_label="recall", y_label="precision", y_range=(0.0, 1.0)
    )
    caption = "Precision against recall of the classes with the lowest average precision (in brackets)."
    return Figure(drawing, caption, legend)


def calibration_figure(material: Material) -> Figure:
    """How often an answer of some probability is right."""
    if material.is_single:
        sure, is_right = material.predicted.max(axis=1), material.is_right
    else:
        sure, is_right = material.predicted.ravel(), (material.target >= 0.5).ravel()
    x, y, error = reliability(sure, is_right)
    lines = [Line([0, 1], [0, 1], "c7", "dashed", "perfect"), Line(x, y, "c0", "", "this run")]
    mean_sure, mean_right = float(sure.mean()), float(is_right.mean())
    caption = (
        f"Calibration: on average {mean_sure:.1%} sure and {mean_right:.1%} right, off by {error:.3f} (ECE)."
    )
    if material.is_single:
        temperature = best_temperature(material.predicted, material.label)
        after = softmax(np.log(material.predicted.clip(1e-12)) / temperature)
        mended = reliability(after.max(axis=1), material.is_right)
        lines.append(Line(mended[0], mended[1], "c1", "", "with temperature"))
        kind = "too sure" if temperature > 1 else "not sure enough"
        caption += f" The answers are {kind}: a temperature of {temperature:.2f} would leave {mended[2]:.3f}."
    drawing = line_chart(
        lines,
        title="Share that is right against probability",
        x_label="probability",
        y_label="share that is right",
    )
    legend = [("c0", "as predicted"), ("c7", "perfect")]
    return Figure(drawing, caption, [*legend, ("c1", "with temperature")] if material.is_single else legend)


def reliability(sure: np.ndarray, is_right: np.ndarray) -> tuple[list[float], list[float], float]:
    """Mean probability and share that is right in bins of equal size, and the expected calibration error in
    bins of equal width (Guo et al. 2017, arXiv:1706.04599).
    """
    parts = [
        part for part in np.array_split(np.argsort(sure, kind="stable"), min(BINS, len(sure))) if len(part)
    ]
    x, y = [float(sure[part].mean()) for part in parts], [float(is_right[part].mean()) for part in parts]
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [
        abs(sure[place == b].mean() - is_right[place == b].mean()) * (place == b).mean()
        for b in np.unique(place)
    ]
    return x, y, float(sum(gaps))


def best_temperature(probs: np.ndarray, label: np.ndarray) -> float:
    """What the logits are divided by for the lowest log loss."""
    from scipy.optimize import minimize_scalar

    logs = np.log(probs.clip(1e-12))

    def loss(log_temperature: float) -> float:
        scaled = softmax(logs / np.exp(log_temperature))
        return float(-np.log(scaled[np.arange(len(label)), label].clip(1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))
