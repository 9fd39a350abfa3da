"""What a piece of each stage takes on this machine: the stages' own functions, on a small run of the same
settings.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from src import predict, train, train_fold
from src.competition import scoring
from src.competition.tasks import TASKS
from src.data.batches import Batch, Batches, at_once, in_steps
from src.data.cache_gain import count_work
from src.data.decoding import decode
from src.data.features import tried_images
from src.data.inputs import Inputs, epoch_steps
from src.data.run import Run
from src.data.training_table import FoldTable, TrainingTable, load_training_table
from src.data.views import tta_views
from src.evaluate import evaluate
from src.extras.plan.clock import Laps, Seconds, now, repeated, timed
from src.extras.plan.stages import Sizes
from src.model.classifier import Classifier
from src.model.pretrained import pretrained_hash
from src.prepare import prepare_inputs
from src.run import memory, predictions
from src.training import state_files
from src.training.checkpoint import Checkpoint
from src.training.loop import Learner, train_epoch
from src.training.loop import predict as predict_batches
from src.validation import Validation

TRUNK_BATCH = 64  # as src/data/features.py asks for
MOST_STEPS = 300
LONGEST_STEP = 4.0  # seconds: where one would take longer, fewer images are measured
FEW = 32  # images of the fold that is trained from its beginning to its end
SCORED = 4000  # rows of the score that is measured


class Measured(NamedTuple):
    seconds: dict[str, Seconds]  # by name as in costs.Rates
    sizes: Sizes


def measure(
    run: Run, table: pd.DataFrame, test: pd.DataFrame, *, caches: tuple[bool, bool], seconds: float
) -> Measured:
    """run: a small one that is split, its cache empty. table: rows of the whole one, for what grows with
    them; test: some test images. caches: whether the whole run caches the trunk's outputs of training and of
    test images. seconds: for what is repeated.
    """
    is_cached, is_test_cached = caches
    laps, size = Laps(run.machine), Sizes(row=table.memory_usage(deep=True).sum() / len(table))
    training, loading = timed(lambda: load_training_table(run, pretrained_hash(run.config)))
    pictures = decode(run, training.frame, laps)
    decoding = laps.take()
    prepared, preparing = timed(
        lambda: prepare_inputs(replace(training, run=forced_to(run, is_cached)), laps)
    )
    passes, inputs = laps.take(), replace(prepared, run=run)
    rates = {
        "start": loading + preparing - sum(pieces.sum(axis=0) for pieces in passes),
        "decode": decoding[0].sum(axis=0) / len(training.frame),
        **trunk_rates(passes, at_once(inputs.device, TRUNK_BATCH)),
    }
    size = size._replace(
        file=float(np.mean([os.path.getsize(run.inputs / path) for path in training.frame["path"]])),
        prediction=4 * len(run.competition.outputs),
        decoded=pictures.decoded.values[:1].nbytes,
        output=inputs.arrays[0].values[:1].nbytes if is_cached else 0,
    )
    if run.config.solver == "steps":
        of_steps, size = step_rates(training, inputs, table, size, seconds)
        rates |= of_steps
    rates |= whole_fold(training, inputs, rates, laps)
    rates["start"] = rates["start"] + rates.pop("once")
    rates |= score_rates(run, training.frame, table)
    rates |= predict_rates(forced_to(run, is_test_cached), training, test, laps)
    valid, trunk = rates.get("valid", np.zeros(2)), rates.get("trunk", np.zeros(2))
    rates["test"] = np.maximum(valid + (is_cached - is_test_cached) * trunk, 0)
    of_views = len(test) * len(tta_views(run.config)) * rates["test"]
    rates["model"] = np.maximum(rates["model"] - of_views, 0)
    return Measured(rates, size)


def forced_to(run: Run, is_cached: bool) -> Run:
    """The run, so that it caches the trunk's outputs, or does not, whatever that costs for a few images."""
    config, machine = run.config, run.machine
    if is_cached:
        config = replace(config, epochs=10**6)
    else:
        machine = replace(machine, cache_gb=0.0)
    return replace(run, settings=replace(run.settings, config=config, machine=machine))


