"""The section of the map: images that the trunk sees alike lie side by side."""

import contextlib
import sys
from collections.abc import Callable

import numpy as np
import torch

from src.data import decoding, features
from src.data.extra_columns import ExtraColumns
from src.data.transfer import as_tensor
from src.data.warp import resize
from src.extras.linear_probe import principal_components
from src.extras.page.blocks import Note, Own, Section
from src.extras.report import thumbnails
from src.extras.report.material import Material
from src.model.classifier import build
from src.model.engines import Trunk
from src.run.device import make_accelerator

MOST = 1600  # images on the map
SPRITE, COLUMNS = 48, 40  # pixels of a thumbnail, and thumbnails in a row of the sheet
SIDE = 1000  # of the map, in its own units
NUM_COLOURS = 8
BATCH = 64
CLASSES = (
    "Classes that overlap look alike to the network before the layers that learn: more of them may help."
)
VALUES = "Where light and dark mix, the network before the layers that learn does not see the number."


def image_map(material: Material) -> Section:
    rows = choose(material)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            values, seen_by = trunk_features(material, rows)
    except ValueError as error:
        return Section("map", "Map of the images", f"There is no map: {error}.", [])
    flat, method = project(values)
    flat = (flat - flat.min(axis=0)) / np.maximum(np.ptp(flat, axis=0), 1e-9)
    pictures = [np.array(material.pixels[material.places[row]]) for row in rows]
    colour, legend = colours(material)
    data = {
        "points": [point(material, row, place, int(colour[row])) for row, place in zip(rows, flat)],
        "sheet": thumbnails.sprite_sheet(pictures, SPRITE, COLUMNS),
        "columns": COLUMNS,
        "legend": legend,
        "side": SIDE,
        "number": len(rows),
        "palette": "q" if material.has_values else "c",
        "ringed": "the tenth that is furthest off" if material.has_values else "answered wrongly",
    }
    sentence = (
        f"Each point is one of {len(rows):,} held-out images, by {method} of what {seen_by} gives. "
        + (VALUES if material.has_values else CLASSES)
    )
    neighbours = neighbour_share(material, rows, values)
    blocks = [Note(neighbours)] if neighbours else []
    return Section("map", "Map of the images", sentence, [*blocks, Own("map.html.j2", data)])


def choose(material: Material) -> np.ndarray:
    """Places of at most MOST images, at random; the wrong ones are drawn last, above the others."""
    rows = np.sort(np.random.default_rng(0).permutation(len(material.table))[:MOST])
    return rows[np.argsort(~material.is_right[rows], kind="stable")]


