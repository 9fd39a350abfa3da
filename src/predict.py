"""Predict the test images with each fold's model.  fold<k>/model.safetensors, test images ->
fold<k>/test.parquet, test.parquet; with tta or test_size also the held-out images in each view ->
oof_tta.parquet, tta.json
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import Accelerator

from src.competition import tables
from src.competition.tasks import TASKS
from src.config import predicted_size
from src.data import features, folds
from src.data.arrays import Array, make_in_steps
from src.data.batches import Batches, Rows
from src.data.decoding import Pictures, decode
from src.data.extra_columns import ExtraColumns
from src.data.on_the_fly import Files
from src.data.prediction_keys import check_shared_code, is_made, predicting_code, prediction_key
from src.data.recipe import check_trained, image_contents, make_recipe
from src.data.run import Run, at_test_size
from src.data.scores import score_views, view_lines, write_views
from src.data.views import TestViews, tta_views, unseen_tta_views, without_draws
from src.model.classifier import Classifier, build, check_test_size
from src.model.engines import Trunk
from src.model.pretrained import pretrained_hash
from src.run import predictions, reuse
from src.run.clock import Clock
from src.run.device import make_accelerator
from src.run.errors import Stopped, warn
from src.run.files import atomic, file_sha, read_json, sha256, write_json
from src.run.memory import BatchSize
from src.run.paths import REFIT, FoldPaths, fold_name
from src.training.loop import predict as predict_batches

# times two batches are predicted between two looks at the clock, where each image goes through the whole
# network
PIECE = 16


def predict(run: Run, only: int | None = None) -> None:
    """Write what each model predicts and, of all models, the mean; test.json is the last. Raises ValueError
    when a fold isn't trained.
    """
    table, paths, config = tables.read_folds(run.paths.folds), run.paths, run.config
    check_test_size(config)
    for line in unseen_tta_views(config, run.competition):
        warn(line)
    numbers = sorted(k for k in table["fold"].unique() if k >= 0) if only is None else [only]
    refits = paths.predicting(config.refit) if only is None and config.refit else []
    check_models(run, table, numbers, refits)
    clock = Clock(run.machine)
    with clock.listening():
        if config.tta or config.test_size:
            predict_held_out(run, table, numbers, clock)
            score, mean = score_views(run, table, numbers)
            print("\n".join(view_lines(score)))
            if only is None:
                write_views(paths, score, mean)
        if only is None and config.refit:
            print(
                f"the OOF score is of the {len(numbers)} fold models, which saw {1 - 1 / len(numbers):.0%} of"
                f" the images; the test images are predicted by {config.refit} models of all images"
            )
            numbers = refits
        predict_test(run, table, numbers, clock)
    if only is not None:
        print(f"{paths.fold(only).test} is of this fold alone; the run's test.parquet is the mean of all")
        return
    mean = predictions.mean(predictions.read_fold_test(paths.fold(k)) for k in numbers)
    predictions.write_test(mean, paths, {paths.fold(k).root.name: origin_of(paths.fold(k)) for k in numbers})


def origin_of(fold: FoldPaths) -> dict[str, str]:
    """What test.json says of a model: its recipe, and a hash of its predictions."""
    return {"recipe": read_json(fold.done)["recipe"], "sha256": file_sha(fold.test)}


def check_models(run: Run, table: pd.DataFrame, numbers: list[int], refits: list[int]) -> None:
    """Raises ValueError unless all models are trained, by the recipe that the run has now."""
    for k in [*numbers, *refits]:
        if not run.paths.fold(k).done.exists():
            raise ValueError(f"{fold_name(k)} of {run.paths.root} is not trained: make train first")
    recipe = make_recipe(run, table, pretrained_hash(run.config))
    check_trained(run.paths, numbers, recipe)
    for number, k in enumerate(refits):  # each has the next seed
        settings = recipe["settings"] | {"seed": run.config.seed + number}
        check_trained(run.paths, [k], recipe | {"settings": settings})


def predict_test(run: Run, table: pd.DataFrame, numbers: list[int], clock: Clock) -> None:
    """Write each model's predictions of the test images, the mean over its views."""
    began, paths, config = time.perf_counter(), run.paths, run.config
    test = tables.make_test(run.inputs, run.competition)
    hashes = [
        test["id"].tolist(),
        image_contents(run, test),
        folds.features_hash(test, run.competition.features),
    ]
    code, views = predicting_code(run), tta_views(config)
    keys = {k: prediction_key(run, k, code, hashes) for k in numbers}
    todo = [k for k in numbers if not is_made(paths.fold(k).test, paths.fold(k).test_json, keys[k])]
    check_shared_code(paths, todo, code)
    prior = TASKS[run.competition.task].encode(table, run.competition).mean(axis=0)
    if todo:
        # not the number of those left: a killed run must go the same way again
        models = config.refit if numbers[0] <= REFIT else config.folds
        images = prepare_images(run, table, test, views, models * len(views), clock, tolerant=True)
        for k in todo:
            frames = predict_views(run, table, images, k, np.arange(len(test)), keys[k], clock)
            mean = stand_in(predictions.mean(frames.values()), test, images.pictures.unreadable, prior)
            with atomic(paths.fold(k).test) as part:
                predictions.write(mean, part)
            note = {
                "key": keys[k],
                "tta": config.tta,
                "images": len(test),
                "seconds": round(time.perf_counter() - began, 2),
                "unreadable": images.pictures.unreadable,
                "sha256": file_sha(paths.fold(k).test),
                "code": code,
            }
            write_json(note, paths.fold(k).test_json)
    seconds = time.perf_counter() - began
    print(
        f"predicted {len(test)} test images with {len(numbers)} models, views {', '.join(views)}, in"
        f" {seconds:.1f} s"
    )


