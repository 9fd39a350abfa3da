"""Train every unfinished fold, one after another, memory given back between them; then collect.  folds.csv ->
fold<k>/, oof.parquet, score.json
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import find_executable_batch_size

from src import config, evaluate
from src.competition.tasks import TASKS
from src.data import features
from src.data.batches import ExtraColumns
from src.data.recipe import differences
from src.data.run import Run
from src.data.training_table import Job, make_job, tracking, with_pseudo
from src.model.classifier import Classifier, build
from src.run import locks, memory, reuse
from src.run.errors import Stopped
from src.run.files import file_sha, read_json, write_json
from src.run.paths import REFIT, RunPaths, fold_name
from src.run.tracking import Tracker
from src.train_fold import train_fold
from src.training import checkpoint
from src.training.loop import NotFinite


def with_views(job: Job) -> Job:
    """Decode the images and run the trunk over them, where they are not in the cache yet; one process at a
    time.
    """
    print(
        f"device: {job.accelerator.device}, precision {job.accelerator.mixed_precision},"
        f" {torch.get_num_threads()} threads",
        flush=True,
    )
    with locks.lock(job.settings.cache / job.settings.comp / "lock", wait=True):
        return make_views(job)


def make_views(job: Job) -> Job:
    experiment = job.settings.config
    extra = ExtraColumns.fit(job.table, job.competition.features, np.ones(len(job.table), bool))
    model = build(experiment, len(job.competition.outputs), extra.size)
    say_what_learns(model)
    for line in without_effect(job):
        print(f"warning: {line}", file=sys.stderr)
    job = with_pseudo(job)
    pictures = features.decode(job.competition, job.settings, job.table, job.clock)
    transforms = features.training_views(job.competition, job.settings, has_trunk=bool(model.cut_at))
    if experiment.augment != "none" and transforms == {"plain": None}:
        print(
            f"warning: augment={experiment.augment} has no effect with views=1: set views=4, or views=0 for"
            " fresh draws",
            file=sys.stderr,
        )
    model.to(job.accelerator.device)
    if model.cut_at == "all":
        job = job._replace(template=model)
    passes = experiment.epochs * experiment.folds
    if "" in transforms or not features.pays_to_cache(
        model, job.settings, len(job.table), len(transforms), passes
    ):
        return job._replace(arrays=[pictures.decoded], transforms=transforms)
    arrays = features.trunk_outputs(model, pictures, transforms, job.settings, job.accelerator, job.clock)
    if experiment.cutmix and arrays[0].values.ndim != 4:
        instead = "mixup mixes all batches" if experiment.mixup else f"set mixup={experiment.cutmix:g}"
        print(
            f"warning: cutmix={experiment.cutmix:g} has no effect: what the trunk hands over has no height"
            f" and width to cut a box from; {instead}, or let earlier layers learn",
            file=sys.stderr,
        )
    return job._replace(arrays=arrays, is_cached=True, transforms=transforms)


def without_effect(job: Job) -> list[str]:
    """A line per setting that changes nothing beside the others."""
    experiment, task, lines = job.settings.config, job.competition.task, []
    if experiment.label_smoothing and TASKS[task].loss != "cross_entropy":
        lines.append(
            f"label_smoothing={experiment.label_smoothing:g} has no effect with task={task!r}, which has no"
            " single class to smooth"
        )
    if experiment.head_epochs and experiment.trainable in ("head", 0):
        lines.append(
            f"head_epochs={experiment.head_epochs} has no effect with trainable=head: nothing else learns"
        )
    elif experiment.head_epochs >= experiment.epochs:
        lines.append(
            f"head_epochs={experiment.head_epochs} with epochs={experiment.epochs}: the backbone never"
            " learns: fewer head_epochs, or trainable=head, which is faster"
        )
    return lines


def say_what_learns(model: Classifier) -> None:
    learning = sum(p.numel() for _, p, _ in model.learning())
    total = sum(p.numel() for p in model.parameters())
    print(
        f"learning: {learning:,} of {total:,} parameters; the trunk ends at {model.cut_at or '(no trunk)'}",
        flush=True,
    )


def finish_fold(job: Job, fold: int, baseline: int) -> None:
    """Train one fold with the largest batch that fits, give its memory back, and close it with done.json."""
    size, paths = 2 * job.settings.config.batch_size, job.paths.fold(fold)
    job.clock.begin()

    def halve() -> int:
        nonlocal size
        size //= 2
        return size

    @find_executable_batch_size(starting_batch_size=halve(), reduce_batch_size_fn=halve)
    def attempt(batch_size: int) -> tuple[dict, memory.Watch]:
        if batch_size < job.settings.config.batch_size:
            print(
                f"out of memory: batch of {batch_size}, accumulated to {job.settings.config.batch_size}",
                file=sys.stderr,
            )
        return train_fold(job, fold, batch_size)

    try:
        result, watch = attempt()
    except NotFinite as error:
        ids = job.table["id"].iloc[error.rows].tolist()
        raise ValueError(
            f"{fold_name(fold)}: {error}; images {ids}. Lower lr (now {job.settings.config.lr:g}) or set"
            " clip_grad"
        ) from error
    if job.settings.machine.compile:
        torch.compiler.reset()
    held = memory.free(watch, job.accelerator, device=job.accelerator.device)
    files = {
        file.name: file_sha(file)
        for file in (paths.model, paths.valid, paths.valid_epochs, paths.log)
        if file.exists()
    }
    machine = config.as_dict(job.settings.machine) | {"engine": features.engine_of(job.arrays)}
    write_json(result | {"files": files, "memory": held, "machine": machine}, paths.done)
    checkpoint.clear(paths.state)
    try:  # now that nothing can be lost by it
        memory.judge(watch, device=job.accelerator.device, baseline=baseline)
    except memory.MemoryHeld as complaint:
        if job.settings.machine.memory == "strict":
            raise
        print(f"warning: {fold_name(fold)} is finished, but {complaint}", file=sys.stderr)


def is_finished(job: Job, fold: int) -> bool:
    """Is the fold trained by this very recipe? A fold of another one is moved to old/, and another run's of
    the same recipe is taken over.
    """
    paths = job.paths.fold(fold)
    made = reuse.origin(paths)
    if made and (found := differences(made, job.recipe)):
        state_of_it = "was trained" if paths.done.exists() else "was in training"
        print(
            f"{fold_name(fold)} {state_of_it} with {'; '.join(found)}; kept in"
            f" {reuse.retire(paths, made['recipe'])}"
        )
    other = (
        "" if paths.done.exists() else reuse.adopt_fold(job.paths, fold, job.recipe_hash, job.settings.comp)
    )
    if other:
        print(f"{fold_name(fold)}: the same recipe as in run {other}, taken over")
    if paths.done.exists():
        # it may have been killed before it came to that
        checkpoint.clear(paths.state)
    return paths.done.exists()


def check_code(job: Job, numbers: list[int]) -> None:
    """Raises ValueError where folds that are to be scored together would be trained by differing code."""
    made = {k: reuse.origin(job.paths.fold(k)) for k in numbers}
    changed = {
        k: reuse.changed_code(made[k]) for k in numbers if made[k] and not differences(made[k], job.recipe)
    }
    edited = sorted({name for names in changed.values() for name in names})
    if not edited:
        return
    if all(job.paths.fold(k).done.exists() for k in numbers):
        print(
            f"code changed since this run was trained: {', '.join(edited)}; nothing is re-run: make retrain"
            " acts on it"
        )
        return
    begun = ", ".join(fold_name(k) for k in changed if changed[k])
    raise ValueError(
        f"{begun} of {job.paths.root} began before {', '.join(edited)} changed, and other folds are still to"
        f" be trained: folds of differing code can't be scored together. make retrain RUN={job.paths.name}"
        " trains them anew (the old ones are kept), or undo the edit"
    )


def finish_folds(job: Job, numbers: list[int]) -> dict[int, str]:
    """Finish all that no other process is at; returns who is at the rest. It goes round until that brings
    nothing more: another one may have died.
    """
    left, baseline = dict.fromkeys(numbers, ""), 0
    while True:
        before = len(left)
        for fold in list(left):
            with locks.lock(job.paths.lock(fold)) as holder:
                if holder:
                    left[fold] = holder
                    continue
                if not is_finished(job, fold):
                    if job.clock.asked:
                        raise Stopped(
                            f"{job.clock.asked}: {fold_name(fold)} is next; the same command goes on with it"
                        )
                    if not job.arrays:
                        job = with_views(job)
                        baseline = memory.baseline(job.accelerator.device)
                    finish_fold(job, fold, baseline)
            del left[fold]
        if len(left) in (0, before):
            return left


def share_out(run: Path, gpus: int, *, device: str) -> None:
    """A process per GPU, each taking unfinished folds until none is left. They need not talk: a fold's lock
    says that it is taken.
    """
    if device != "cpu" and torch.cuda.device_count() < gpus:
        raise ValueError(
            f"GPUS={gpus}: torch finds {torch.cuda.device_count()} CUDA devices here: leave GPUS out, and one"
            " process trains the folds "
            f'one after another; MACHINE="device=cpu" lets {gpus} processes share the processor'
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = visible if len(visible) >= gpus else [str(number) for number in range(gpus)]
    children, asked = [], []
    # by the quick checks before, in this process
    if torch.cuda.is_initialized():
        memory.baseline("cuda")

    def pass_on(number: int, frame: object) -> None:
        asked.append(number)
        for child in children:
            child.send_signal(signal.SIGTERM)

    before = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
    for device in devices[:gpus]:
        changes = {"CUDA_VISIBLE_DEVICES": device, "TQDM_DISABLE": "1"}
        command = [sys.executable, "-m", "src", "train", str(run), "--share"]
        # or Ctrl-C would reach each twice
        children.append(subprocess.Popen(command, env=os.environ | changes, start_new_session=True))
    codes = [child.wait() for child in children]
    for each, handler in before.items():
        signal.signal(each, handler)
    if asked or 75 in codes:
        raise Stopped("all processes have stopped; the same command goes on")
    if max(codes) > 0:
        # it has said why; what a killed one left is finished by this process
        sys.exit(max(codes))


def train(run: Run, only: int | None = None, *, is_shared: bool = False) -> None:
    """Finish the folds (or only one), then collect, unless other processes share them. Raises ValueError for
    settings or data that don't work.
    """
    paths, settings = run.paths, run.settings
    job = make_job(run)
    numbers = sorted(k for k in job.table["fold"].unique() if k >= 0)
    if only is not None and only not in numbers:
        raise ValueError(f"FOLD={only} does not exist; the folds are {numbers[0]} to {numbers[-1]}")
    check_code(job, numbers if only is None else [only])
    with job.clock.listening():
        left = finish_folds(job, numbers if only is None else [only])
    if is_shared:
        return
    refuse(left, paths)
    if only is not None:
        score = read_json(paths.fold(only).done)["score"]
        print(
            f"fold {only}, 1 of {len(numbers)}: {job.competition.metric_name} {score:.4f} (one fold only, so"
            " no OOF score)"
        )
        return
    made = max(paths.fold(k).done.stat().st_mtime_ns for k in numbers)
    is_news = not paths.score.exists() or paths.score.stat().st_mtime_ns < made
    score = evaluate.collect(job.competition, settings, paths, job.table)
    if is_news:
        with Tracker(paths.root / "log.jsonl", **tracking(job, "summary", "summary")) as tracker:
            tracker.finish(
                {
                    "oof": float(score["oof"]),
                    "mean": float(score["mean"]),
                    "spread": float(score["spread"]),
                    **score["also"],
                }
            )
    print(evaluate.say(score))


def refuse(left: dict[int, str], paths: RunPaths) -> None:
    for fold, holder in left.items():
        raise ValueError(
            f"{fold_name(fold)} of {paths.root} is being trained by {holder}: wait for it or end it; nothing"
            " else is left to do"
        )


def refit(run: Run) -> None:
    """Train the models that learn from all images, each with the next seed: by the folds' recipe and files,
    but nothing is held out to score them.
    """
    for number in range(run.config.refit):
        config = replace(run.config, seed=run.config.seed + number)
        job = make_job(replace(run, settings=replace(run.settings, config=config)))
        with job.clock.listening():
            refuse(finish_folds(job, [REFIT - number]), run.paths)
