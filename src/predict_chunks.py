"""Predict a table of images chunk by chunk: in bounded memory, within a time limit, and without a cache.

The same images get the same bytes as from predict: the chunks end where its batches do.
"""

import math
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from src.competition import tables
from src.config import Machine, decoded_size
from src.data import features
from src.data.arrays import InMemory
from src.data.batches import at_once
from src.data.decoding import Pictures
from src.data.extra_columns import ExtraColumns
from src.data.images import read_all, records_of
from src.data.prediction_keys import check_shared_code, predicting_code
from src.data.run import Run, at_test_size
from src.data.views import tta_views, without_draws
from src.model.classifier import Classifier, build, check_test_size
from src.model.engines import Trunk
from src.model.frozen import load_frozen
from src.predict import PIECE, Images, predict_views, stand_in
from src.run import predictions
from src.run.clock import Clock
from src.run.device import make_accelerator
from src.run.memory import BatchSize
from src.run.pace import Pace, Plan
from src.run.paths import fold_name

CHUNK_BYTES = 256e6  # of decoded images and of the trunk's outputs
CHUNK_SECONDS = 30  # of work between two looks at the clock
TRUNK_BATCH = 64  # as features.trunk_outputs asks for


@dataclass
class Result:
    """What the models say: for each chunk a frame per model, the mean over its views."""

    chunks: list[dict[int, pd.DataFrame]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # id -> why

    def left(self, table: pd.DataFrame) -> list[str]:
        """The ids that no model has seen."""
        seen = sum(len(next(iter(chunk.values()))) for chunk in self.chunks)
        return table["id"].iloc[seen:].tolist()

    def frame(self, table: pd.DataFrame, prior: pd.Series) -> pd.DataFrame:
        """The mean over the models, by id. For an image that can't be read, or that there was no time for,
        the mean of its row's other images, else the prior, which has a value per output.
        """
        by_model = {}
        for k in {k for chunk in self.chunks for k in chunk}:
            frame = predictions.join(chunk[k] for chunk in self.chunks if k in chunk)
            lost = {image: why for image, why in self.unreadable.items() if image in frame.index}
            by_model[k] = stand_in(frame, table, lost, prior.to_numpy())
        means = [predictions.make([], np.zeros((0, len(prior))), prior.index)]
        for chunk in self.chunks:
            ids = next(iter(chunk.values())).index
            means.append(predictions.mean(by_model[k].loc[ids] for k in chunk))
        frame = predictions.join(means[-len(self.chunks) :]).reindex(table["id"]).rename_axis("id")
        if self.left(table):
            of_row = frame.groupby(table["row"].to_numpy()).transform("mean")
            frame = frame.fillna(of_row).fillna(prior)
        return frame


@dataclass(frozen=True)
class Models:
    """What every chunk is predicted with."""

    run: Run
    table: pd.DataFrame  # folds.csv
    numbers: tuple[int, ...]
    model: Classifier  # each fold's weights are loaded into it in turn
    accelerator: Accelerator
    is_cached: bool  # whether the trunk runs by itself, once per view for all models
    trunk_batch: BatchSize
    tail_batch: BatchSize

    @property
    def unit(self) -> int:
        """Images after which every batch ends, as in a prediction of all at once."""
        tail = 2 * self.run.config.batch_size
        if not self.is_cached:
            return tail
        return math.lcm(at_once(self.accelerator.device, TRUNK_BATCH), tail)

    @property
    def most(self) -> int:
        """Images of the largest chunk."""
        size = 3 * decoded_size(self.run.config) ** 2
        if not self.is_cached:
            return min(self.whole(CHUNK_BYTES / size), PIECE * self.unit)
        size += 4 * math.prod(features.output_shape(self.model, self.run.config))
        return self.whole(CHUNK_BYTES / size)

    def whole(self, num: float) -> int:
        """A number of images near it that ends a unit."""
        return max(int(num / self.unit), 1) * self.unit


def load_models(run: Run) -> Models:
    """Raises ValueError where a fold isn't trained, or was by other code."""
    check_test_size(run.config)
    run = at_test_size(run)
    config, competition = run.config, run.competition
    table = tables.read_folds(run.paths.folds)
    numbers = run.paths.predicting(config.refit)
    missing = [k for k in numbers if not run.paths.fold(k).done.exists()]
    if missing or not numbers:
        what = fold_name(missing[0]) if missing else "no fold"
        raise ValueError(f"{what} of {run.paths.root} is trained: make train RUN={run.paths.name} first")
    accelerator = make_accelerator(run.machine)
    extra = ExtraColumns.fit(table, competition.features, np.ones(len(table), bool))
    model = build(config, len(competition.outputs), extra.size, is_proven=True).to(accelerator.device)
    if run.paths.frozen.exists():  # of a bundle, whose code was copied with it
        load_frozen(model, run.paths.frozen)
    else:
        check_shared_code(run.paths, numbers, predicting_code(run))
    num_views = len(tta_views(config))
    # of a few images: there is no cache that could be too large
    with redirect_stdout(None):
        is_cached = features.pays_to_cache(model, run, 1, num_views, len(numbers) * num_views)
    trunk_batch = BatchSize(at_once(accelerator.device, TRUNK_BATCH), "the trunk")
    tail_batch = BatchSize(2 * config.batch_size, "prediction")
    return Models(run, table, tuple(numbers), model, accelerator, is_cached, trunk_batch, tail_batch)


def predict_images(run: Run, table: pd.DataFrame, folder: Path, hours: float = 0.0) -> Result:
    """Predict the images of a table (id, row, path below folder, extra columns), in its order. hours: from
    the start of the process; before it is over, views, then models, then images are left out, and that is
    printed.
    """
    models, result, pace = load_models(run), Result(), Pace(hours)
    views = tuple(tta_views(run.config))
    said, size, done = (views, models.numbers), models.unit, 0
    trunk = Trunk(models.model, run.machine, models.accelerator) if models.is_cached else None
    while done < len(table):
        plan = pace.plan(len(table) - done, views, models.numbers)
        if (plan.views, plan.models) != said:
            said = plan.views, plan.models
            print(
                f"time: from image {done + 1} of {len(table)} on {as_words(plan, views, models)}", flush=True
            )
        if plan.num < min(size, len(table) - done):
            size = plan.num // models.unit * models.unit
        if not size:
            break
        chunk = table.iloc[done : done + size]
        frames, unreadable = predict_chunk(models, trunk, chunk, folder, plan, pace)
        result.chunks.append(frames)
        result.unreadable |= unreadable
        done += len(chunk)
        each = pace.per_image(len(plan.views), len(plan.models))
        left = each * (len(table) - done)
        print(f"{done} of {len(table)} images, {1000 * each:.1f} ms each, {left:.0f} s left", flush=True)
        size = min(models.whole(min(CHUNK_SECONDS, pace.left / 10) / each), models.most)
    return result


def as_words(plan: Plan, views: tuple[str, ...], models: Models) -> str:
    return (
        f"{len(plan.views)} of {len(views)} views ({', '.join(plan.views)}) and {len(plan.models)} of"
        f" {len(models.numbers)} models, or the limit would be missed"
    )


def predict_chunk(
    models: Models, trunk: Trunk | None, chunk: pd.DataFrame, folder: Path, plan: Plan, pace: Pace
) -> tuple[dict[int, pd.DataFrame], dict[str, str]]:
    """(model -> predictions of these images, the mean over the plan's views; id -> why it can't be read)."""
    run, size, num = models.run, decoded_size(models.run.config), len(chunk)
    with pace.timing("read", num):
        decoded, unreadable = read_pictures(run, chunk, folder, size)
    pictures = Pictures(InMemory(decoded), "", unreadable, [], "")  # type: ignore[arg-type]
    frames: dict[int, list[pd.DataFrame]] = {k: [] for k in plan.models}
    for view in plan.views:
        transform, array = tta_views(run.config)[view], pictures.decoded
        if trunk:
            with pace.timing("trunk", num):
                array = trunk_output(models, trunk, pictures, view)  # type: ignore[assignment]
        images = Images(
            chunk,
            pictures,
            {view: transform},
            [array],
            models.is_cached,
            models.model,
            models.accelerator,
            models.tail_batch,
        )
        with pace.timing("tail", num * len(plan.models)):
            for k in plan.models:
                by_view = predict_views(run, models.table, images, k, np.arange(num), "", Clock(Machine()))
                frames[k].append(by_view[view])
    return {k: predictions.mean(by_view) for k, by_view in frames.items()}, unreadable


def read_pictures(
    run: Run, table: pd.DataFrame, folder: Path, size: int
) -> tuple[np.ndarray, dict[str, str]]:
    """(The table's images, (N, size, size, 3) uint8, black where one can't be read; id -> why it can't)."""
    pictures = np.zeros((len(table), size, size, 3), np.uint8)
    unreadable = read_all(
        records_of(table, folder),
        size,
        pictures.__setitem__,
        read_image=run.competition.read_image,
        max_pixels=run.competition.max_pixels,
        resize=run.config.resize,
        workers=run.machine.num_threads,
    )
    return pictures, unreadable


def trunk_output(models: Models, trunk: Trunk, pictures: Pictures, view: str) -> InMemory:
    """The trunk's output for the images of a chunk in one view, as features.trunk_outputs stores it."""
    config, decoded = models.run.config, pictures.decoded.values
    trunk.compile(torch.from_numpy(decoded[:2].copy()).permute(0, 3, 1, 2))
    shape, dtype = features.output_shape(models.model, config), features.stored_type(trunk, config.image_size)
    values = np.zeros((len(decoded), *shape), dtype)
    transform = without_draws({view: tta_views(config)[view]}, config.image_size)[view]
    view_of = partial(features.see, transform, view, config.image_size, models.accelerator.device)
    with redirect_stdout(None):  # it would announce each chunk
        for _ in features.run_trunk(trunk, pictures, None, view_of, view, models.trunk_batch, values, {}):
            pass
    return InMemory(values)
