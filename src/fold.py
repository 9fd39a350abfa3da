"""Train one fold: model, optimizer, loop, validation after each epoch, files.  Job, fold -> fold<k>/{model.safetensors, valid*, log.jsonl}"""
import sys
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from tqdm import tqdm

from src import config, predictions, runs
from src.competitions import Competition
from src.config import Settings
from src.data.arrays import Array
from src.data.batches import SAMPLERS, Batches, ExtraColumns, Rows, draw, in_parts
from src.fit import memory
from src.fit.loop import Average, predict, train_steps, unused
from src.fit.losses import LOSSES
from src.fit.optim import make_optimizer
from src.fit.track import Tracker
from src.model.classifier import Classifier, build
from src.runs import FoldPaths, RunPaths
from src.tasks import TASKS


class Job(NamedTuple):
    """What all folds of a run share."""

    settings: Settings
    competition: Competition
    paths: RunPaths
    table: pd.DataFrame
    target: np.ndarray          # (N, T)
    arrays: list[Array]         # the trunk's outputs by view, or the decoded images alone
    is_cached: bool             # are they the trunk's outputs?
    transforms: dict            # by view, for what is not cached
    recipe_hash: str
    fold_hash: str
    weights_hash: str
    accelerator: Accelerator


def loss_name(job: Job) -> str:
    return TASKS[job.competition.task].loss if job.settings.config.loss == "auto" else job.settings.config.loss


def make_rows(job: Job, training: np.ndarray) -> Rows:
    """Targets, loss weights and extra columns of all images; what is fitted is fitted on the training part (bool, N)."""
    weight, how = np.ones(len(job.table), np.float32), job.settings.config.class_weights
    if how != "none":
        share = job.target[training].mean(axis=0).clip(min=1e-9)                        # (T,)
        weight = job.target @ share ** (-1.0 if how == "balanced" else -0.5)
        weight = (weight / weight[training].mean()).astype(np.float32)
    return Rows(job.target, weight, ExtraColumns.fit(job.table, job.competition.features, training).encode(job.table))


def train_fold(job: Job, fold: int, batch_size: int) -> tuple[dict, memory.Watch]:
    """Train a fold and write its files, all but done.json; returns what done.json will say, and a watch on what must be gone afterwards.

    batch_size is what fits in memory; gradients are accumulated to the size that was asked for. Raises NotFinite.
    """
    experiment, accelerator, paths = job.settings.config, job.accelerator, job.paths.fold(fold)
    training = np.flatnonzero(job.table["fold"] != fold)
    held_out = np.flatnonzero(job.table["fold"] == fold)
    rows = make_rows(job, (job.table["fold"] != fold).to_numpy())
    model = build(experiment, job.target.shape[1], rows.extra.shape[1], is_proven=True).to(accelerator.device, memory_format=torch.channels_last)
    if experiment.init_from:
        warm_start(model, job.paths.root.parent / experiment.init_from / f"fold{fold}" / "model.safetensors")
    watch = memory.watch(model)
    optimizer = make_optimizer(model.learning(), experiment)
    missing, strangers = unused(model, optimizer)
    assert not missing and not strangers, f"{len(missing)} learning parameters are not in the optimizer, {len(strangers)} in it do not learn"
    optimizer = accelerator.prepare(optimizer)
    average = Average(model.learned(), experiment.ema) if experiment.ema else None
    batches = Batches(job.arrays, rows, device=accelerator.device, seed=experiment.seed, fold=fold, workers=job.settings.machine.workers,
                      transforms=None if job.is_cached else job.transforms)
    forward = model.logits if job.is_cached else model.forward
    labels = job.table[list(job.competition.targets)].agg(" ".join, axis=1)
    sampled = job.table.assign(label=labels).iloc[training].reset_index(drop=True)

    def in_order(epoch: int) -> np.ndarray:
        return training[SAMPLERS[experiment.sampler](sampled, epoch, np.random.default_rng(draw(experiment.seed, fold, epoch, "order")))]

    num_batches = len(in_parts(in_order(0), batch_size, alone=False))
    steps = train_steps(
        forward, lambda epoch: batches(in_order(epoch), batch_size, epoch), optimizer, LOSSES[loss_name(job)], config=experiment, fold=fold,
        accelerator=accelerator, begin_epoch=model.train, num_batches=num_batches, average=average,
        accumulate=experiment.accumulate * experiment.batch_size // batch_size,
        smooth=experiment.label_smoothing if TASKS[job.competition.task].loss == "cross_entropy" else 0.0,
    )
    metric, best, per_epoch, losses = job.competition.metric_name, Best(experiment.patience, job.competition.lower_is_better), [], []
    with Tracker(paths.log, **tracking(job, f"fold{fold}", "fold")) as tracker, progress(experiment.epochs * num_batches, fold) as bar:
        for step in steps:
            losses.append(step.loss)
            bar.update()
            if not step.ends_epoch:
                continue
            frame = predict_epoch(job, model, forward, batches, held_out, average)
            score = job.competition.score(job.table.iloc[held_out], frame)
            per_epoch.append(frame)
            tracker.log({"epoch": step.epoch + 1, "loss": float(np.mean(losses)), metric: score, "lr": optimizer.param_groups[-1]["lr"]})
            say_epoch(bar, f"fold {fold}  epoch {step.epoch + 1}/{experiment.epochs}  loss {np.mean(losses):.4f}  {metric} {score:.4f}")
            losses.clear()
            if best.should_stop(score, model):
                break
        if experiment.patience:
            frame = per_epoch[best.restore(model)]
        elif average:
            average.swap()
        score = job.competition.score(job.table.iloc[held_out], frame)
        tracker.finish({metric: score})
    write_fold(paths, model, frame, pd.concat(one.assign(epoch=number) for number, one in enumerate(per_epoch)))
    return {"score": score, "epochs": len(per_epoch), "batch_size": batch_size}, watch