def trunk_rates(passes: list[np.ndarray], size: int) -> dict[str, Seconds]:
    """Of a plain and of an augmented image, by the time of batches of `size`; the first one warms up."""
    pieces = [one[1:] if len(one) > 1 else one for one in passes]
    rates = {"trunk": np.median(pieces[0], axis=0) / size} if pieces else {}
    if pieces[1:]:
        rates["drawn"] = np.median(np.concatenate(pieces[1:]), axis=0) / size
    return rates


def step_rates(
    training: TrainingTable, inputs: Inputs, table: pd.DataFrame, sizes: Sizes, seconds: float
) -> tuple[dict[str, Seconds], Sizes]:
    """Steps of the optimizer and validations of fold 0, in batches of the real size."""
    run, config = inputs.run, inputs.run.config
    rows = training.for_fold(0)
    model = train_fold.make_model(inputs, rows)
    checkpoint = train_fold.make_checkpoint(training, inputs, model, config.batch_size)
    learner = train_fold.make_learner(run, inputs, model, checkpoint, 0)
    batches, validation = inputs.batches(rows), Validation(run, rows, model, learner)
    valid = forward_seconds(learner, batches, rows, model, seconds / 4)
    model.train()
    largest = max(int(LONGEST_STEP / (3 * valid[0])), 2)  # a backward pass costs about two forward ones
    step = step_seconds(learner, batches, rows, largest, seconds)
    batch_size = min(config.batch_size, largest)
    batch = next(iter(batches.train_epoch([[np.resize(rows.training, batch_size)]], 0)))
    saved = saved_bytes(learner, model, batch) / batch_size * config.batch_size
    after = repeated(lambda: validation.after_epoch(batches), seconds / 8)
    states = run.paths.root / "states"
    saving = repeated(lambda: state_files.save(states, checkpoint.state_dict()), 0.0)
    many = replace(rows, frame=table, training=np.arange(len(table)))
    order = repeated(lambda: epoch_steps(run, many, 0, config.batch_size), seconds / 8)
    rates = {
        "step": step,
        "valid": valid,
        "epoch": np.maximum(after - len(rows.held_out) * valid, 0),
        "order": order / len(table),
        "save": saving,
    }
    return rates, with_model(sizes, model, checkpoint, at_once(inputs.device, TRUNK_BATCH), saved, run)


def forward_seconds(
    learner: Learner, batches: Batches, rows: FoldTable, model: Classifier, seconds: float
) -> Seconds:
    """Of an image of a validation."""
    model.eval()
    size = at_once(learner.accelerator.device, 2 * learner.config.batch_size)
    positions = np.resize(rows.held_out, size)
    _, once = timed(
        lambda: predict_batches(learner.forward, batches.evaluation(positions, size), learner.accelerator)
    )
    positions = np.resize(positions, size * max(int(seconds / 4 / once[0]), 1))
    of_all = repeated(
        lambda: predict_batches(
            learner.forward, batches.evaluation(positions, 2 * learner.config.batch_size), learner.accelerator
        ),
        seconds,
    )
    return of_all / len(positions)


def step_seconds(
    learner: Learner, batches: Batches, rows: FoldTable, largest: int, seconds: float
) -> Seconds:
    """Of an image of a training step, of at most `largest` images: the median over steps after the first."""
    config = learner.config
    size = min(config.batch_size * config.accumulate, largest)
    steps = in_steps(np.resize(rows.training, MOST_STEPS * size), size, min(config.batch_size, size))
    times = [now()]
    for step in train_epoch(learner, batches.train_epoch(steps, 0), 0):
        if step.has_updated:
            times.append(now())
        if len(times) > 3 and times[-1][0] - times[1][0] > seconds:
            break
    return np.median(np.diff(times, axis=0)[1:], axis=0) / size


