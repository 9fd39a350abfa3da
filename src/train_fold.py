"""Train one fold.  TrainingTable, Inputs -> fold<k>/{model.safetensors, valid.parquet, valid_epochs.parquet,
log.jsonl}
"""

import copy

import numpy as np
import pandas as pd
import torch
from timm.layers import convert_sync_batchnorm

from src.competition.tasks import TASKS, loss_name
from src.data.inputs import Inputs, epoch_steps, largest_batch
from src.data.run import Run, make_tracker
from src.data.training_table import FoldTable, TrainingTable
from src.data.transfer import Waiting
from src.model.classifier import Classifier, build
from src.run import memory, predictions, provenance, ranks, reuse
from src.run.clock import Clock
from src.run.device import prepared
from src.run.errors import Stopped, warn
from src.run.files import atomic, naming, write_text
from src.run.paths import FoldPaths, fold_name
from src.run.progress import Progress
from src.run.tracking import Tracker
from src.training import optimizer_state, state_files
from src.training.checkpoint import Checkpoint
from src.training.early_stopping import EarlyStopping
from src.training.loop import Learner, train_epoch, unused
from src.training.losses import LOSSES
from src.training.optim import body_rate, make_optimizer
from src.training.swa import make_average
from src.validation import Validation


def train_fold(
    table: TrainingTable, inputs: Inputs, fold: int, batch_size: int, clock: Clock
) -> tuple[dict, memory.Watch]:
    """Train a fold, from its saved state if there is one, and write its files, all but done.json. Returns
    what done.json will say, and a watch on what must be freed afterwards.

    batch_size is what fits in memory; gradients are accumulated to the size that was asked for. A refit holds
    nothing out: it has no predictions and no score. Raises NotFinite, or Stopped with the state saved.
    """
    run, config, files = table.run, table.run.config, table.run.paths.fold(fold)
    rows = table.for_fold(fold)
    state = ranks.main_first(lambda: saved_state(run, rows, files, batch_size))
    batch_size = state["batch_size"] if state else batch_size
    model = make_model(inputs, rows)
    watch = memory.watch(model, inputs.template and inputs.template.trunk)
    checkpoint = make_checkpoint(table, inputs, model, batch_size)
    resume(checkpoint, state, files)
    ranks.copy_main([*checkpoint.learned.values()])  # machines may differ in the last digits
    del state  # it holds all of that once more
    learner = make_learner(run, inputs, model, checkpoint, fold)
    batches, validation = inputs.batches(rows), Validation(run, rows, model, learner)
    num_batches, waiting = sum(map(len, epoch_steps(run, rows, checkpoint.epoch, batch_size))), Waiting()
    with (
        make_tracker(run, files.log, files.root.name, "fold") as tracker,
        Progress(fold, config.epochs, num_batches, clock.folds_after) as progress,
    ):
        progress.begin(checkpoint.epoch, checkpoint.batch)
        while checkpoint.epoch < config.epochs and not checkpoint.early_stopping.is_over:
            epoch = checkpoint.epoch
            steps = epoch_steps(run, rows, epoch, batch_size)
            model.train()
            epoch_batches = waiting.over(batches.train_epoch(steps, epoch, checkpoint.batch))
            for step in train_epoch(learner, epoch_batches, epoch):
                checkpoint.advance(step)
                progress.advance(step.num_images)
                if step.has_updated and not step.ends_epoch:
                    save_or_stop(checkpoint, files, clock)
            valid = validation.after_epoch(batches)
            figures = {"loss": checkpoint.mean_loss, **valid.figures}
            with naming(files.log):
                also = {"images_per_second": progress.images_per_second, **body_rate(learner.optimizer)}
                rate = learner.optimizer.param_groups[-1]["lr"]
                tracker.log({"epoch": epoch + 1, **figures, "lr": rate}, also=also)
            progress.end_epoch(figures)
            validation.check(valid, checkpoint)
            checkpoint.end_epoch(valid.predictions, valid.score)
            save_or_stop(checkpoint, files, clock, ends_epoch=True)
        result = finish(checkpoint, validation, files, tracker)
    print(f"{fold_name(fold)}: {waiting.line()}", flush=True)
    return result | waiting.figures(), watch


def finish(checkpoint: Checkpoint, validation: Validation, files: FoldPaths, tracker: Tracker) -> dict:
    """Write the model that the fold ends with and its predictions; returns what done.json will say of it."""
    frame = validation.frame(checkpoint.predictions[checkpoint.final_weights()])
    score = validation.score_of(frame) if len(frame) else None
    tracker.finish({} if score is None else {validation.run.competition.metric_name: score})
    epochs = [validation.frame(values) for values in checkpoint.predictions]
    if ranks.is_main():
        write_fold(files, validation.model, frame, epochs)
    return checkpoint.origin | {"score": score, "epochs": len(epochs), "seconds": checkpoint.seconds}


def saved_state(run: Run, rows: FoldTable, files: FoldPaths, batch_size: int) -> dict | None:
    """The fold's saved state; None without one, or with larger batches, which did not fit in the end. One of
    fewer processes, whose batches were larger, goes on in smaller ones.
    """
    state = state_files.load(files.state)
    if not state or state["batch_size"] <= batch_size:
        return state
    if batch_size < largest_batch(run.config):
        return None
    sizes = (state["batch_size"], batch_size)
    before, now = (epoch_steps(run, rows, state["epoch"], size) for size in sizes)
    ends = np.cumsum([len(batches) for batches in before])
    num_steps = int(np.searchsorted(ends, state["batch"], side="right"))
    return state | {"batch_size": batch_size, "batch": sum(map(len, now[:num_steps]))}


