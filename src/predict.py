"""Predict with each fold's model behind one pass of the trunk per view: the test images and, for what tta is
worth, the held-out part.

folds.csv, fold*/{model.safetensors, valid.parquet} -> fold*/{test, valid_views}.parquet, oof_tta.parquet,
tta.json, test.parquet, test.json With refit=n, n models are trained on all images first; they predict the
test images in the folds' place: refit*/test.parquet
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from src import evaluate, train
from src.competition import tables
from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.config import Settings
from src.data import features, folds
from src.data.arrays import make_in_steps
from src.data.augment import Transform
from src.data.batches import Batches, ExtraColumns, Rows
from src.data.recipe import backbone_code, check_trained, image_contents, make_recipe
from src.data.run import Run
from src.model.classifier import build
from src.run import hashing, predictions, reuse
from src.run.clock import Clock
from src.run.errors import Stopped
from src.run.files import Damaged, atomic, check_file, file_sha, read_json, sha256, write_json
from src.run.paths import REFIT, RunPaths, fold_name
from src.training.loop import predict as predict_batches

# times two batches are predicted between two looks at the clock, where each image goes through the whole
# network
PIECE = 16


def predict(run: Run, only: int | None = None) -> None:
    """Write what each model predicts and, of all models, their means; test.json is the last. Raises
    ValueError when a fold isn't trained.
    """
    clock = Clock(run.machine)
    with clock.listening():
        predict_all(run, only, clock)


def predict_all(run: Run, only: int | None, clock: Clock) -> None:
    paths, settings, competition = run.paths, run.settings, run.competition
    table = tables.read_folds(paths.folds)
    for line in features.unseen(competition, settings):
        print(f"warning: {line}", file=sys.stderr)
    numbers = [only] if only is not None else sorted(k for k in table["fold"].unique() if k >= 0)
    lost = [k for k in numbers if not paths.fold(k).done.exists()]
    if lost:
        raise ValueError(f"fold {lost[0]} of {paths.root} is not trained: make train first")
    check_trained(paths, numbers, make_recipe(settings, competition, paths, table))
    if settings.config.tta:
        predict_held_out(settings, paths, competition, table, numbers, clock)
        found, mean = score_views(settings, paths, competition, table, numbers)
        print(say(found))
        if only is None:
            with atomic(paths.oof_tta) as part:
                predictions.write(mean, part)
                found["sha256"] = file_sha(part)
            write_json(found, paths.tta)
    if only is None and settings.config.refit:
        train.refit(run)
        print(
            f"the OOF score is of the {len(numbers)} fold models, which saw {1 - 1 / len(numbers):.0%} of the"
            f" images; the test images are predicted by {settings.config.refit} models of all images"
        )
        numbers = paths.predicting(settings.config.refit)
    predict_test(settings, paths, competition, table, numbers, clock)
    if only is not None:
        print(f"{paths.fold(only).test} is of this fold alone; the run's test.parquet is the mean of all")
        return
    mean = predictions.mean(predictions.read_fold_test(paths.fold(k)) for k in numbers)
    models = {
        paths.fold(k).root.name: {
            "recipe": read_json(paths.fold(k).done)["recipe"],
            "sha256": file_sha(paths.fold(k).test),
        }
        for k in numbers
    }
    predictions.write_test(mean, paths, models)


def predict_test(
    settings: Settings,
    paths: RunPaths,
    competition: Competition,
    table: pd.DataFrame,
    numbers: list[int],
    clock: Clock,
) -> None:
    """Write each model's predictions of the test images, the mean over its views."""
    began, test = time.perf_counter(), tables.make_test(settings.folder, competition)
    asked = [
        test["id"].tolist(),
        image_contents(settings, test),
        folds.features_hash(test, competition.features),
    ]
    predicting = predicting_code(settings, competition)
    keys = {k: prediction_key(read_json(paths.fold(k).done), predicting, settings, asked) for k in numbers}
    todo = {
        k: np.arange(len(test))
        for k in numbers
        if not is_made(paths.fold(k).test, paths.fold(k).test_json, keys[k])
    }
    check_shared_code(paths, todo, predicting)
    views, prior = (
        features.test_views(settings),
        TASKS[competition.task].encode(table, competition).mean(axis=0),
    )
    # not those left: a killed run must go the same way
    models = settings.config.refit if numbers[0] <= REFIT else settings.config.folds
    for k, frames, unreadable in predict_images(
        settings, paths, competition, table, test, todo, views, clock, keys, uses=models, tolerant=True
    ):
        with atomic(paths.fold(k).test) as part:
            predictions.write(stand_in(predictions.mean(frames.values()), test, unreadable, prior), part)
        spent = round(time.perf_counter() - began, 2)
        note = {
            "key": keys[k],
            "tta": list(settings.config.tta),  # as json has it, for verify compares
            "images": len(test),
            "seconds": spent,
            "unreadable": unreadable,
            "sha256": file_sha(paths.fold(k).test),
            "code": predicting,
        }
        write_json(note, paths.fold(k).test_json)
    print(
        f"predicted {len(test)} test images with {len(numbers)} models, views {', '.join(views)}, in"
        f" {time.perf_counter() - began:.1f} s"
    )