def saved_bytes(learner: Learner, model: Classifier, batch: Batch) -> int:
    """What a forward pass keeps for the backward pass, without the weights."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with hooks, learner.accelerator.autocast():
        logits = learner.forward(batch.image, batch.extra, batch.target)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    del logits  # it has held all of that until now, so that no address is used twice
    return sum(size for address, size in kept.items() if address not in weights)


def with_model(
    sizes: Sizes, model: Classifier, checkpoint: Checkpoint, at_once: int, saved: float, run: Run
) -> Sizes:
    """The sizes with those of the model, after its first steps."""
    states = checkpoint.optimizer.state.values()
    network = model.trunk if model.cut_at else model.tail
    _, work = count_work(network, model.normalise(tried_images(model, run.config)))
    return sizes._replace(
        weights=nbytes([*model.parameters(), *model.buffers()]),
        learned=nbytes(checkpoint.learned.values()),
        optimizer=nbytes(value for state in states for value in state.values()),
        saved=saved,
        forward=at_once * work.values * 4,
    )


def nbytes(values: Iterable[object]) -> int:
    return sum(value.untyped_storage().nbytes() for value in values if isinstance(value, Tensor))


def whole_fold(
    training: TrainingTable, inputs: Inputs, rates: dict[str, Seconds], laps: Laps
) -> dict[str, Seconds]:
    """A fold of a few images from its model to its done.json, without what is counted by image; what the
    first one takes longer, once; and the evaluation. An exact solution has no steps: all of it counts by
    image.
    """
    is_exact = inputs.run.config.solver == "exact"
    few = len(training.frame) if is_exact else FEW
    small = replace(training, frame=training.frame[:few], target=training.target[:few])
    if {*small.frame["fold"]} < {*training.frame["fold"]}:
        small = training
    baseline = memory.baseline(inputs.device)
    first, whole = (
        timed(partial(train.finish_fold, small, inputs, fold, laps, baseline))[1] for fold in (0, 1)
    )
    _, evaluation = timed(lambda: evaluate(inputs.run, small.frame))
    rows, more = small.for_fold(1), {"once": np.maximum(first - whole, 0), "evaluate": evaluation}
    if is_exact:
        return more | {"step": whole / len(rows.training)}
    counted = len(rows.training) * rates["step"] + len(rows.held_out) * rates["valid"] + rates["epoch"]
    return more | {"fold": np.maximum(whole - counted, 0)}


def score_rates(run: Run, few: pd.DataFrame, table: pd.DataFrame) -> dict[str, Seconds]:
    """A score, and what a row of it adds: of the truth itself as the prediction."""

    def seconds(frame: pd.DataFrame) -> Seconds:
        perfect = TASKS[run.competition.task].encode(frame, run.competition)
        oof = predictions.make(frame["id"], perfect, run.competition.outputs)
        score_of = scoring.score_of(run.competition, frame)
        return repeated(lambda: score_of(oof), 0.2)

    many = table[:SCORED]
    one, all_of_them = seconds(few), seconds(many)
    row = np.maximum(all_of_them - one, 0) / max(len(many) - len(few), 1)
    return {"score": np.maximum(one - len(few) * row, 0), "score_row": row}


def predict_rates(run: Run, training: TrainingTable, test: pd.DataFrame, laps: Laps) -> dict[str, Seconds]:
    """What comes before the first model, and a model with all of these test images."""
    laps.take()
    images, preparing = timed(
        lambda: predict.prepare_images(
            run, training.frame, test, tta_views(run.config), 10**6, laps, tolerant=True
        )
    )
    passes = laps.take()
    positions = np.arange(len(test))

    def one_model() -> None:
        predict.predict_views(run, training.frame, images, 0, positions, "plan", laps)

    _, first = timed(one_model)
    model = repeated(one_model, 0.0)
    once = np.maximum(first - model, 0)
    return {"predict": preparing + once - sum(pieces.sum(axis=0) for pieces in passes), "model": model}