def predict_held_out(run: Run, table: pd.DataFrame, numbers: list[int], clock: Clock) -> None:
    """Write what each fold's model says of its held-out images in each view but the plain one, which training
    has written; with test_size in all, at that size.
    """
    paths, code = run.paths, predicting_code(run)
    keys = {k: prediction_key(run, k, code, []) for k in numbers}
    todo = [k for k in numbers if not is_made(paths.fold(k).valid_views, paths.fold(k).views_json, keys[k])]
    check_shared_code(paths, todo, code)
    if not todo:
        return
    views, size = tta_views(run.config), run.config.test_size
    if not size:
        del views["plain"]
    # the trunk's outputs are used once here, and again by the next run that shares the trunk
    images = prepare_images(run, table, table, views, 2 * len(views), clock)
    for k in todo:
        held_out = np.flatnonzero(table["fold"] == k)
        frames = predict_views(run, table, images, k, held_out, keys[k], clock)
        files = paths.fold(k)
        with atomic(files.valid_views) as part:
            at = f" at {size} px" if size else ""
            by_view = [frame.assign(view=view + at) for view, frame in frames.items()]
            pd.concat(by_view).to_parquet(part, compression="zstd")
        note = {"key": keys[k], "tta": run.config.tta, "sha256": file_sha(files.valid_views)}
        write_json(note, files.views_json)


@dataclass(frozen=True)
class Images:
    """The images that all models predict: decoded once and, where it pays, through the trunk once
    per view.
    """

    table: pd.DataFrame
    pictures: Pictures
    views: TestViews
    arrays: Sequence[Array | Files]  # one per view
    is_cached: bool  # whether they are the trunk's outputs
    model: Classifier  # each fold's weights are loaded into it in turn
    accelerator: Accelerator
    batch: BatchSize


def prepare_images(
    run: Run,
    table: pd.DataFrame,
    images: pd.DataFrame,
    views: TestViews,
    passes: int,
    clock: Clock,
    *,
    tolerant=False,
) -> Images:
    """table: folds.csv. passes: how often each image would go through the trunk without its cache."""
    run = at_test_size(run)
    accelerator, competition = make_accelerator(run.machine), run.competition
    extra = ExtraColumns.fit(table, competition.features, np.ones(len(table), bool))
    model = build(run.config, len(competition.outputs), extra.size, is_proven=True).to(accelerator.device)
    pictures = decode(run, images, clock, tolerant=tolerant)
    is_cached = features.pays_to_cache(model, run, len(images), len(views), passes)
    arrays: Sequence[Array | Files] = [pictures.decoded] * len(views)
    if is_cached:
        trunk = Trunk(model, run.machine, accelerator)
        transforms = without_draws(views, run.config.image_size)
        arrays = features.trunk_outputs(run, trunk, pictures, transforms, accelerator, clock)
    batch = BatchSize(2 * run.config.batch_size, "prediction")
    return Images(images, pictures, views, arrays, is_cached, model, accelerator, batch)


