"""Check for wrong labels: confident learning (Northcutt et al. 2021, arXiv:1911.00068) on held-out
predictions. -> label_noise.csv, a sheet
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.extras.audit.dataset import Dataset
from src.extras.audit.learning_curve import measured
from src.extras.findings import Finding, good, some, warn
from src.run import predictions
from src.run.files import write_text

SURE = 0.9  # probability of another class
MANY = 0.01  # of the images: so many sure contradictions are worth a warning


def confident(probability: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    """Rows whose label another class confidently contradicts: row, suggested, and both probabilities, the
    clearest first.

    A class is confident of an image when its probability reaches the mean that images with that label have;
    among those the likeliest counts.
    """
    classes = range(probability.shape[1])
    means = [probability[label == c, c].mean() if (label == c).any() else np.inf for c in classes]
    above = np.where(probability >= np.array(means), probability, -1.0)
    suggested = above.argmax(axis=1)
    rows = np.flatnonzero((above.max(axis=1) > 0) & (suggested != label))
    doubts = pd.DataFrame(
        {
            "row": rows,
            "suggested": suggested[rows],
            "p_label": probability[rows, label[rows]],
            "p_suggested": probability[rows, suggested[rows]],
        }
    )
    return by_margin(doubts.assign(margin=doubts["p_suggested"] - doubts["p_label"]))


def by_margin(doubts: pd.DataFrame) -> pd.DataFrame:
    return doubts.sort_values("margin", ascending=False, kind="stable")


def held_out(data: Dataset) -> tuple[pd.DataFrame | None, str]:
    """The run's OOF predictions; before it is trained, the linear probe's; and which of them."""
    if data.paths.oof.exists():
        return predictions.read(data.paths.oof), "OOF predictions"
    oof = measured(data)["oof"]
    frame = predictions.make(oof["index"], np.array(oof["data"]), oof["columns"]) if oof else None
    return frame, "linear probe"


def doubted_labels(data: Dataset, oof: pd.DataFrame) -> pd.DataFrame:
    """The contradicted labels: place, id, path, label, suggested, and both probabilities. With several labels
    per image a line per image and class.
    """
    rows = data.table.index[data.table["id"].isin(oof.index)]
    names = list(data.competition.outputs)
    probability = oof.loc[data.table["id"][rows], names].to_numpy(dtype=float)
    target = data.target[rows]
    if data.is_single:
        doubts = confident(probability, target.argmax(axis=1))
        label = data.labels.iloc[rows[doubts["row"]]].tolist()
        suggested = [names[i] for i in doubts["suggested"]]
    else:
        parts = []
        for c, name in enumerate(names):
            pair = np.stack([1 - probability[:, c], probability[:, c]], axis=1)
            parts.append(confident(pair, target[:, c].astype(int)).assign(name=name))
        doubts = by_margin(pd.concat(parts))
        pairs = [(name, f"not {name}") for name in doubts["name"]]
        suggested = [has if s else has_not for (has, has_not), s in zip(pairs, doubts["suggested"])]
        label = [has_not if s else has for (has, has_not), s in zip(pairs, doubts["suggested"])]
    table = data.table[["id", "path"]].iloc[rows[doubts["row"]]].reset_index(names="place")
    shares = doubts[["p_label", "p_suggested"]].round(4).reset_index(drop=True)
    return pd.concat([table.assign(label=label, suggested=suggested), shares], axis=1)


def label_noise(data: Dataset) -> Iterator[Finding]:
    """Labels that the predictions of other folds contradict."""
    if data.has_values:
        yield good("labels are numbers: look at the largest errors of oof.parquet")
        return
    oof, source = held_out(data)
    if oof is None or not len(set(oof.index) & set(data.table["id"])):
        yield good("no held-out predictions of all images yet: run it again after make train")
        return
    doubts = doubted_labels(data, oof)
    if not len(doubts):
        yield good(f"no label is contradicted by the {source}")
        return
    path = data.folder / "label_noise.csv"
    write_text(doubts.drop(columns="place").assign(new_label="").to_csv(index=False), path)
    cells = [
        (
            [d.place],
            [d.id, f"label: {d.label} {d.p_label:.2f}", f"predicted: {d.suggested} {d.p_suggested:.2f}"],
        )
        for d in doubts.head(50).itertuples()
    ]
    sheet = data.draw_sheet("label_noise", cells, columns=10)
    sure = doubts[doubts["p_suggested"] >= SURE]
    names = f": {some(sure['id'])}" if len(sure) else ""
    seen = (
        f"{len(doubts)} labels ({len(doubts) / len(oof):.1%}) are contradicted by the {source}, {len(sure)}"
        f" of them with {SURE:.0%} or more{names}; see {sheet} and {path}"
    )
    if len(sure) > MANY * len(oof):
        yield warn(
            seen,
            "look at the sheet; fill in new_label in the csv where a label is wrong, and read it in a"
            " make_table in src/competitions.py",
        )
    else:
        yield good(seen)


LABEL_NOISE = {"label-noise": label_noise}
