"""The whole run on Weights & Biases, beside its folds: score, mistakes, tables, report and files.
runs/<name>/{score.json, oof.parquet, fold<k>/model.safetensors, report.html} -> a W&B run of job type summary

Run: make submit does it at its end, unless MACHINE="wandb=off". Or python -m src wandb_summary runs/<name>
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from src.competition import tables
from src.competition.tasks import TASKS
from src.data.images import read_square, records_of
from src.data.run import Run, make_tracker
from src.run import predictions, reuse
from src.run.files import read_json

MISTAKES, PIXELS = 32, 160  # images in the table of mistakes, and their size
LARGEST = 500  # MB of weights in all: more is not sent
MANY_CLASSES = 200  # with more, the confusion matrix can't be read, and has 40,000 lines


class Held(NamedTuple):
    """The images that were held out, with what the run predicts of them, in the order of the table."""

    table: pd.DataFrame  # the rows of folds.csv that are scored
    target: np.ndarray  # (N, T)
    predicted: np.ndarray  # (N, T)


def held_out(run: Run, oof: pd.DataFrame) -> Held:
    table = tables.read_folds(run.paths.folds)
    table = table[table["fold"] >= 0].reset_index(drop=True)
    target = TASKS[run.competition.task].encode(table, run.competition)
    predicted = oof.loc[table["id"], list(run.competition.outputs)].to_numpy(dtype=float)
    return Held(table, target, predicted)


def codes(run: Run, held: Held) -> tuple[np.ndarray, np.ndarray] | None:
    """The true and the predicted class of each image (N,), as places in competition.classes; None where an
    image has several labels, or a number.
    """
    if run.competition.is_single:
        return held.target.argmax(axis=1), held.predicted.argmax(axis=1)
    if run.competition.task == "ordinal":
        highest = len(run.competition.classes) - 1
        grades = held.predicted[:, 0].round().clip(0, highest).astype(int)
        return held.target[:, 0].astype(int), grades
    return None


def error(run: Run, held: Held) -> np.ndarray:
    """How wrong each image is (N,): 1 less the probability of its class; of several outputs, and of numbers,
    the mean distance in units of an output's spread.
    """
    if run.competition.is_single:
        return 1 - (held.target * held.predicted).sum(axis=1)
    distance = np.abs(held.target - held.predicted)
    spread = held.target.std(axis=0)
    return np.asarray((distance / np.where(spread > 0, spread, 1)).mean(axis=1))


def answer_text(run: Run, values: np.ndarray) -> str:
    """A prediction or a target (T,) as a person reads it."""
    outputs = run.competition.outputs
    if run.competition.is_single:
        return str(outputs[int(values.argmax())])
    if run.competition.task == "multilabel":
        return " ".join(name for name, value in zip(outputs, values) if value >= 0.5)
    return " ".join(f"{value:.4g}" for value in values)


def mistakes(run: Run, held: Held, wandb: Any) -> Any:
    """A table of the images that are the most wrong, with their pictures."""
    wrong = error(run, held)
    order = np.argsort(-wrong, kind="stable")[:MISTAKES]
    records = records_of(held.table.iloc[order], run.inputs)
    rows = []
    for place, record in zip(order, records):
        pixels = read_square(record, PIXELS, run.competition.read_image, run.competition.max_pixels)
        label, predicted = (answer_text(run, values[place]) for values in (held.target, held.predicted))
        rows.append(
            [record["id"], wandb.Image(pixels), label, predicted, float(wrong[place]), int(record["fold"])]
        )
    return wandb.Table(columns=["id", "image", "label", "predicted", "error", "fold"], data=rows)


def per_class(run: Run, held: Held, wandb: Any) -> Any:
    """A line per class: how many images have it, precision, recall and F1. Of numbers a line per output: the
    mean distance and the correlation.
    """
    classes = codes(run, held)
    if classes:
        names, parts = (
            run.competition.classes,
            [part[:, None] == np.arange(len(run.competition.classes)) for part in classes],
        )
    elif run.competition.task == "multilabel":
        names, parts = run.competition.outputs, [held.target >= 0.5, held.predicted >= 0.5]
    else:
        return per_output(run, held, wandb)
    precision, recall, f1, support = precision_recall_fscore_support(*parts, average=None, zero_division=0)
    columns = {"class": names, "images": support, "precision": precision, "recall": recall, "f1": f1}
    return wandb.Table(dataframe=pd.DataFrame(columns))


def per_output(run: Run, held: Held, wandb: Any) -> Any:
    lines = []
    for name, true, predicted in zip(run.competition.outputs, held.target.T, held.predicted.T):
        distance, correlation = np.abs(true - predicted).mean(), np.corrcoef(true, predicted)[0, 1]
        lines.append([name, float(distance), float(correlation)])
    return wandb.Table(columns=["output", "mean_error", "correlation"], data=lines)


def summary_figures(run: Run, score: dict) -> dict[str, Any]:
    """Numbers by name, the same for every run of a competition, so that a table of runs can be sorted."""
    folds = {f"fold{k}": float(value) for k, value in score["folds"].items()}
    finished = read_json(run.paths.score)  # the score with views at test time has no seconds
    seconds = {"seconds": float(sum(finished["seconds"].values())), "commit": finished["commit"]}
    plain = {name: float(score[name]) for name in ("oof", "mean", "spread")}
    return plain | score["also"] | folds | seconds | {"recipe": score["recipe"]}


def is_best(run: Run, score: dict) -> bool:
    """Is no other run here with the same folds and metric better?"""
    sign = -1 if run.competition.lower_is_better else 1
    fold_hash = read_json(run.paths.score)["fold_hash"]
    for other in reuse.siblings(run.paths):
        with reuse.skipping(other):
            theirs = read_json(other.score) if other.score.exists() else {}
            is_alike = (theirs.get("fold_hash"), theirs.get("metric")) == (fold_hash, score["metric"])
            if is_alike and sign * theirs["oof"] > sign * score["oof"]:
                return False
    return True


def artifacts(run: Run, score: dict, wandb: Any) -> list[Any]:
    """The weights, and the predictions with what tells of them. Files stay where they are, none is copied."""
    paths = run.paths
    models = [paths.fold(k).model for k in paths.begun() if paths.fold(k).done.exists()]
    submitted = [Path("submissions") / f"{paths.name}.{ending}" for ending in ("csv", "json")]
    tables_of_run = [paths.oof, paths.oof_tta, paths.test, paths.score, paths.config, paths.folds]
    metadata = {"run": paths.name, "oof": float(score["oof"]), "recipe": score["recipe"]}
    megabytes = sum(model.stat().st_size for model in models) / 1e6
    parts = {"predictions": [file for file in [*tables_of_run, *submitted] if file.exists()]}
    if megabytes <= LARGEST:
        parts["weights"] = models
    else:
        print(f"W&B: {megabytes:,.0f} MB of weights stay here, more than {LARGEST}")
    found = []
    for kind, files in parts.items():
        artifact = wandb.Artifact(kind, type="model" if kind == "weights" else kind, metadata=metadata)
        for file in files:
            name = file.relative_to(paths.root) if file.is_relative_to(paths.root) else file.name
            artifact.add_file(str(file.resolve()), name=str(name), policy="immutable", skip_cache=True)
        found.append(artifact)
    return found


def fill(run: Run, score: dict, wandb_run: Any) -> None:
    """Give the W&B run all that it shows."""
    import wandb

    path, _ = run.paths.scored()
    held = held_out(run, predictions.read(path))
    classes, names = codes(run, held), run.competition.classes
    logged = {"mistakes": mistakes(run, held, wandb), "per_class": per_class(run, held, wandb)}
    if classes and len(names) <= MANY_CLASSES:
        true, predicted = (part.tolist() for part in classes)
        logged["confusion_matrix"] = wandb.plot.confusion_matrix(
            y_true=true, preds=predicted, class_names=list(map(str, names)), title="Out-of-fold predictions"
        )
    wandb_run.log(logged)
    report = run.paths.root / "report.html"
    if report.exists():
        wandb_run.save(str(report.resolve()), base_path=str(run.paths.root.resolve()), policy="now")
    aliases = ["latest", run.paths.name]
    if is_best(run, score):
        aliases.append("best")
    for artifact in artifacts(run, score, wandb):
        wandb_run.log_artifact(artifact, aliases=aliases)


def command(run: Run, options: argparse.Namespace) -> None:
    """Nothing without a score, or with MACHINE="wandb=off". What W&B can't do is a line and no error."""
    if run.machine.wandb == "off" or not run.paths.score.exists():
        return
    _, score = run.paths.scored()
    with make_tracker(run, run.paths.root / "log.jsonl", "summary", "summary") as tracker:
        tracker.mirror(lambda wandb_run: fill(run, score, wandb_run))
        tracker.finish(summary_figures(run, score))
