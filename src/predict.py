"""Predict the test images with every fold's model behind one pass of the trunk.  fold*/model.safetensors -> fold*/test.parquet, test.parquet

Run: python -m src.predict runs/<name> [--fold 0]
"""
import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from src import competitions, config, predictions, prepare, runs
from src.competitions import Competition
from src.config import Settings
from src.data import tables
from src.data.batches import Batches, ExtraColumns, Rows
from src.fit.loop import predict as predict_batches
from src.model.classifier import build
from src.runs import RunPaths
from src.tasks import TASKS


def predict(settings: Settings, paths: RunPaths, only: int | None = None) -> None:
    """Write each fold's test predictions, the mean over its views, and their mean over the folds. Raises ValueError when a fold isn't trained."""
    began = time.perf_counter()
    competition = competitions.load(settings.comp, settings.inputs)
    table, test = tables.read_folds(paths.folds), competition.test_table(settings.folder)
    if unseen := prepare.unseen_mirrors(competition, settings):
        print(f"warning: tta={','.join(unseen)} mirrors what the competition's flips={competition.flips!r} say must not be mirrored", file=sys.stderr)
    numbers = [only] if only is not None else sorted(k for k in table["fold"].unique() if k >= 0)
    lost = [k for k in numbers if not paths.fold(k).done.exists()]
    if lost:
        raise ValueError(f"fold {lost[0]} of {paths.root} is not trained: make train first")
    asked = [settings.config.tta, test["id"].tolist(), prepare.content(settings, test)]
    keys = {k: runs.sha256([runs.read_json(paths.fold(k).done)["recipe"], *asked]) for k in numbers}
    todo = [k for k in numbers if not paths.fold(k).test.exists() or not paths.fold(k).test_json.exists()
            or runs.read_json(paths.fold(k).test_json)["key"] != keys[k]]
    for k, frame, unreadable in predict_folds(settings, paths, competition, table, test, todo):
        with runs.atomic(paths.fold(k).test) as part:
            predictions.write(frame, part)
        spent = round(time.perf_counter() - began, 2)
        note = {"key": keys[k], "tta": settings.config.tta, "images": len(test), "seconds": spent, "unreadable": unreadable,
                "sha256": runs.file_sha(paths.fold(k).test)}
        runs.write_json(note, paths.fold(k).test_json)
    mean = predictions.mean(predictions.read(paths.fold(k).test) for k in numbers)
    with runs.atomic(paths.test) as part:
        predictions.write(mean, part)
    views = ", ".join(prepare.test_views(settings))
    print(f"predicted {len(test)} test images with {len(numbers)} models, views {views}, in {time.perf_counter() - began:.1f} s")


def predict_folds(
    settings: Settings, paths: RunPaths, competition: Competition, table: pd.DataFrame, test: pd.DataFrame, folds: list[int],
) -> Iterator[tuple[int, pd.DataFrame, dict[str, str]]]:
    """Yield (fold, predictions of the test images, those that can't be read). Each image is decoded once and passes the trunk once per view."""
    if not folds:
        return
    accelerator, task, views = prepare.make_accelerator(settings), TASKS[competition.task], prepare.test_views(settings)
    size = ExtraColumns.fit(table, competition.features, np.ones(len(table), bool)).size
    model = build(settings.config, len(competition.outputs), size, is_proven=True).to(accelerator.device)
    pictures = prepare.decode(competition, settings, test, tolerant=True)
    passes = len(views) * settings.config.folds                    # not of the folds that are left: a killed run must go on the same way
    is_cached = prepare.pays_to_cache(model, settings, len(test), len(views), passes)
    arrays = prepare.trunk_outputs(model, pictures, views, settings, accelerator) if is_cached else [pictures.decoded] * len(views)
    positions, prior = np.arange(len(test)), task.encode(table, competition).mean(axis=0)
    for fold in folds:
        model.load(paths.fold(fold).model)
        extra = ExtraColumns.fit(table, competition.features, (table["fold"] != fold).to_numpy()).encode(test)
        rows = Rows(np.zeros((len(test), 1), np.float32), np.ones(len(test), np.float32), extra)
        members = []
        for array, view in zip(arrays, views.values()):
            def forward(image, extra, view=view):
                return model.logits(image, extra) if is_cached else model(image if view is None else view(image), extra)

            batches = Batches([array], rows, device=accelerator.device)(positions, 2 * settings.config.batch_size, plain=True)
            found, logits = predict_batches(forward, batches, accelerator=accelerator)
            frame = predictions.make(test["id"].iloc[found], task.activation(logits), competition.outputs)
            members.append(predictions.check_ids(frame, test["id"], "test"))
        yield fold, stand_in(predictions.mean(members), test, pictures.unreadable, prior), pictures.unreadable


def stand_in(frame: pd.DataFrame, test: pd.DataFrame, unreadable: dict[str, str], prior: np.ndarray) -> pd.DataFrame:
    """For an image that can't be read: the mean of its row's other images, else what the training images say on average. Never a black picture's."""
    rows = test.set_index("id")["row"]
    good = frame.drop(index=list(unreadable))
    means = good.groupby(rows.loc[good.index].to_numpy()).mean()
    for image in unreadable:
        frame.loc[image] = means.loc[rows[image]] if rows[image] in means.index else prior
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--fold", type=int)
    given = parser.parse_args()
    paths = RunPaths(given.run)
    predict(config.load(paths.config), paths, given.fold)


if __name__ == "__main__":
    runs.main(main)
