"""The section of mistakes: which images are shown, what is said of each, and the data that the page's script
draws them from.
"""

import csv
from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.extras.page.blocks import Block, Note, Own, Section
from src.extras.report import thumbnails
from src.extras.report.gradcam import heat_maps
from src.extras.report.material import Material

BUDGET = 2_400_000  # characters of all pictures
MOST = 420  # images in all
WORST, DOUBTFUL, SUSPECTS, COPIES, RIGHT = 72, 48, 48, 24, 24
PER_CELL = 3  # of each pair of true and answered class, so that each cell of the matrix has something to show
HEATED = 160  # images with a heat map
SURE = 0.9  # probability of another class that makes a label a suspect
KINDS = {
    "worst": "worst mistakes",
    "doubt": "most doubtful",
    "label": "contradicted labels",
    "copy": "near copies",
    "pair": "of each confusion",
    "right": "right and sure",
}


def mistakes(material: Material) -> Section:
    chosen = choose(material)
    places = np.array(sorted(chosen), dtype=int)
    number = int((~material.is_right).sum())
    sentence = (
        f"{number:,} of {len(material.table):,} held-out images ({number / len(material.table):.1%}) are"
        " answered wrongly"
    )
    if material.has_values:
        sentence = "The tenth of the images whose numbers are furthest off counts as wrong here"
    order = sorted(places, key=lambda place: (-material.error[place], place))
    pictures = gallery(material, order, chosen)
    sentence += "; the worst come first."
    if pictures.data["has_maps"]:
        sentence += (
            " The orange haze (Grad-CAM) shows what spoke for the answer, by the model that had not seen the"
            " image."
        )
    return Section("mistakes", "Mistakes", sentence, [*remarks(material, chosen), pictures])


def choose(material: Material) -> dict[int, set[str]]:
    """place in the table -> the kinds that it is shown as, at most MOST."""
    chosen: dict[int, set[str]] = {}

    def add(places: np.ndarray | list[int], kind: str) -> None:
        for place in places:
            if int(place) in chosen or len(chosen) < MOST:
                chosen.setdefault(int(place), set()).add(kind)

    by_error = np.argsort(-material.error, kind="stable")
    add(by_error[~material.is_right[by_error]][:WORST], "worst")
    if material.doubt.any():
        add(np.argsort(-material.doubt, kind="stable")[:DOUBTFUL], "doubt")
    add(suspects(material)[:SUSPECTS], "label")
    add(copies(material)[:COPIES], "copy")
    add(by_error[::-1][:RIGHT], "right")
    add(of_each_pair(material, by_error), "pair")
    return chosen


def suspects(material: Material) -> np.ndarray:
    """Places of labels that another class contradicts with SURE or more, as the audit counts them. The
    clearest first.
    """
    if material.competition.task == "multilabel":
        gap = np.abs(material.predicted - material.target).max(axis=1)
        return np.argsort(-gap, kind="stable")[: (gap >= SURE).sum()]
    if not material.is_single:
        return np.array([], dtype=int)
    rows = np.arange(len(material.label))
    own, best = material.predicted[rows, material.label], material.predicted[rows, material.answer]
    found = np.flatnonzero((material.answer != material.label) & (best >= SURE))
    return found[np.argsort(own[found] - best[found], kind="stable")]


def copies(material: Material) -> list[int]:
    """Places of the images that `make audit` has found to be copies of others, group by group."""
    path = material.paths.root / "groups.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = sorted(csv.DictReader(file), key=lambda line: line["group"])
    place_of = {name: place for place, name in enumerate(material.table["id"])}
    return [place_of[line["id"]] for line in lines if line["id"] in place_of]


def of_each_pair(material: Material, by_error: np.ndarray) -> Iterator[int]:
    """The worst images of each pair of true and answered class, those of frequent pairs first."""
    if material.has_values or material.competition.task == "multilabel":
        return
    wrong = by_error[~material.is_right[by_error]]
    pairs = pd.DataFrame({"label": material.label[wrong], "answer": material.answer[wrong], "place": wrong})
    groups = sorted(pairs.groupby(["label", "answer"])["place"], key=lambda group: -len(group[1]))
    for _, group in groups:
        yield from group.iloc[:PER_CELL]


