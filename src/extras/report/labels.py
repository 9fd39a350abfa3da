"""The section of a competition with several labels per image: each label's figures and its best threshold."""

import numpy as np

from src.extras.page.blocks import Cell, Row, Section, Table, number
from src.extras.report.classes import average_precision, calibration_figure, precision_recall_figure
from src.extras.report.material import Material, share_interval


def labels(material: Material) -> Section:
    truth, fold = material.target >= 0.5, material.table["fold"].to_numpy()
    plain, fitted, rows = [], [], []
    for c, name in enumerate(material.classes):
        probability = material.predicted[:, c]
        threshold, nested = (
            best_threshold(truth[:, c], probability),
            nested_f1(truth[:, c], probability, fold),
        )
        f1 = f1_of(truth[:, c], probability >= 0.5)
        plain.append(f1)
        fitted.append(nested)
        found = (truth[:, c] & (probability >= 0.5)).sum()
        low, high = share_interval(found, int(truth[:, c].sum()))
        recall = float(found / truth[:, c].sum()) if truth[:, c].any() else np.nan
        rows.append(
            [
                Cell(name, link=f"#mistakes?label={c}"),
                Cell(f"{truth[:, c].sum():,}", int(truth[:, c].sum())),
                number(average_precision(truth[:, c], probability), 3),
                number(recall, 3),
                Cell(f"{low:.2f} – {high:.2f}", low) if low == low else Cell("–", -1.0),
                number(f1, 3),
                number(threshold, 2),
                number(nested, 3),
            ]
        )
    columns = [
        "label",
        "images",
        "average precision",
        "recall",
        "95 %",
        "F1 at 0.5",
        "best threshold",
        "F1 with it",
    ]
    caption = "Each label. The last column is honest: each fold is cut where the other folds are best."
    gain = float(np.nanmean(fitted) - np.nanmean(plain))
    sentence = (
        "With a threshold of its own for each label, fitted on the other folds, the mean F1 goes from"
        f" {np.nanmean(plain):.4f} to {np.nanmean(fitted):.4f} ({gain:+.4f})"
    )
    advice = ': try SET="decode=thresholds".' if gain > 0.002 else ": the usual 0.5 is as good."
    table = Table(caption, columns, rows, frozenset(range(1, 8)), can_filter=len(rows) > 30, first=30)
    figures = Row([precision_recall_figure(material), calibration_figure(material)])
    return Section("classes", "Labels", sentence + advice, [table, figures])


def f1_of(truth: np.ndarray, answer: np.ndarray) -> float:
    both = truth.sum() + answer.sum()
    return float(2 * (truth & answer).sum() / both) if both else float("nan")


def best_threshold(truth: np.ndarray, probability: np.ndarray) -> float:
    """The probability from which on the label is answered, for the highest F1; 0.5 where it is never true."""
    if not truth.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    best = int(f1.argmax())
    after = probability[order[best + 1]] if best + 1 < len(order) else probability[order[best]]
    return float((probability[order[best]] + after) / 2)


def nested_f1(truth: np.ndarray, probability: np.ndarray, fold: np.ndarray) -> float:
    """F1 of all images, each fold cut at the best threshold of the others."""
    answer = np.zeros(len(truth), bool)
    for k in np.unique(fold):
        answer[fold == k] = probability[fold == k] >= best_threshold(truth[fold != k], probability[fold != k])
    return f1_of(truth, answer)