def trunk_features(material: Material, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """(n, F), the trunk's plain output, averaged over positions, and what it is of. Without a trunk what the
    head is given, by the first fold's model. Raises ValueError where there is neither.
    """
    run = material.run
    if material.result.members:
        raise ValueError("an ensemble has no trunk of its own")
    model = build(run.config, len(run.competition.outputs), is_proven=True, num_extra=extra_size(material))
    accelerator = make_accelerator(run.machine)
    model.to(accelerator.device)
    places = material.places[rows]
    if model.cut_at:
        trunk = Trunk(model, run.machine, accelerator)
        pictures = decoding.decode(run, material.folds, tolerant=True)
        cached = features.cached_output(run, trunk, pictures, accelerator)
        if cached is not None:
            values = as_tensor(np.array(cached.values[places])).float().numpy()
            return pooled(values), "the frozen trunk"
        return in_batches(material, model.features, places, accelerator.device), "the frozen trunk"
    first = material.paths.finished()[0]
    model.load(material.paths.fold(first).model)
    return (
        in_batches(material, lambda image: model.tail(model.features(image)), places, accelerator.device),
        f"the model of fold {first}",
    )


@torch.no_grad()
def in_batches(
    material: Material,
    forward: Callable[[torch.Tensor], torch.Tensor],
    places: np.ndarray,
    device: torch.device,
) -> np.ndarray:
    """(n, F) of the images at these places of `pixels`."""
    parts = []
    for part in np.array_split(places, max(len(places) // BATCH, 1)):
        image = torch.from_numpy(np.array(material.pixels[part])).permute(0, 3, 1, 2).to(device)
        image = resize(image, material.run.config.image_size)
        parts.append(pooled(features.channels_last(forward(image)).float().cpu().numpy()))
    return np.concatenate(parts)


def pooled(values: np.ndarray) -> np.ndarray:
    """The mean over positions: (n, ..., F) -> (n, F)."""
    return values.reshape(len(values), -1, values.shape[-1]).mean(axis=1)


def extra_size(material: Material) -> int:
    everything = np.ones(len(material.folds), bool)
    return ExtraColumns.fit(material.folds, material.competition.features, everything).size


def project(values: np.ndarray) -> tuple[np.ndarray, str]:
    """(n, 2), and by which method: UMAP (McInnes et al. 2018, arXiv:1802.03426) where it is installed, else
    the first two principal components.
    """
    if len(values) < 3:
        return np.zeros((len(values), 2)), "PCA"
    components = principal_components(values, min(50, values.shape[1]))
    if len(values) >= 50:
        try:
            from umap import UMAP
        except ImportError:
            pass
        else:
            return UMAP(random_state=0, n_jobs=1).fit_transform(components), "UMAP"
    flat = np.zeros((len(values), 2))
    flat[:, : components.shape[1]] = components[:, :2]
    return flat, "PCA"


def neighbour_share(material: Material, rows: np.ndarray, values: np.ndarray) -> str:
    """Of each image's nearest neighbour in all dimensions: how often has it the same class?"""
    if material.has_values or material.competition.task == "multilabel" or len(rows) < 3:
        return ""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest, label = similarity.argmax(axis=1), material.label[rows]
    share, by_class = float((label[nearest] == label).mean()), np.bincount(label) / len(label)
    return (
        f"In all {values.shape[1]:,} dimensions, {share:.0%} of these images have a nearest neighbour of"
        f" their own class (by chance: {float(np.square(by_class).sum()):.0%}). The flat picture shows less"
        " than that."
    )


# -- what the page draws


def point(material: Material, row: int, place: np.ndarray, colour: int) -> list:
    """x, y, colour, wrong or not, class, what hover says."""
    label, answer = material.words(material.target[row]), material.words(material.predicted[row])
    text = f"{material.table['id'].iloc[row]}: {label}"
    if not material.is_right[row]:
        text += f", answered {answer}"
    x, y = SIDE * place
    return [round(float(x)), round(float(SIDE - y)), colour, int(not material.is_right[row]), text]


def colours(material: Material) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """(N,) 0 ... 7, or -1 for no colour, and the legend: (class of the colour, name). Where there are more
    classes than colours, those with the most mistakes have one; numbers are coloured from small to large.
    """
    if material.has_values:
        rank = material.target[:, 0].argsort(kind="stable").argsort(kind="stable") / len(material.table)
        edges = np.quantile(material.target[:, 0], np.linspace(0, 1, NUM_COLOURS + 1))
        names = [f"{low:.4g} – {high:.4g}" for low, high in zip(edges, edges[1:])]
        return (rank * NUM_COLOURS).astype(int), [(f"q{number}", name) for number, name in enumerate(names)]
    # of several labels the first
    place = material.target.argmax(axis=1) if material.competition.task == "multilabel" else material.label
    if len(material.classes) <= NUM_COLOURS:
        return place, [(f"c{number}", name) for number, name in enumerate(material.classes)]
    wrong = np.bincount(place[~material.is_right], minlength=len(material.classes))
    coloured = np.argsort(-wrong, kind="stable")[:NUM_COLOURS]
    colour_of = np.full(len(material.classes), -1)
    colour_of[coloured] = np.arange(NUM_COLOURS)
    legend = [(f"c{number}", material.classes[c]) for number, c in enumerate(coloured)]
    return colour_of[place], [*legend, ("c8", "all others")]
