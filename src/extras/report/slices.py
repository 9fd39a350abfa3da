"""The section of slices: is the run worse on some kind of images? By fold, group, size, brightness, file
type.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from src.extras.page.blocks import Cell, Note, Row, Section, Table, number
from src.extras.report.material import Material, share_interval

QUARTERS = 4
MOST_GROUPS = 20
LEAST = 10  # images of a slice
MOST_MEASURED = 20_000  # images whose pixels are read


def slices(material: Material) -> Section:
    blocks: list[Table] = []
    striking: list[tuple[float, str]] = []
    for name, cut in SLICES.items():
        part = cut(material)
        if part is None or part.dropna().nunique() < 2:
            continue
        table, worse = slice_table(material, name, part)
        blocks.append(table)
        striking += worse
    striking.sort()
    sentence = "No kind of images stands out: every slice's interval holds what all images get."
    if striking:
        whole = plain_quality(material, np.ones(len(material.table), bool))[0]
        worst = "; ".join(text for _, text in striking[:4])
        sentence = f"Worse than all images together ({whole.split(' (')[0]}) by more than chance: {worst}."
    return Section(
        "slices", "Slices", sentence, [Row(blocks)] if blocks else [Note("There is nothing to slice by.")]
    )


def slice_table(material: Material, name: str, part: pd.Series) -> tuple[Table, list[tuple[float, str]]]:
    """Each slice's score, and the share that is right (of numbers the mean error); and the slices that are
    worse than all images by more than chance (99.5 %, since there are many).
    """
    metric = material.competition.metric_name
    rows, worse = [], []
    quality = (
        -material.error if material.has_values or material.is_ordinal else material.is_right.astype(float)
    )
    for key in slice_names(part):
        inside = (part == key).to_numpy()
        lack = float(quality.mean() - quality[inside].mean())
        error = float(quality[inside].std() / np.sqrt(inside.sum()))
        is_worse = inside.sum() >= LEAST and lack > 2.8 * max(error, 1e-9)
        text, order = plain_quality(material, inside)
        mark = "bad" if is_worse else ""
        if is_worse:
            worse.append((-lack / max(error, 1e-9), f"{name} {key}, {text}"))
        rows.append(
            [
                Cell(str(key), mark=mark),
                Cell(f"{inside.sum():,}", int(inside.sum())),
                number(material.score_of(material.table[inside])),
                Cell(text + (" worse" if is_worse else ""), order, mark=mark),
            ]
        )
    right = "mean error" if material.has_values or material.is_ordinal else "right, 95 %"
    columns = [name, "images", metric, right]
    return Table(f"By {name}.", columns, rows, frozenset({1, 2, 3}), first=MOST_GROUPS), worse


def slice_names(part: pd.Series) -> list:
    """In their order; of many groups the largest."""
    names = sorted(part.dropna().unique())
    if isinstance(part.dtype, pd.CategoricalDtype):
        names = [name for name in part.cat.categories if (part == name).any()]
    if len(names) > 2 * MOST_GROUPS:
        return part.value_counts().index[: 2 * MOST_GROUPS].tolist()
    return names


def plain_quality(material: Material, inside: np.ndarray) -> tuple[str, float]:
    """In words and as a number to sort by."""
    if material.has_values or material.is_ordinal:
        error = np.abs(material.predicted[inside] - material.target[inside]).mean()
        return f"{error:.4g}", float(error)
    low, high = share_interval(material.is_right[inside].sum(), int(inside.sum()))
    share = float(material.is_right[inside].mean())
    return f"{share:.1%} ({low:.0%} – {high:.0%})", share


# -- what to slice by: a label per image, None where there is nothing


def by_fold(material: Material) -> pd.Series:
    return material.table["fold"].map(lambda k: f"fold {k}")


def by_group(material: Material) -> pd.Series | None:
    group = material.table["group"]
    return group if group.nunique() < len(group) else None


def quarters(values: np.ndarray, text: Callable[[float], str], unit: str = "") -> pd.Series | None:
    """Quarters of the images by a number; None where that is the same for nearly all."""
    if len(np.unique(values)) < QUARTERS:
        return None
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, QUARTERS + 1)))
    if len(edges) < 3:
        return None
    names = [f"{text(low)} – {text(high)}{unit}" for low, high in zip(edges, edges[1:])]
    if len(set(names)) < len(names):
        return None
    return pd.Series(pd.cut(values, edges, labels=names, include_lowest=True))


def by_size(material: Material) -> pd.Series | None:
    side = material.sizes.min(axis=1)
    known = np.unique(side[side > 0])
    if len(known) <= 2 * QUARTERS:
        return pd.Series([f"{one:.0f} px" if one else np.nan for one in side])
    return quarters(side, lambda one: f"{one:.0f}", " px")


def by_shape(material: Material) -> pd.Series | None:
    width, height = material.sizes.T.astype(float)
    ratio = width / np.maximum(height, 1)
    shape = np.select([height == 0, ratio > 1.1, ratio < 0.91], ["unknown", "wide", "tall"], "square")
    return pd.Series(shape)


def by_bytes(material: Material) -> pd.Series | None:
    files = [material.run.inputs / path for path in material.table["path"]]
    kilobytes = np.array([file.stat().st_size / 1000 if file.is_file() else 0.0 for file in files])
    return quarters(kilobytes, lambda value: f"{value:.3g}", " kB")


def by_brightness(material: Material) -> pd.Series | None:
    """The mean of 0..255 over every fourth pixel; of at most MOST_MEASURED images."""
    values = np.full(len(material.table), np.nan)
    for place in np.random.default_rng(0).permutation(len(values))[:MOST_MEASURED]:
        values[place] = material.pixels[material.places[place]][::4, ::4].mean()
    return quarters(values, lambda value: f"{value:.0f}")


def by_file_type(material: Material) -> pd.Series:
    return material.table["path"].map(lambda path: Path(path).suffix.lower() or "none")


SLICES: dict[str, Callable[[Material], pd.Series | None]] = {
    "fold": by_fold,
    "group": by_group,
    "shorter side": by_size,
    "shape": by_shape,
    "file size": by_bytes,
    "brightness": by_brightness,
    "file type": by_file_type,
}
