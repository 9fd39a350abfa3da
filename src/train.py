"""Train every unfinished fold, one after another, memory given back between them; then collect.  folds.csv -> fold<k>/, oof.parquet, score.json

Run: python -m src.train runs/<name> [--fold 0]
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import find_executable_batch_size

from src import collect, competitions, config, prepare, runs
from src.competitions import Competition
from src.config import Settings
from src.data import folds, tables
from src.data.batches import SAMPLERS, ExtraColumns
from src.fit import memory
from src.fit.loop import NotFinite
from src.fit.losses import LOSSES
from src.fit.track import Tracker
from src.fold import Job, loss_name, tracking, train_fold
from src.model import weights
from src.model.classifier import Classifier, build, pick
from src.runs import RunPaths
from src.tasks import TASKS


def recipe_hash(settings: Settings, competition: Competition, fold_hash: str, weights_hash: str, init_recipe: str) -> str:
    """Of all that can change a prediction: settings, the competition's facts, folds, pretrained weights; no path, no test set, no Machine."""
    chooses = competition.metric_name if settings.config.patience else ""       # early stopping: the metric decides which weights are kept
    return runs.sha256([config.stage(settings.config, "train"), competition.facts(), chooses, fold_hash, weights_hash, init_recipe])


def make_job(settings: Settings, paths: RunPaths) -> Job:
    """Read and check everything that a fold needs; unknown names are refused here, before anything is written."""
    experiment = settings.config
    competition = competitions.load(settings.comp, settings.inputs)
    table = tables.read_folds(paths.folds)
    folds.check(table, experiment, competition.targets, task=competition.task)
    fold_hash = folds.fold_hash(table, competition.targets)
    weights_hash = weights.weights_hash(weights.resolve_weights(experiment.backbone, experiment.weights)) if experiment.pretrained else ""
    init_recipe = init_folds(settings, paths, fold_hash)
    recipe = recipe_hash(settings, competition, fold_hash, weights_hash, init_recipe)
    job = Job(settings, competition, paths, table, TASKS[competition.task].encode(table, competition), [], False, {}, recipe, fold_hash, weights_hash,
              prepare.make_accelerator(settings))
    pick(LOSSES, loss_name(job), "loss"), pick(SAMPLERS, experiment.sampler, "sampler")
    prepare.training_views(competition, settings, has_trunk=False), prepare.test_views(settings)      # unknown names end here
    return job


def init_folds(settings: Settings, paths: RunPaths, fold_hash: str) -> str:
    """The recipe of the run that `init_from` names, "" for none. Its folds must be these, or weights would have seen what is held out."""
    if not settings.config.init_from:
        return ""
    done = sorted((paths.root.parent / settings.config.init_from).glob("fold*/done.json"))
    if not done:
        raise ValueError(f"init_from={settings.config.init_from}: there is no finished fold in {paths.root.parent / settings.config.init_from}")
    first = runs.read_json(done[0])
    if first["fold_hash"] != fold_hash:
        raise ValueError(f"init_from={settings.config.init_from} was trained on other folds: its weights have seen what is held out here")
    return first["recipe"]


def with_views(job: Job) -> Job:
    """Decode the images and run the trunk over them, where they are not in the cache yet."""
    experiment = job.settings.config
    extra = ExtraColumns.fit(job.table, job.competition.features, np.ones(len(job.table), bool))
    model = build(experiment, len(job.competition.outputs), extra.size)
    say_what_learns(model)
    pictures = prepare.decode(job.competition, job.settings, job.table)
    transforms = prepare.training_views(job.competition, job.settings, has_trunk=bool(model.cut_at))
    if experiment.augment != "none" and transforms == {"plain": None}:
        print(f"warning: augment={experiment.augment} has no effect with views=1: set views=4, or views=0 for fresh draws", file=sys.stderr)
    if "" in transforms or not prepare.can_cache(model, job.settings, len(job.table), len(transforms)):
        return job._replace(arrays=[pictures.decoded], transforms=transforms)
    model.to(job.accelerator.device)
    arrays = prepare.trunk_outputs(model, pictures, transforms, job.settings, job.accelerator)
    return job._replace(arrays=arrays, is_cached=True, transforms=transforms)