def make_model(inputs: Inputs, rows: FoldTable) -> Classifier:
    """The model as the fold begins. A backbone of which nothing learns is shared by all folds and stays alive
    on purpose: only the head is the fold's own.
    """
    run, template = inputs.run, inputs.template
    if template:
        model = copy.deepcopy(template, {id(template.trunk): template.trunk})
    else:
        model = build(run.config, rows.target.shape[1], rows.rows.extra.shape[1], is_proven=True)
    if run.machine.sync_batchnorm and ranks.count() > 1:
        model.tail, model.head = convert_sync_batchnorm(model.tail), convert_sync_batchnorm(model.head)
    model = model.to(inputs.device, memory_format=torch.channels_last)
    model.unit = rows.unit
    if run.config.init_from:
        source = rows.fold % run.config.folds  # a fold's is its own, a refit's any one
        warm_start(model, FoldPaths(run.paths.root.parent / run.config.init_from / f"fold{source}"))
    return model


def warm_start(model: Classifier, fold: FoldPaths) -> None:
    """Begin with another run's fold, where names and shapes agree (a head for other classes stays new)."""
    reuse.check_fold(fold, fold.model.name)
    left = model.load(fold.model, strict=False)
    if left:
        print(f"init_from: {len(left)} tensors not taken over: {', '.join(left[:4])}")


def make_checkpoint(table: TrainingTable, inputs: Inputs, model: Classifier, batch_size: int) -> Checkpoint:
    """The fold's training before its first step."""
    run, accelerator = table.run, inputs.accelerator
    optimizer = make_optimizer(model.learning(), run.config)
    missing, strangers = unused(model, optimizer)
    assert not missing and not strangers, (
        f"{len(missing)} learning parameters are not in the optimizer, {len(strangers)} in it do not learn"
    )
    optimizer_state.state_dict(optimizer)  # refuses one that could not go on, before hours are spent on it
    optimizer = prepared(accelerator, optimizer)
    origin = table.recipe | {
        "recipe": table.recipe_hash,
        "batch_size": batch_size,
        "code": table.code,
        "versions": provenance.versions(),
        "precision": accelerator.mixed_precision,
    }
    if ranks.count() > 1:
        origin["processes"] = ranks.count()
    ema = make_average(model.learned(), run.config)
    stopping = EarlyStopping(run.config.patience, lower_is_better=run.competition.lower_is_better)
    return Checkpoint(model.learned(), optimizer, accelerator.scaler, ema, stopping, origin)


def resume(checkpoint: Checkpoint, state: dict | None, files: FoldPaths) -> None:
    """Go on from a saved state, if there is one, with the log as it was then."""
    if state:
        precision = checkpoint.origin["precision"]
        checkpoint.load_state_dict(state)
        if precision != checkpoint.origin["precision"]:
            warn(
                f"{files.root.name} began with precision {checkpoint.origin['precision']}, and goes on with"
                f" {precision}"
            )
        print(f"{files.root.name} goes on after {checkpoint.place}", flush=True)
        if (number := state.get("processes", 1)) != ranks.count():
            print(
                f"{files.root.name} began with {number} processes and goes on with {ranks.count()}: the last"
                " digits will be others",
                flush=True,
            )
    elif ranks.is_main():
        state_files.clear(files.state)
    if ranks.is_main():
        write_text(state["log"] if state else "", files.log)


def make_learner(run: Run, inputs: Inputs, model: Classifier, checkpoint: Checkpoint, fold: int) -> Learner:
    task = TASKS[run.competition.task]
    return Learner(
        forward=inputs.forward_of(model),
        loss_fn=LOSSES[loss_name(run.config.loss, run.competition.task)],
        optimizer=checkpoint.optimizer,
        ema=checkpoint.ema,
        accelerator=inputs.accelerator,
        config=run.config,
        label_smoothing=run.config.label_smoothing if task.loss == "cross_entropy" else 0.0,
        fold=fold,
        buffers=[*model.tail.buffers(), *model.head.buffers()],
        in_lockstep=run.machine.sync_batchnorm and ranks.count() > 1,
    )


def save_or_stop(checkpoint: Checkpoint, files: FoldPaths, clock: Clock, *, ends_epoch: bool = False) -> None:
    """Save the state when it is time, and before a stop. Raises Stopped."""
    reason = clock.why_stop()
    if reason or clock.is_due(ends_epoch=ends_epoch):
        with clock.saving():
            if ranks.is_main():
                log = files.log.read_text(encoding="utf-8")
                state_files.save(files.state, checkpoint.state_dict() | {"log": log})
    if reason:
        ranks.agree()  # or one would end, and take the others with it, before all is saved
        raise Stopped(
            f"{reason}: {files.label} is saved after {checkpoint.place}; the same command goes on from there"
        )


def write_fold(files: FoldPaths, model: Classifier, valid: pd.DataFrame, epochs: list[pd.DataFrame]) -> None:
    """The model and its held-out predictions, those of each epoch too."""
    with atomic(files.model) as part:
        model.save(part)
    if not len(valid):
        return
    with atomic(files.valid) as part:
        predictions.write(valid, part)
    with atomic(files.valid_epochs) as part:
        numbered = [frame.assign(epoch=number) for number, frame in enumerate(epochs)]
        pd.concat(numbered).to_parquet(part, compression="zstd")
