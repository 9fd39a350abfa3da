"""Labels for the test images that a run is sure of, for another run to learn from.  fold*/test.parquet ->
pseudo.csv

Run: python -m src.extras.pseudo runs/<name> [--cut 0.95]        make pseudo RUN=a CUT=0.95, then make submit
SET="pseudo=a"; the next round takes that run

A line is what the model of one fold says of one image: the other run's fold k learns from the lines of fold k
alone. Labels by the mean over the folds would carry the labels of each held-out part into the training for
it, and its score would flatter. Lee 2013 (pseudo-labels), here soft ones.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from src import competitions
from src.competition import tables
from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.config import Settings
from src.run import configure, predictions, process
from src.run.files import atomic, read_json
from src.run.paths import RunPaths

CUT = 0.95


def confidence(competition: Competition, frame: pd.DataFrame) -> pd.Series:
    """How sure a prediction is: the likeliest class's probability; where an image has several labels that of
    its least certain one.
    """
    return np.maximum(frame, 1 - frame).min(axis=1) if competition.task == "multilabel" else frame.max(axis=1)


def pseudo(settings: Settings, paths: RunPaths, competition: Competition, cut: float = CUT) -> pd.DataFrame:
    """Write and return the lines whose confidence is at least `cut`. Raises ValueError for numbers, which
    have none, and without predictions.
    """
    if TASKS[competition.task].kind != "probability":
        raise ValueError(
            f"pseudo-labels are of probabilities, and task={competition.task!r} predicts numbers: there is no"
            " confidence to cut at"
        )
    folds = {k: paths.fold(k) for k in paths.finished()}
    if lost := [k for k, fold in folds.items() if not fold.test.exists()] or [0] * (not folds):
        raise ValueError(
            f"fold {lost[0]} of {paths.root} has no test predictions of its own (with refit, or of an"
            " ensemble, none has): make submit"
        )
    path, parts, most = tables.make_test(settings.folder, competition).set_index("id")["path"], [], 0.0
    for k, fold in folds.items():
        frame = predictions.check_ids(
            predictions.read_fold_test(fold), path.index, f"test predictions of fold {k}"
        )
        sure = confidence(competition, frame)
        most = max(most, sure.max())
        beside = pd.DataFrame(
            {"fold": k, "recipe": read_json(fold.done)["recipe"], "path": path, "confidence": sure}
        ).loc[frame.index]
        is_read = ~frame.index.isin(read_json(fold.test_json)["unreadable"])
        parts.append(beside.join(frame)[(sure >= cut) & is_read])
    found = pd.concat(parts).rename_axis("id").reset_index().sort_values(["fold", "id"])
    if not len(found):
        raise ValueError(f"no test prediction is as sure as CUT={cut:g}, the surest is {most:.3f}")
    with atomic(paths.root / "pseudo.csv") as part:
        found.to_csv(part, index=False, float_format="%.6g")
    return found


def say(found: pd.DataFrame, outputs: tuple[str, ...], paths: RunPaths, cut: float) -> None:
    """How many images each fold gets, of which classes, and how to use them."""
    sizes = ", ".join(f"{k}: {n}" for k, n in found["fold"].value_counts().sort_index().items())
    counts = (found[list(outputs)] >= 0.5).sum().sort_values(ascending=False)
    print(
        f"{paths.root / 'pseudo.csv'}: {found['id'].nunique()} images of which some fold is sure by {cut:g};"
        f" by fold {sizes}"
    )
    print("by class, all folds together: " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    if unseen := counts.index[counts == 0].tolist():
        print(
            f"warning: none is of the class {', '.join(unseen)}, which loses by that: a lower CUT, or"
            " class_weights=balanced",
            file=sys.stderr,
        )
    print(f'SET="pseudo={paths.name}" beside this run\'s own SET makes a run that learns from them')


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m src.extras.pseudo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--cut", type=float, default=CUT)
    given = parser.parse_args()
    if not 0 <= given.cut < 1:
        raise ValueError(f"CUT={given.cut:g} must be at least 0 and below 1")
    paths = RunPaths(given.run)
    settings = configure.load(paths.config)
    competition = competitions.load(settings.comp, settings.inputs)
    say(pseudo(settings, paths, competition, given.cut), competition.outputs, paths, given.cut)


if __name__ == "__main__":
    process.main(main)