def say_what_learns(model: Classifier) -> None:
    learning = sum(p.numel() for _, p, _ in model.learning())
    total = sum(p.numel() for p in model.parameters())
    print(f"learning: {learning:,} of {total:,} parameters; the trunk ends at {model.cut_at or '(no trunk)'}", flush=True)


def finish_fold(job: Job, fold: int, baseline: int) -> None:
    """Train one fold with the largest batch that fits, give its memory back, and close it with done.json."""
    began, size = time.perf_counter(), 2 * job.settings.config.batch_size

    def halve() -> int:
        nonlocal size
        size //= 2
        return size

    @find_executable_batch_size(starting_batch_size=halve(), reduce_batch_size_fn=halve)
    def attempt(batch_size: int) -> tuple[dict, memory.Watch]:
        if batch_size < job.settings.config.batch_size:
            print(f"out of memory: batch of {batch_size}, accumulated to {job.settings.config.batch_size}", file=sys.stderr)
        return train_fold(job, fold, batch_size)

    try:
        result, watch = attempt()
    except NotFinite as error:
        ids = job.table["id"].iloc[error.rows].tolist()
        raise ValueError(f"fold {fold}: {error}; images {ids}. Lower lr (now {job.settings.config.lr:g}) or set clip_grad") from error
    held = memory.give_back(watch, job.accelerator, device=job.accelerator.device, baseline=baseline)
    hashes = {"recipe": job.recipe_hash, "fold_hash": job.fold_hash, "weights_hash": job.weights_hash, "code": runs.code_hashes()}
    spent = {"seconds": round(time.perf_counter() - began, 2), "memory": held, "machine": config.as_dict(job.settings.machine)}
    runs.write_json(hashes | result | spent, job.paths.fold(fold).done)


def is_finished(job: Job, fold: int) -> bool:
    """Is the fold trained by this very recipe? A fold of another one is moved to old/, and another run's of the same recipe is taken over."""
    paths = job.paths.fold(fold)
    if paths.done.exists():
        found = runs.read_json(paths.done)["recipe"]
        if found == job.recipe_hash:
            return True
        print(f"fold {fold} was trained by another recipe; kept in {runs.retire(paths, found)}")
    other = runs.adopt_fold(job.paths, fold, job.recipe_hash, job.settings.comp)
    if other:
        print(f"fold {fold}: the same recipe as in run {other}, taken over")
    return bool(other)


def train(settings: Settings, paths: RunPaths, only: int | None = None) -> None:
    """Finish the folds (or only one), then collect. Raises ValueError for settings or data that don't work."""
    job = make_job(settings, paths)
    numbers = sorted(k for k in job.table["fold"].unique() if k >= 0)
    if only is not None and only not in numbers:
        raise ValueError(f"FOLD={only} does not exist; the folds are {numbers[0]} to {numbers[-1]}")
    todo = [k for k in (numbers if only is None else [only]) if not is_finished(job, k)]
    if todo:
        print(f"device: {job.accelerator.device}, precision {job.accelerator.mixed_precision}, {torch.get_num_threads()} threads", flush=True)
        job = with_views(job)
        baseline = memory.baseline(job.accelerator.device)
        for fold in todo:
            finish_fold(job, fold, baseline)
    if only is not None:
        score = runs.read_json(paths.fold(only).done)["score"]
        print(f"fold {only}, 1 of {len(numbers)}: {job.competition.metric_name} {score:.4f} (one fold only, so no OOF score)")
        return
    score = collect.collect(job.competition, settings, paths, job.table)
    if todo:
        with Tracker(paths.root / "log.jsonl", **tracking(job, "summary", "summary")) as tracker:
            tracker.finish({"oof": float(score["oof"]), "mean": float(score["mean"]), "spread": float(score["spread"]), **score["also"]})
    print(collect.say(score))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.train", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--fold", type=int)
    given = parser.parse_args()
    paths = RunPaths(given.run)
    train(config.load(paths.config), paths, given.fold)


if __name__ == "__main__":
    runs.main(main)
