"""Train one fold: model, optimizer, loop, validation after each epoch, files.  Job, fold ->
fold<k>/{model.safetensors, valid*, log.jsonl}
"""

import copy
import os
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from src.competition import scoring
from src.competition.groups import join_groups
from src.competition.tables import joined
from src.competition.tasks import TASKS, logits_of
from src.data.batches import SAMPLERS, Batch, Batches, Rows, flat, in_steps
from src.data.training_table import Job, loss_name, make_rows, make_unit, of_fold, tracking
from src.model.classifier import Classifier, build
from src.run import memory, predictions, provenance, reuse
from src.run.errors import CheckFailed, Stopped
from src.run.files import atomic, naming, write_text
from src.run.paths import FoldPaths, fold_name
from src.run.seeds import seed_of
from src.run.tracking import Tracker
from src.training import checkpoint
from src.training.loop import Average, predict, train_steps, unused
from src.training.losses import LOSSES
from src.training.optim import make_optimizer
from src.training.sanity import STOP_AFTER, below_constant, constant_answer, dead


def train_fold(job: Job, fold: int, batch_size: int) -> tuple[dict, memory.Watch]:
    """Train a fold, from its state if there is one, and write its files, all but done.json; returns what
    done.json will say, and a watch on what must be gone afterwards. A refit holds nothing out: it has no
    predictions and no score.

    batch_size is what fits in memory; gradients are accumulated to the size that was asked for. Raises
    NotFinite, or Stopped with the state saved.
    """
    experiment, accelerator, paths = job.settings.config, job.accelerator, job.paths.fold(fold)
    saved = checkpoint.load(paths.state)
    # such batches did not fit in memory in the end
    if saved and saved["batch_size"] > batch_size:
        saved = None
    batch_size = saved["batch_size"] if saved else batch_size
    job, is_learned = of_fold(job, fold)
    training, held_out = np.flatnonzero(is_learned), np.flatnonzero(job.table["fold"] == fold)
    rows = make_rows(job, is_learned)
    model = fresh_model(job, rows.extra.shape[1]).to(accelerator.device, memory_format=torch.channels_last)
    if experiment.init_from:
        start = fold % experiment.folds  # a fold's is its own, a refit's any one
        warm_start(model, job.paths.root.parent / experiment.init_from / f"fold{start}" / "model.safetensors")
    model.unit = make_unit(job, is_learned)
    watch = memory.watch(model, job.template and job.template.trunk)
    optimizer = make_optimizer(model.learning(), experiment)
    missing, strangers = unused(model, optimizer)
    assert not missing and not strangers, (
        f"{len(missing)} learning parameters are not in the optimizer, {len(strangers)} in it do not learn"
    )
    # refuses one that could not go on, before hours are spent on it
    checkpoint.of_optimizer(optimizer)
    ids = job.table["id"].iloc[held_out]
    # for that alone: accelerate's wrapper costs a sixth of a head's step
    if accelerator.scaler:
        optimizer = accelerator.prepare(optimizer)
    now = Progress(job, model, optimizer, ids, batch_size)
    first = now.begin(saved, paths)
    del saved  # it holds all of that once more
    batches = Batches(
        job.arrays,
        rows,
        device=accelerator.device,
        seed=experiment.seed,
        fold=fold,
        workers=job.settings.machine.workers,
        transforms=None if job.is_cached else job.transforms,
    )
    if batches.loader:
        batches.loader.worker_init_fn = leave_group
    forward = model.logits if job.is_cached else model.forward
    if job.settings.machine.compile:
        # finish_fold forgets it again: it holds the model
        forward = torch.compile(forward)
    sampled = (
        job.table.assign(label=joined(job.table, job.competition.targets))
        .iloc[training]
        .reset_index(drop=True)
    )

    @lru_cache(maxsize=1)
    def plan(epoch: int) -> list[list[np.ndarray]]:
        order = SAMPLERS[experiment.sampler](
            sampled, epoch, np.random.default_rng(seed_of(experiment.seed, fold, epoch, "order"))
        )
        if not len(order):
            raise ValueError(
                f"sampler={experiment.sampler} gives no image in epoch {epoch + 1} of {fold_name(fold)}: it"
                " must give at least one"
            )
        return in_steps(training[order], experiment.batch_size * experiment.accumulate, batch_size)

    def sizes(epoch: int) -> list[list[int]]:
        return [[len(part) for part in parts] for parts in plan(epoch)]

    def coming(epoch: int) -> Iterator[Batch]:
        done = first.step if epoch == first.epoch else 0  # what was done before is not decoded again
        return batches.of_parts(flat(plan(epoch))[done:], epoch)

    num_batches, loss_fn = len(flat(plan(first.epoch))), LOSSES[loss_name(job)]
    steps = train_steps(
        forward,
        coming,
        now.optimizer,
        loss_fn,
        config=experiment,
        fold=fold,
        accelerator=accelerator,
        begin_epoch=model.train,
        sizes=sizes,
        average=now.average,
        smooth=experiment.label_smoothing if TASKS[job.competition.task].loss == "cross_entropy" else 0.0,
        first_epoch=experiment.epochs if now.best.is_over() else first.epoch,
        first_step=first.step,
    )

    score_of = scoring.score_of(job.competition, job.table.iloc[held_out])
    prior_loss = constant_loss(job, loss_fn, rows, training, model.unit)

    def scored(frame: pd.DataFrame) -> dict[str, float]:
        return {job.competition.metric_name: score_of(frame)} if len(frame) else {}

    with (
        Tracker(paths.log, **tracking(job, paths.root.name, "fold")) as tracker,
        progress(experiment.epochs * num_batches, fold) as bar,
    ):
        bar.update(first.epoch * num_batches + first.step)
        for step in steps:
            now.losses.append(step.loss)
            if step.epoch == step.step == 0:
                now.start = step.loss
            bar.update()
            if step.ends_epoch:
                valid = predict_epoch(job, model, forward, batches, held_out, now.average)
                frame, scores = valid.frame, scored(valid.frame)
                losses = {"loss": float(np.average(now.losses, weights=flat(sizes(step.epoch))))}
                if len(frame):
                    losses["valid_loss"] = mean_loss(loss_fn, valid.logits, rows, valid.positions)
                with naming(paths.log):
                    tracker.log(
                        {
                            "epoch": step.epoch + 1,
                            **losses,
                            **scores,
                            "lr": now.optimizer.param_groups[-1]["lr"],
                        }
                    )
                say_epoch(
                    bar,
                    f"{fold_name(fold)}  epoch {step.epoch + 1}/{experiment.epochs}"
                    + "".join(f"  {name} {value:.4f}" for name, value in (losses | scores).items()),
                )
                judge_losses(job, fold, step.epoch + 1, losses, max(prior_loss, now.start), valid.logits)
                for value in scores.values():
                    judge(job, fold, step.epoch + 1, frame, value, training)
                now.end_epoch(frame, *scores.values())
            if step.has_updated:
                now.place = Place(step.epoch + 1, 0) if step.ends_epoch else Place(step.epoch, step.step + 1)
                save_or_stop(job, fold, now, ends_epoch=step.ends_epoch)
            if now.best.is_over():
                break
        frame = now.per_epoch[now.best.restore(model) if experiment.patience else -1]
        if now.average and not now.best.weights:  # what is kept as best are averages already
            now.average.swap()
        scores = scored(frame)
        tracker.finish(scores)
    write_fold(
        paths, model, frame, pd.concat(one.assign(epoch=number) for number, one in enumerate(now.per_epoch))
    )
    score = scores.get(job.competition.metric_name)  # null of a refit
    return now.made | {"score": score, "epochs": len(now.per_epoch), "seconds": now.seconds()}, watch


