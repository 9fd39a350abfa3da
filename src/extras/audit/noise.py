"""Check for wrong labels: confident learning (Northcutt et al. 2021, arXiv:1911.00068) on held-out
predictions. -> label_noise.csv, a sheet
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.extras.audit.case import Case
from src.extras.audit.probe import curve_of
from src.extras.audit.sheets import Cell, draw_sheet
from src.extras.findings import Finding, good, some, warn
from src.run import predictions
from src.run.files import write_text

SURE = 0.9  # probability of another class from which on a label is doubted aloud
MANY = 0.01  # of the images


def confident(probability: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    """Rows whose label another class confidently contradicts: row, suggested, and both probabilities, the
    clearest first.

    A class is confident of an image when its probability reaches the mean that images with that label have;
    among those the likeliest counts.
    """
    classes = probability.shape[1]
    usual = np.array(
        [probability[label == c, c].mean() if (label == c).any() else np.inf for c in range(classes)]
    )
    above = np.where(probability >= usual, probability, -1.0)
    suggested, rows = above.argmax(axis=1), np.arange(len(label))
    doubted = np.flatnonzero((above.max(axis=1) > 0) & (suggested != label))
    found = pd.DataFrame(
        {
            "row": doubted,
            "suggested": suggested[doubted],
            "p_label": probability[rows, label][doubted],
            "p_suggested": probability[rows, suggested][doubted],
        }
    )
    return found.assign(margin=found["p_suggested"] - found["p_label"]).sort_values(
        "margin", ascending=False, kind="stable"
    )


def held_out(case: Case) -> tuple[pd.DataFrame | None, str]:
    """The run's OOF; before it is trained, the linear probe's."""
    if case.paths.oof.exists():
        return predictions.read(case.paths.oof), "OOF"
    kept = curve_of(case)["oof"]
    return (
        predictions.make(kept["index"], np.array(kept["data"]), kept["columns"]) if kept else None
    ), "linear probe"


def doubts(case: Case, oof: pd.DataFrame) -> pd.DataFrame:
    """The doubted labels with id, path, label and suggestion; with several labels per image, a line per image
    and class.
    """
    table = case.table.set_index("id")
    ids = oof.index.intersection(table.index)
    rows, names = case.table.index[case.table["id"].isin(ids)], list(case.competition.outputs)
    probability, target = oof.loc[case.table["id"][rows], names].to_numpy(dtype=float), case.target[rows]
    if case.is_single:
        found = confident(probability, target.argmax(axis=1))
        label, suggested = (
            case.labels.iloc[rows[found["row"]]].to_numpy(),
            [names[i] for i in found["suggested"]],
        )
    else:
        parts = [
            confident(
                np.stack([1 - probability[:, c], probability[:, c]], axis=1), target[:, c].astype(int)
            ).assign(name=name)
            for c, name in enumerate(names)
        ]
        found = pd.concat(parts).sort_values("margin", ascending=False, kind="stable")
        suggested = [name if s else f"not {name}" for name, s in zip(found["name"], found["suggested"])]
        label = [f"not {name}" if s else name for name, s in zip(found["name"], found["suggested"])]
    doubted = case.table[["id", "path"]].iloc[rows[found["row"]]].reset_index(names="place")
    shares = found[["p_label", "p_suggested"]].round(4).reset_index(drop=True)
    return pd.concat([doubted.assign(label=label, suggested=suggested), shares], axis=1)


def noise(case: Case) -> Iterator[Finding]:
    """Labels that the predictions of other folds contradict."""
    if case.has_values:
        yield good("labels are numbers: look at the largest errors of oof.parquet")
        return
    oof, source = held_out(case)
    if oof is None or not len(set(oof.index) & set(case.table["id"])):
        yield good("no held-out predictions of all images yet: after make train")
        return
    found = doubts(case, oof)
    if not len(found):
        yield good(f"no label is contradicted by the {source}")
        return
    path = case.folder / "label_noise.csv"
    write_text(found.drop(columns="place").assign(new_label="").to_csv(index=False), path)
    worst = found.head(50)
    cells = [
        Cell(
            (row.place,),
            (row.id, f"label {row.label} {row.p_label:.2f}", f"rather {row.suggested} {row.p_suggested:.2f}"),
        )
        for row in worst.itertuples()
    ]
    sheet = draw_sheet(case, "label_noise", cells, columns=10)
    sure = found[found["p_suggested"] >= SURE]
    seen = (
        f"{len(found)} labels ({len(found) / len(oof):.1%}) are contradicted by the {source}, {len(sure)} of"
        f" them with {SURE:.0%} or more: {some(sure['id'])}; {sheet}, {path}"
    )
    if len(sure) > MANY * len(oof):
        yield warn(
            seen,
            "look at the sheet; fill in new_label where the label is wrong and read the csv in a make_table"
            " in src/competitions.py",
        )
    else:
        yield good(seen)


NOISE = {"label-noise": noise}