def predict_held_out(
    settings: Settings,
    paths: RunPaths,
    competition: Competition,
    table: pd.DataFrame,
    numbers: list[int],
    clock: Clock,
) -> None:
    """Write what each fold's model says of its held-out images in each view; of the plain one, training has
    written it.
    """
    predicting = predicting_code(settings, competition)
    keys = {k: prediction_key(read_json(paths.fold(k).done), predicting, settings, []) for k in numbers}
    todo = {
        k: np.flatnonzero(table["fold"] == k)
        for k in numbers
        if not is_made(paths.fold(k).valid_views, paths.fold(k).views_json, keys[k])
    }
    check_shared_code(paths, todo, predicting)
    views = features.test_views(settings)
    del views["plain"]
    # the trunk's outputs are used once here, and again by the next run that shares the trunk
    for k, frames, _ in predict_images(
        settings, paths, competition, table, table, todo, views, clock, keys, uses=2
    ):
        with atomic(paths.fold(k).valid_views) as part:
            pd.concat(frame.assign(view=view) for view, frame in frames.items()).to_parquet(
                part, compression="zstd"
            )
        write_json(
            {"key": keys[k], "tta": settings.config.tta, "sha256": file_sha(paths.fold(k).valid_views)},
            paths.fold(k).views_json,
        )


def predicting_code(settings: Settings, competition: Competition) -> hashing.Units:
    """The code that predicts: the views, the reading of images, the model."""
    readers = [competition.read_image] if competition.read_image else []
    views = [f"src.data.augment:VIEWS[{view}]" for view in features.test_views(settings) if view != "plain"]
    return hashing.reach(
        "src.predict:predict_images",
        f"src.competition.tasks:TASKS[{competition.task}]",
        *backbone_code(settings),
        *views,
        *readers,
    )


def prediction_key(done: dict, predicting: hashing.Units, settings: Settings, asked: list) -> str:
    """Of all that a fold's predictions depend on: its model, the images and extra columns, the views, the
    code. Equal keys: not made again.

    Code that training shares is not among it: with a fold's model belongs the code that trained it (see
    check_shared_code).
    """
    alone = {
        file: {name: sha for name, sha in names.items() if name not in done["code"].get(file, {})}
        for file, names in hashing.own(predicting).items()
    }
    used = {file: names for file, names in alone.items() if names}
    return sha256([done["files"]["model.safetensors"], done["recipe"], settings.config.tta, asked, used])


def check_shared_code(paths: RunPaths, numbers: Iterable[int], predicting: hashing.Units) -> None:
    """Raises ValueError where a model would be given images by other code than it has learned with."""
    units = {f"{file}: {name}" for file, names in predicting.items() for name in names}
    for k in numbers:
        edited = [unit for unit in reuse.changed_code(read_json(paths.fold(k).done)) if unit in units]
        if edited:
            raise ValueError(
                f"{fold_name(k)} of {paths.root} was trained before {', '.join(edited)} changed, and"
                f" would predict by the new code: make retrain RUN={paths.name}, or undo the edit"
            )


def is_made(product: Path, note: Path, key: str) -> bool:
    """Is it there, of these models and images, and as it was written? What is damaged is made again."""
    if not product.exists() or not note.exists():
        return False
    try:
        written = read_json(note)
        if written["key"] != key:
            return False
        check_file(product, written["sha256"])
    except Damaged as damage:
        print(f"predicted again: {damage.path} is damaged ({damage.why})", file=sys.stderr)
        return False
    return True


def predict_images(
    settings: Settings,
    paths: RunPaths,
    competition: Competition,
    table: pd.DataFrame,
    images: pd.DataFrame,
    todo: Mapping[int, np.ndarray],
    views: Mapping[str, Transform | None],
    clock: Clock,
    keys: Mapping[int, str],
    *,
    uses: int,
    tolerant: bool = False,
) -> Iterator[tuple[int, dict[str, pd.DataFrame], dict[str, str]]]:
    """Yield (fold, predictions by view, images that can't be read) of the images at todo[fold]. Each is
    decoded once and passes the trunk once per view; one model is alive at a time.
    """
    if not todo:
        return
    accelerator, task = features.make_accelerator(settings), TASKS[competition.task]
    size = ExtraColumns.fit(table, competition.features, np.ones(len(table), bool)).size
    model = build(settings.config, len(competition.outputs), size, is_proven=True).to(accelerator.device)
    pictures = features.decode(competition, settings, images, clock, tolerant=tolerant)
    is_cached = features.pays_to_cache(model, settings, len(images), len(views), len(views) * uses)
    arrays = (
        features.trunk_outputs(model, pictures, views, settings, accelerator, clock)
        if is_cached
        else [pictures.decoded] * len(views)
    )
    for fold, positions in todo.items():
        reuse.check_fold(paths.fold(fold), paths.fold(fold).model.name)
        model.load(paths.fold(fold).model)
        extra = ExtraColumns.fit(table, competition.features, (table["fold"] != fold).to_numpy()).encode(
            images
        )
        rows = Rows(np.zeros((len(images), 1), np.float32), np.ones(len(images), np.float32), extra)
        frames = {}
        for array, (name, view) in zip(arrays, views.items()):

            def forward(image, extra, view=view):
                return (
                    model.logits(image, extra)
                    if is_cached
                    else model(image if view is None else view(image), extra)
                )

            def run(part, forward=forward, array=array, rows=rows):
                batches = Batches([array], rows, device=accelerator.device).predicting(
                    part, 2 * settings.config.batch_size
                )
                return predict_batches(forward, batches, accelerator=accelerator)

            path = paths.fold(fold).root / f"predicting-{name}-{sha256([keys[fold], pictures.key])}.npy"
            size = max(len(positions), 1) if is_cached else PIECE * 2 * settings.config.batch_size
            logits = in_pieces(run, positions, size, path, len(competition.outputs), clock)
            frame = predictions.make(
                images["id"].iloc[positions], task.activation(logits, model.unit), competition.outputs
            )
            frames[name] = predictions.check_ids(frame, images["id"].iloc[positions], "predictions")
        yield fold, frames, pictures.unreadable
        for file in paths.fold(fold).root.glob("predicting-*"):
            file.unlink()