def fresh_model(job: Job, num_extra: int) -> Classifier:
    """The model as it begins. A backbone of which nothing learns is made once and stays alive on purpose:
    only the head is the fold's own.
    """
    if job.template:
        return copy.deepcopy(job.template, {id(job.template.trunk): job.template.trunk})
    return build(job.settings.config, job.target.shape[1], num_extra, is_proven=True)


class Place(NamedTuple):
    """Where a training goes on."""

    epoch: int
    step: int  # within the epoch


class Progress:
    """All that the steps of a fold change: with the recipe, what a continued training needs to end like one
    that was never stopped.
    """

    def __init__(
        self, job: Job, model: Classifier, optimizer: torch.optim.Optimizer, ids: pd.Series, batch_size: int
    ) -> None:
        self.model, self.optimizer, self.scaler, self.ids, self.outputs = (
            model,
            optimizer,
            job.accelerator.scaler,
            ids,
            job.competition.outputs,
        )
        # all folds share it, and none may begin with the scale of the one before
        if self.scaler:
            self.scaler.load_state_dict(self.scaler.state_dict() | {"scale": 2.0**16, "_growth_tracker": 0})
        experiment = job.settings.config
        self.average = Average(model.learned(), experiment.ema) if experiment.ema else None
        self.best = Best(experiment.patience, job.competition.lower_is_better)
        self.place = Place(0, 0)
        self.losses: list[float] = []  # of this epoch
        self.start = 0.0  # the first step's loss
        self.per_epoch: list[pd.DataFrame] = []  # predictions of the held-out part
        self.earlier, self.began = 0.0, time.perf_counter()
        self.made = job.recipe | {
            "recipe": job.recipe_hash,
            "batch_size": batch_size,
            "code": job.code,
            "versions": provenance.versions(),
        }

    def begin(self, saved: dict | None, paths: FoldPaths) -> Place:
        """Take up what was saved, if anything was, and the log as it was then."""
        if saved:
            self.restore(saved)
            print(
                f"{paths.root.name} goes on after {self.place.epoch} epochs and {self.place.step} steps",
                flush=True,
            )
        else:
            checkpoint.clear(paths.state)
        write_text(saved["log"] if saved else "", paths.log)
        return self.place

    def end_epoch(self, frame: pd.DataFrame, score: float = np.nan) -> None:
        self.per_epoch.append(frame)
        self.losses.clear()
        if self.average:
            # what is kept as best is what predicted `frame`
            self.average.swap()
        self.best.should_stop(score, self.model)
        if self.average:
            self.average.swap()

    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.began

    def content(self) -> dict:
        average = {"shadow": self.average.shadow, "updates": self.average.updates} if self.average else {}
        return (
            self.made
            | self.place._asdict()
            | {
                "weights": self.model.learned(),
                "optimizer": checkpoint.of_optimizer(self.optimizer),
                "average": average,
                "best": vars(self.best),
                "scaler": self.scaler.state_dict() if self.scaler else {},
                "losses": self.losses,
                "start": self.start,
                "seconds": self.seconds(),
                "per_epoch": [torch.from_numpy(frame.to_numpy(copy=True)) for frame in self.per_epoch],
            }
        )

    def restore(self, saved: dict) -> None:
        copy_all(saved["weights"], self.model.learned())
        checkpoint.restore_optimizer(self.optimizer, saved["optimizer"])
        if self.average:
            copy_all(saved["average"]["shadow"], self.average.shadow)
            self.average.updates = saved["average"]["updates"]
        if self.scaler and saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        vars(self.best).update(saved["best"])
        self.start = saved["start"]
        self.place, self.losses, self.earlier = (
            Place(saved["epoch"], saved["step"]),
            saved["losses"],
            saved["seconds"],
        )
        self.per_epoch = [
            predictions.make(self.ids, values.numpy(), self.outputs) for values in saved["per_epoch"]
        ]
        self.made = {key: saved[key] for key in self.made}  # as it began, batch size and code too