def remarks(material: Material, chosen: dict[int, set[str]]) -> Iterator[Block]:
    found = len(suspects(material))
    if found:
        share = found / len(material.table)
        yield Note(
            f"{found} labels ({share:.1%}) are contradicted with {SURE:.0%} or more. Some are wrong labels,"
            f" the others hard images: look at them first. make audit RUN={material.paths.name} lists them"
            " with room for a new label.",
            "bad" if share > 0.01 else "",
        )
    if any("copy" in kinds for kinds in chosen.values()):
        yield Note(f"The audit found {len(copies(material))} images that are copies of others.", "bad")


def gallery(material: Material, places: list[int], chosen: dict[int, set[str]]) -> Own:
    pictures = [np.array(material.pixels[material.places[place]]) for place in places]
    heated = np.array(
        [place for place in places if chosen[place] != {"pair"} and chosen[place] != {"right"}], dtype=int
    )
    maps = heat_maps(material, heated[:HEATED]) if len(heated) else {}
    items = [item(material, place, chosen[place], maps.get(place)) for place in places]
    used = [kind for kind in KINDS if any(kind in kinds for kinds in chosen.values())]
    data = {
        "pictures": thumbnails.within(pictures, BUDGET),
        "items": items,
        "kinds": {kind: KINDS[kind] for kind in used},
        "classes": [] if material.has_values else material.classes,
        "folds": sorted(int(k) for k in material.table["fold"].unique()),
        "has_maps": bool(maps),
    }
    return Own("gallery.html.j2", data)


def item(material: Material, place: int, kinds: set[str], heat: np.ndarray | None) -> dict:
    """What the page knows of an image. heat: as digits, row by row."""
    row = material.table.iloc[place]
    truth, answer = material.words(material.target[place]), material.words(material.predicted[place])
    facts = {
        "id": row["id"],
        "path": row["path"],
        "fold": int(row["fold"]),
        "kinds": sorted(kinds),
        "label": truth,
        "answer": answer,
        "right": bool(material.is_right[place]),
        "labels": names_of(material, material.target[place]),
        "answers": names_of(material, material.predicted[place]),
        "text": evidence(material, place),
    }
    if heat is not None:
        digits = (heat * 9).round().astype(int)
        facts |= {"heat": "".join(map(str, digits.ravel())), "width": int(digits.shape[1])}
    return facts


def names_of(material: Material, values: np.ndarray) -> list[int]:
    """The places in `classes` of what is true or answered, for the filters."""
    if material.has_values:
        return []
    if material.competition.task == "multilabel":
        return np.flatnonzero(values >= 0.5).tolist()
    if material.is_ordinal:
        return [int(values[0].round().clip(0, len(material.classes) - 1))]
    return [int(values.argmax())]


def evidence(material: Material, place: int) -> str:
    """The probabilities of answer and label; of several labels those that are wrong; of numbers the error."""
    predicted, target = material.predicted[place], material.target[place]
    if material.is_single:
        order, own = np.argsort(-predicted)[:3], int(target.argmax())
        shown = [i for i in order if predicted[i] >= 0.01 or i == own]
        return ", ".join(
            f"{material.classes[i]} {percent(predicted[i])}" for i in dict.fromkeys([*shown, own])
        )
    if material.competition.task == "multilabel":
        order = np.argsort(-np.abs(predicted - target))[:4]
        return ", ".join(f"{material.classes[i]} {percent(predicted[i])}" for i in order)
    return f"off by {np.abs(predicted - target).mean():.4g}"


def percent(probability: float) -> str:
    """96%, and of small ones the first digit: 0.3%, <0.1%."""
    if probability >= 0.01:
        return f"{probability:.0%}"
    return f"{probability:.1%}" if probability >= 0.001 else "<0.1%"