def predict_views(
    run: Run, table: pd.DataFrame, images: Images, fold: int, positions: np.ndarray, key: str, clock: Clock
) -> dict[str, pd.DataFrame]:
    """The predictions by view of the images at these positions, by the model of a fold."""
    files, model, competition = run.paths.fold(fold), images.model, run.competition
    task, ids = TASKS[competition.task], images.table["id"].iloc[positions]
    reuse.check_fold(files, files.model.name)
    model.load(files.model)
    extra = ExtraColumns.fit(table, competition.features, (table["fold"] != fold).to_numpy()).encode(
        images.table
    )
    num_images = len(images.table)
    rows = Rows(np.zeros((num_images, 1), np.float32), np.ones(num_images, np.float32), extra)
    frames = {}
    for array, (name, view) in zip(images.arrays, images.views.items()):
        forward = forward_of(images, view)
        batches = Batches([array], rows, device=images.accelerator.device, size=predicted_size(run.config))

        def logits_of(part: np.ndarray, forward=forward, batches=batches) -> np.ndarray:
            predicted, logits = images.batch.fit(
                lambda count: predict_batches(forward, batches.evaluation(part, count), images.accelerator)
            )
            check_positions(predicted, part)
            return logits

        path = files.root / f"predicting-{name}-{sha256([key, images.pictures.key])}.npy"
        size = max(len(positions), 1) if images.is_cached else PIECE * 2 * run.config.batch_size
        logits = in_pieces(logits_of, positions, size, path, len(competition.outputs), clock)
        frame = predictions.make(ids, task.activation(logits, model.unit), competition.outputs)
        frames[name] = predictions.check_ids(frame, ids, "predictions")
    for file in files.root.glob("predicting-*"):
        file.unlink()
    return frames


def forward_of(images: Images, view: Callable | None) -> Callable:
    """What turns a batch into logits: of the trunk's outputs, or of plain images that are seen in
    this view.
    """
    model = images.model
    if images.is_cached:
        return model.logits
    return model if view is None else lambda image, extra: model(view(image), extra)


def check_positions(predicted: np.ndarray, positions: np.ndarray) -> None:
    """Raises ValueError where what is predicted is not what was asked for."""
    if predicted.tolist() != positions.tolist():
        raise ValueError(
            f"{len(positions)} images were to be predicted, {len(predicted)} were, or others: batches must"
            " hold what they are asked for"
        )


def in_pieces(
    logits_of: Callable[[np.ndarray], np.ndarray],
    positions: np.ndarray,
    size: int,
    path: Path,
    num_outputs: int,
    clock: Clock,
) -> np.ndarray:
    """The logits (n, T) of the images at these positions, `size` at a time. Between two pieces the process
    may stop, and the next one goes on there. Raises Stopped.
    """

    def fill(values: np.ndarray, progress: dict) -> Iterator[dict]:
        for start in range(progress.get("done", 0), len(positions), size):
            part = positions[start : start + size]
            values[start : start + len(part)] = logits_of(part)
            yield {"done": start + len(part)}

    if len(positions) > size:
        return np.array(make_in_steps(path, (len(positions), num_outputs), "float32", fill, clock).values)
    clock.begin()
    logits = logits_of(positions)
    if reason := clock.why_stop():
        name = path.parent.name
        raise Stopped(f"{reason}: stopped between predictions; the same command goes on with {name}")
    return logits


def stand_in(
    frame: pd.DataFrame, test: pd.DataFrame, unreadable: dict[str, str], prior: np.ndarray
) -> pd.DataFrame:
    """For an image that can't be read: the mean of its row's other images, else what the training images say
    on average. Never the prediction for a black picture.
    """
    rows = test.set_index("id")["row"]
    good = frame.drop(index=list(unreadable))
    means = good.groupby(rows.loc[good.index].to_numpy()).mean()
    for image in unreadable:
        frame.loc[image] = means.loc[rows[image]] if rows[image] in means.index else prior
    return frame