class Best:
    """Early stopping, its state inside the fold (FIELD B7): the best epoch's weights, and how long ago it was. patience 0 never stops."""

    def __init__(self, patience: int, lower_is_better: bool) -> None:
        self.patience, self.sign = patience, -1 if lower_is_better else 1
        self.score, self.epoch, self.now, self.weights = -np.inf, -1, -1, {}

    def should_stop(self, score: float, model: Classifier) -> bool:
        self.now += 1
        if self.patience and self.sign * score > self.score:
            self.score, self.epoch = self.sign * score, self.now
            self.weights = {name: value.clone() for name, value in model.learned().items()}
        return self.patience > 0 and self.now - self.epoch >= self.patience

    def restore(self, model: Classifier) -> int:
        """Put the best epoch's weights back; returns that epoch."""
        for name, value in model.learned().items():
            value.copy_(self.weights[name])
        return self.epoch


def predict_epoch(job: Job, model: Classifier, forward, batches: Batches, held_out: np.ndarray, average: Average | None) -> pd.DataFrame:
    """Predictions of the held-out part, each id once, with the averaged weights where there are some."""
    model.eval()
    if average:
        average.swap()
    positions, logits = predict(forward, batches(held_out, 2 * job.settings.config.batch_size, plain=True), accelerator=job.accelerator)
    if average:
        average.swap()
    task = TASKS[job.competition.task]
    frame = predictions.make(job.table["id"].iloc[positions], task.activation(logits), job.competition.outputs)
    predictions.check(frame, "valid", kind=task.kind, single_label=task.loss == "cross_entropy")
    return predictions.check_ids(frame, job.table["id"].iloc[held_out], "valid")


def write_fold(paths: FoldPaths, model: Classifier, frame: pd.DataFrame, per_epoch: pd.DataFrame) -> None:
    with runs.atomic(paths.model) as part:
        model.save(part)
    with runs.atomic(paths.valid) as part:
        predictions.write(frame, part)
    with runs.atomic(paths.valid_epochs) as part:
        per_epoch.to_parquet(part, compression="zstd")


def warm_start(model: Classifier, path) -> None:
    """Begin with another run's fold, where names and shapes agree (a head for other classes stays new)."""
    left = model.load(path, strict=False)
    if left:
        print(f"init_from: {len(left)} tensors not taken over: {', '.join(left[:4])}")


def tracking(job: Job, name: str, job_type: str) -> dict:
    """How Weights & Biases shall show it: one group per run, one of its runs per fold and one for the summary."""
    return {"mode": job.settings.machine.wandb, "project": f"podium-{job.settings.comp}", "group": job.paths.name, "name": f"{job.paths.name}-{name}",
            "job_type": job_type, "config": config.as_dict(job.settings.config), "tags": [job.settings.exp], "dir": job.paths.root}


def progress(total: int, fold: int) -> tqdm:
    return tqdm(total=total, desc=f"fold {fold}", unit="step", disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True)


def say_epoch(bar: tqdm, text: str) -> None:
    """In the bar on a terminal, else a plain line."""
    if bar.disable:
        print(text, flush=True)
    else:
        bar.set_postfix_str(text.partition("  ")[2])