def copy_all(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])


def save_or_stop(job: Job, fold: int, now: Progress, *, ends_epoch: bool) -> None:
    """Save the state when it is time, and before a stop. Raises Stopped."""
    why, paths = job.clock.why_stop(), job.paths.fold(fold)
    if why or job.clock.is_due(ends_epoch=ends_epoch):
        with job.clock.saving():
            checkpoint.save(paths.state, now.content() | {"log": paths.log.read_text(encoding="utf-8")})
    if why:
        where = f"{now.place.epoch} epochs and {now.place.step} steps"
        raise Stopped(f"{why}: {fold_name(fold)} is saved after {where}; the same command goes on from there")


def leave_group(worker: int) -> None:
    """Ctrl-C reaches a whole group of processes; the workers must live on, or the last step before the stop
    would find none.
    """
    os.setsid()


class Best:
    """Early stopping, its state inside the fold (FIELD B7): the best epoch's weights, and how long ago it
    was. patience 0 never stops.
    """

    def __init__(self, patience: int, lower_is_better: bool) -> None:
        self.patience, self.sign = patience, -1 if lower_is_better else 1
        self.score, self.epoch, self.now, self.weights = -np.inf, -1, -1, {}

    def should_stop(self, score: float, model: Classifier) -> bool:
        self.now += 1
        if self.patience and self.sign * score > self.score:
            self.score, self.epoch = self.sign * score, self.now
            self.weights = {name: value.clone() for name, value in model.learned().items()}
        return self.is_over()

    def is_over(self) -> bool:
        return self.patience > 0 and self.now - self.epoch >= self.patience

    def restore(self, model: Classifier) -> int:
        """Put the best epoch's weights back; returns that epoch, or -1 for the last one where no epoch had a
        score.
        """
        if not self.weights:
            print(
                "no epoch had a score (NaN), so that none was better than another: the last one's weights are"
                " kept",
                flush=True,
            )
            return -1
        copy_all(self.weights, model.learned())
        return self.epoch


class Valid(NamedTuple):
    """What a model says of the held-out part; nothing of a refit's, which holds nothing out."""

    frame: pd.DataFrame
    positions: np.ndarray  # (n,) in the table
    logits: np.ndarray  # (n, T)