def in_pieces(
    run: Callable, positions: np.ndarray, size: int, path: Path, num_outputs: int, clock: Clock
) -> np.ndarray:
    """The logits (n, T) of the images at these positions, `size` at a time; between two pieces a process may
    stop, and the next one goes on there.

    Raises ValueError where what is predicted is not what was asked for (FIELD B2), and Stopped.
    """

    def logits_of(part: np.ndarray) -> np.ndarray:
        found, logits = run(part)
        if found.tolist() != part.tolist():
            raise ValueError(
                f"{len(part)} images were to be predicted, {len(found)} were, or others: batches must hold"
                " what they are asked for"
            )
        return logits

    def fill(values: np.ndarray, begun: dict) -> Iterator[dict]:
        for start in range(begun.get("done", 0), len(positions), size):
            part = positions[start : start + size]
            values[start : start + len(part)] = logits_of(part)
            yield {"done": start + len(part)}

    if len(positions) > size:
        return np.array(make_in_steps(path, (len(positions), num_outputs), "float32", fill, clock).values)
    clock.begin()
    logits = logits_of(positions)
    if why := clock.why_stop():
        raise Stopped(f"{why}: stopped between predictions; the same command goes on with {path.parent.name}")
    return logits


def stand_in(
    frame: pd.DataFrame, test: pd.DataFrame, unreadable: dict[str, str], prior: np.ndarray
) -> pd.DataFrame:
    """For an image that can't be read: the mean of its row's other images, else what the training images say
    on average. Never a black picture's.
    """
    rows = test.set_index("id")["row"]
    good = frame.drop(index=list(unreadable))
    means = good.groupby(rows.loc[good.index].to_numpy()).mean()
    for image in unreadable:
        frame.loc[image] = means.loc[rows[image]] if rows[image] in means.index else prior
    return frame


def score_views(
    settings: Settings, paths: RunPaths, competition: Competition, table: pd.DataFrame, numbers: list[int]
) -> tuple[dict, pd.DataFrame]:
    """The out-of-fold score of each view and of their mean, which is what the test images get; and that mean."""
    held_out = table[table["fold"].isin(numbers)]
    made = predictions.join(pd.read_parquet(paths.fold(k).valid_views) for k in numbers)
    for k in numbers:
        reuse.check_fold(paths.fold(k), paths.fold(k).valid.name)
    frames = {"plain": predictions.join(predictions.read(paths.fold(k).valid) for k in numbers)}
    frames |= {str(view): frame.drop(columns="view") for view, frame in made.groupby("view", sort=False)}
    mean = predictions.check_ids(predictions.mean(frames.values()), held_out["id"], "oof_tta")
    by_view = {view: evaluate.summary(competition, held_out, frame) for view, frame in frames.items()}
    whole, sign = evaluate.summary(competition, held_out, mean), -1 if competition.lower_is_better else 1
    gains = {k: sign * (score - by_view["plain"]["folds"][k]) for k, score in whole["folds"].items()}
    facts = {
        "tta": list(settings.config.tta),  # as json has it, for verify compares
        "recipe": read_json(paths.fold(numbers[0]).done)["recipe"],
        "metric": competition.metric_name,
        **whole,
        "gain": sign * (whole["oof"] - by_view["plain"]["oof"]),
        "fold_gains": gains,
        "views": {view: {key: one[key] for key in ("oof", "folds")} for view, one in by_view.items()},
    }
    return facts, mean


def say(found: dict) -> str:
    """A line per view, and what their mean gains: positive is better, also where a low score is."""
    rows = {view: f"{one['oof']:.4f}" for view, one in found["views"].items()}
    gains = " ".join(f"{gain:+.4f}" for gain in found["fold_gains"].values())
    rows["mean"] = f"{found['oof']:.4f}  ({found['gain']:+.4f}; by fold {gains})"
    return "\n".join(
        [
            f"views at test time, OOF {found['metric']}",
            *(f"  {view:14} {told}" for view, told in rows.items()),
        ]
    )
