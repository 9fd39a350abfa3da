"""Labels for the test images that a run is sure of, for another run to learn from.  fold*/test.parquet ->
pseudo.csv

Run: python -m src pseudo runs/<name> [--cut 0.95]        make pseudo RUN=a CUT=0.95, then make submit
SET="pseudo=a"; the next round takes that run

A line holds the prediction of one fold's model for one image: the other run's fold k learns from the lines of
fold k alone. The mean over the folds would carry the labels of each held-out part into the training for it,
and the score would be too good. Lee 2013 (pseudo-labels), here soft ones.
"""

from argparse import ArgumentParser, Namespace

import numpy as np
import pandas as pd

from src.competition import tables
from src.competition.tasks import TASKS
from src.data.run import Run
from src.run import predictions
from src.run.files import atomic, read_json
from src.run.paths import FoldPaths

CUT = 0.95


def confidence(task: str, frame: pd.DataFrame) -> pd.Series:
    """The likeliest class's probability; with several labels per image that of the least certain one."""
    return np.maximum(frame, 1 - frame).min(axis=1) if task == "multilabel" else frame.max(axis=1)


def pseudo(run: Run, cut: float = CUT) -> pd.DataFrame:
    """Write and return the lines whose confidence is at least `cut`. Raises ValueError for numbers, which
    have none, and without predictions.
    """
    task, folds = run.competition.task, {k: run.paths.fold(k) for k in run.paths.finished()}
    if TASKS[task].kind != "probability":
        raise ValueError(
            f"pseudo-labels need probabilities, and task={task!r} predicts numbers: there is no confidence to"
            " cut at"
        )
    missing = [k for k, fold in folds.items() if not fold.test.exists()]
    if missing or not folds:
        raise ValueError(
            f"fold {missing[0] if missing else 0} of {run.paths.root} has no test predictions of its own"
            " (with refit, or of an ensemble, none has): make submit"
        )
    images = tables.make_test(run.inputs, run.competition).set_index("id")["path"]
    frames = {k: fold_predictions(k, fold, images, task) for k, fold in folds.items()}
    lines = pd.concat([frame[frame["confidence"] >= cut] for frame in frames.values()])
    lines = lines.rename_axis("id").reset_index().sort_values(["fold", "id"])
    if not len(lines):
        highest = max(frame["confidence"].max() for frame in frames.values())
        raise ValueError(f"no test prediction is as sure as CUT={cut:g}, the surest is {highest:.3f}")
    with atomic(run.paths.root / "pseudo.csv") as part:
        lines.to_csv(part, index=False, float_format="%.6g")
    return lines


def fold_predictions(k: int, fold: FoldPaths, images: pd.Series, task: str) -> pd.DataFrame:
    """fold, recipe, path, confidence and the predictions of the test images that could be read."""
    frame = predictions.read_fold_test(fold)
    frame = predictions.check_ids(frame, images.index, f"test predictions of fold {k}")
    recipe, unreadable = read_json(fold.done)["recipe"], read_json(fold.test_json)["unreadable"]
    columns = {"fold": k, "recipe": recipe, "path": images, "confidence": confidence(task, frame)}
    lines = pd.DataFrame(columns).loc[frame.index].join(frame)
    return lines[~lines.index.isin(unreadable)]


def summary_lines(lines: pd.DataFrame, outputs: tuple[str, ...], run_name: str, cut: float) -> str:
    """How many images each fold gets, of which classes, and how to use them."""
    sizes = ", ".join(f"{k}: {n}" for k, n in lines["fold"].value_counts().sort_index().items())
    counts = (lines[list(outputs)] >= 0.5).sum().sort_values(ascending=False)
    by_class = ", ".join(f"{name} {n}" for name, n in counts.items())
    text = [
        f"{lines['id'].nunique()} images whose confidence is {cut:g} or more in some fold; by fold {sizes}",
        f"by class, all folds together: {by_class}",
        f'to train on them: make submit SET="pseudo={run_name}", beside the SET of this run',
    ]
    if unseen := counts.index[counts == 0].tolist():
        text.append(
            f"warning: no image is of the class {', '.join(unseen)}, which will be "
            "predicted less: try a lower"
            ' CUT, or SET="class_weights=balanced"'
        )
    return "\n".join(text)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--cut", type=float, default=CUT, help="pseudo: the least confidence of a label")


def command(run: Run, options: Namespace) -> None:
    if not 0 <= options.cut < 1:
        raise ValueError(f"CUT={options.cut:g} must be at least 0 and below 1")
    lines = summary_lines(pseudo(run, options.cut), run.competition.outputs, run.paths.name, options.cut)
    print(f"{run.paths.root / 'pseudo.csv'}: {lines}")