def predict_epoch(
    job: Job, model: Classifier, forward, batches: Batches, held_out: np.ndarray, average: Average | None
) -> Valid:
    """Predictions of the held-out part, each id once, with the averaged weights where there are some."""
    if not len(held_out):
        nothing = np.empty((0, job.target.shape[1]), np.float32)
        return Valid(predictions.make([], nothing, job.competition.outputs), held_out, nothing)
    model.eval()
    if average:
        average.swap()
    positions, logits = predict(
        forward, batches.predicting(held_out, 2 * job.settings.config.batch_size), accelerator=job.accelerator
    )
    if average:
        average.swap()
    task = TASKS[job.competition.task]
    frame = predictions.make(
        job.table["id"].iloc[positions], task.activation(logits, model.unit), job.competition.outputs
    )
    predictions.check(frame, "valid", kind=task.kind, single_label=task.loss == "cross_entropy")
    return Valid(predictions.check_ids(frame, job.table["id"].iloc[held_out], "valid"), positions, logits)


def mean_loss(loss_fn, logits: np.ndarray, rows: Rows, positions: np.ndarray) -> float:
    """The loss of these images as training has it, but without mixing and smoothing."""
    losses = loss_fn(torch.from_numpy(logits), torch.from_numpy(rows.target[positions]))
    return float((losses * torch.from_numpy(rows.weight[positions])).mean())


def constant_loss(job: Job, loss_fn, rows: Rows, training: np.ndarray, unit: np.ndarray) -> float:
    """The loss of the best answer that looks at no image; of some thousand training images, which is enough."""
    part = training[:: -(-len(training) // 5000)]
    logits = logits_of(TASKS[job.competition.task], constant_answer(job.target[training]), unit)
    return mean_loss(loss_fn, np.tile(logits.astype(np.float32), (len(part), 1)), rows, part)


def judge_losses(
    job: Job, fold: int, epoch: int, losses: dict[str, float], reference: float, logits: np.ndarray
) -> None:
    """Warn of a training that has diverged or died in its first epoch. Raises CheckFailed in a later one."""
    if not job.settings.machine.sanity:
        return
    experiment = job.settings.config
    verdict = dead(losses["loss"], losses.get("valid_loss", np.nan), reference, logits, epoch)
    advice = f"lower lr and body_lr by ten (now {experiment.lr:g} and {experiment.body_lr:g})"
    if not experiment.clip_grad:
        advice += ", or set clip_grad=1"
    if verdict and epoch >= STOP_AFTER:
        raise CheckFailed(
            f'{fold_name(fold)}: {verdict}: {advice}. MACHINE="sanity=false" trains on all the same'
        )
    if verdict:
        print(f"warning: {fold_name(fold)}: {verdict}: {advice}", file=sys.stderr)


def judge(job: Job, fold: int, epoch: int, frame: pd.DataFrame, score: float, training: np.ndarray) -> None:
    """Warn of a fold that is worse than an answer which looks at no image. Raises CheckFailed when it still
    is after STOP_AFTER epochs.
    """
    if epoch > STOP_AFTER or not job.settings.machine.sanity:
        return
    competition, held_out = (
        job.competition,
        job.table.set_index("id", drop=False).loc[frame.index].reset_index(drop=True),
    )
    score_of = scoring.score_of(competition, held_out)
    constant = np.tile(constant_answer(job.target[training]), (len(frame), 1))
    bar = score_of(predictions.make(frame.index, constant, competition.outputs))
    verdict = below_constant(
        score_of,
        frame,
        join_groups(held_out),
        score,
        bar,
        epoch,
        lower_is_better=competition.lower_is_better,
    )
    if not verdict:
        return
    if epoch == STOP_AFTER:
        raise CheckFailed(
            f'fold {fold}: {competition.metric_name} {verdict}. MACHINE="sanity=false" trains on all the same'
        )
    print(f"warning: fold {fold}: {competition.metric_name} {verdict}", file=sys.stderr)


def write_fold(paths: FoldPaths, model: Classifier, frame: pd.DataFrame, per_epoch: pd.DataFrame) -> None:
    with atomic(paths.model) as part:
        model.save(part)
    if not len(frame):
        return
    with atomic(paths.valid) as part:
        predictions.write(frame, part)
    with atomic(paths.valid_epochs) as part:
        per_epoch.to_parquet(part, compression="zstd")


def warm_start(model: Classifier, path: Path) -> None:
    """Begin with another run's fold, where names and shapes agree (a head for other classes stays new)."""
    reuse.check_fold(FoldPaths(path.parent), path.name)
    left = model.load(path, strict=False)
    if left:
        print(f"init_from: {len(left)} tensors not taken over: {', '.join(left[:4])}")


def progress(total: int, fold: int) -> tqdm:
    # train --gpus sets it: one bar per terminal
    is_plain = not sys.stderr.isatty() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(
        total=total, desc=fold_name(fold), unit="step", disable=is_plain, leave=False, dynamic_ncols=True
    )


def say_epoch(bar: tqdm, text: str) -> None:
    """In the bar on a terminal, else a plain line."""
    if bar.disable:
        print(text, flush=True)
    else:
        bar.set_postfix_str(text.partition("  ")[2])
