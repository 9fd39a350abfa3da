"""What should learn, and on which backbone? A linear probe per backbone, then head, tail and all on a small
budget, over the same folds. runs/<name>/ -> runs/<name>-advise-{head,tail,all}/, a table and a sentence

Run: make advise COMP=x BACKBONES="a b", or python -m src advise runs/<name> --backbones a b (quickest first)

What costs more is advised only where it beats what costs less by more than the noise of images, and in every
fold. The trials are runs like any other, so the same command continues where it was stopped.
"""

import contextlib
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from src import config, fetch, split, train
from src.competition import paired, scoring, tables
from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.config import Settings
from src.data.run import Run
from src.experiments import EXPERIMENTS
from src.extras import linear_probe
from src.load_run import load_run
from src.run import configure, overrides, predictions
from src.run.files import read_json, sha256, write_json
from src.run.paths import RunPaths

T = TypeVar("T")
# the small budget: at most so many images, of so many pixels; epochs where the body learns
IMAGES, PIXELS, EPOCHS = 4000, 128, 4
FEW = 30  # images of the rarest class: with fewer, a fold's score depends on a handful
# the quickest first. Add yours: a line
ANSWERS = {
    "head": "solver=steps trainable=head epochs=30 batch_size=128 head_epochs=0 augment=none views=1",
    "tail": "solver=steps trainable=2 epochs=8 batch_size=32 head_epochs=1",
    "all": "solver=steps trainable=all epochs=8 batch_size=32 head_epochs=1",
}
RATES = "lr=auto body_lr=auto layer_decay=auto"  # one rate can't suit them all


class Result(NamedTuple):
    name: str
    oof: pd.DataFrame
    score: float
    spread: float  # of the folds' scores
    seconds: float


class Duel(NamedTuple):
    """A result against the best of the cheaper ones. gain, margin (95 % over images): positive is better."""

    new: Result
    old: Result
    gain: float
    margin: float
    is_won: bool

    def __str__(self) -> str:
        return f"{self.gain:+.3f} +- {self.margin:.3f}"


def pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


def joined(changes: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in changes.items())


def timed(run: Run, name: str, key: object, make: Callable[[], T]) -> tuple[T, float]:
    """What `make` returns (printing to stderr) and its seconds, those of the first, uncached time."""
    path, entry = run.paths.root / "advise.json", f"{name} {sha256(key)}"
    began = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        value = make()
    seconds = round(time.perf_counter() - began, 1)
    known = read_json(path) if path.exists() else {}
    known[entry] = max(known.get(entry, 0.0), seconds)
    write_json(known, path)
    return value, known[entry]


def trial(run: Run, name: str, backbone: str, limit: int) -> Run:
    """The run of one answer, with its folds: this run's settings, those of the answer, the budget's."""
    settings, own = run.settings, run.config
    changes = pairs(f"{settings.set} {RATES} {ANSWERS[name]}")
    changes |= {"backbone": backbone, "image_size": str(min(PIXELS, own.image_size))}
    if name != "head":
        changes |= {"epochs": str(EPOCHS), "views": "1" if own.augment == "none" else "2"}
    if limit:
        changes["limit"] = str(limit)
    environment = {
        "COMP": settings.comp,
        "EXP": settings.exp,
        "SET": joined(changes),
        "INPUTS": str(settings.inputs),
        "CACHE": str(settings.cache),
    }
    paths = RunPaths(run.paths.root.with_name(f"{run.paths.name}-advise-{name}"))
    new = configure.settings_for(paths, environment, EXPERIMENTS)
    new = replace(new, machine=replace(run.machine, wandb="off", sanity=False))
    configure.write(new, paths)
    there = load_run(paths)
    split.split(there)
    return there


def trained(run: Run, name: str, backbone: str, limit: int, shared_seconds: float) -> Result:
    """The answer's out-of-fold predictions, by the kit's own stages. shared_seconds: of it, spent before."""
    there = trial(run, name, backbone, limit)
    _, seconds = timed(run, name, config.as_dict(there.config), lambda: train.train(there))
    score = read_json(there.paths.score)
    # of a trial that was continued, the folds know the seconds from before
    seconds = max(seconds, sum(score["seconds"].values())) + shared_seconds
    return Result(name, predictions.read(there.paths.oof), score["oof"], score["spread"], seconds)


def probed(run: Run, table: pd.DataFrame, backbone: str) -> Result:
    """The out-of-fold predictions of a linear model of the backbone's frozen features."""
    own, c = run.config, run.competition
    weights = own.weights if backbone == own.backbone else ""
    settings = replace(run.settings, config=replace(own, backbone=backbone, weights=weights))

    def features() -> np.ndarray:
        whole = linear_probe.backbone_features(replace(run, settings=settings), [table])
        return linear_probe.principal_components(whole)

    x, seconds = timed(run, backbone, [own.image_size, len(table)], features)
    y, fold, parts, scores = TASKS[c.task].encode(table, c), table["fold"].to_numpy(), [], []
    for k in sorted({*fold} - {-1}):
        held_out = fold == k
        values = linear_probe.fit_predict(x[~held_out], y[~held_out], x[held_out], task=c.task)
        parts.append(predictions.make(table["id"][held_out], values, c.outputs))
        scores.append(scoring.score(c, table[held_out], parts[-1]))
    oof = predictions.join(parts)
    score = scoring.score(c, table[fold >= 0], oof)
    return Result(backbone, oof, score, float(np.std(scores, ddof=1)), seconds)


def ranked(
    results: Iterable[Result], competition: Competition, table: pd.DataFrame
) -> tuple[Result, list[Duel]]:
    """The best, and each result's duel with the best before it. Prints a line for each, as they come."""
    best, duels = None, []
    for new in results:
        line = f"  {new.name:34} {new.score:.4f}  {new.spread:.4f} {new.seconds:8.0f}"
        if best:
            duels.append(duel(best, new, competition, table))
            line += f"  {duels[-1]} over {best.name}{'' if duels[-1].is_won else ', not shown to be better'}"
        print(line, flush=True)
        if not best or duels[-1].is_won:
            best = new
    assert best
    return best, duels


def duel(old: Result, new: Result, competition: Competition, table: pd.DataFrame) -> Duel:
    part = table[table["fold"] >= 0]
    old_rows, new_rows = (scoring.pooled(competition, part, result.oof)[1] for result in (old, new))
    difference = paired.fitted_difference(competition, part, old_rows, new_rows)
    over_images = difference._replace(per_fold=())
    # and in every fold: a t test of three folds would hardly ever be significant
    is_won = over_images.is_gain and min(g for g in difference.per_fold if np.isfinite(g)) > 0
    return Duel(new, old, over_images.gain, over_images.margin, is_won)


def verdict(best: Result, duels: list[Duel], rarest: int) -> str:
    """Which answer, and why, in a sentence."""
    won = next((d for d in duels if d.is_won and d.new is best), None)
    lost = max((d for d in duels if d.old is best), key=lambda d: d.gain, default=None)
    beaten = ""
    if lost:
        is_noise = abs(lost.gain) <= lost.margin or lost.gain > 0
        beaten = f"{lost.new.name}'s {lost} is {'within the noise' if is_noise else 'a loss'}"
    if won:
        times = best.seconds / max(won.old.seconds, 0.1)
        text = f"{best.name}: {won} over {won.old.name} for {times:.1f}x the time"
        return f"{text}; {beaten}" if beaten else text
    if rarest < FEW:
        few = f"{rarest} images of the rarest class"
        return f"{best.name}: there is too little data to fine-tune, {few}, and {beaten}"
    return f"{best.name}: {beaten}"


def to_write(settings: Settings, answer: str, backbone: str) -> str:
    """The SET that makes this run's experiment learn so."""
    changes = pairs(f"{ANSWERS[answer]} backbone={backbone}")
    typed, own = overrides.parse_set(joined(changes)), config.as_dict(settings.config)
    new = {name: value for name, value in changes.items() if typed[name] != own[name]}
    if "trainable" not in new:  # what learns stays the same: so do the run's own epochs
        new = {name: value for name, value in new.items() if name == "backbone"}
    outdated = pairs(RATES) if new else {}
    kept = {name: value for name, value in pairs(settings.set).items() if name not in outdated}
    return joined(kept | new)


def advise(run: Run, backbones: list[str]) -> str:
    """Try, print the table, and return the advice."""
    settings, c, size = run.settings, run.competition, run.config.image_size
    limit = IMAGES if len(tables.read_folds(run.paths.folds)) > IMAGES else 0
    backbones = backbones or [run.config.backbone]
    with contextlib.redirect_stdout(sys.stderr):
        table = tables.read_folds(trial(run, "head", backbones[0], limit).paths.folds)
    rarest = len(table) // 10
    if TASKS[c.task].kind != "value":
        rarest = int(TASKS[c.task].encode(table, c).sum(axis=0).min())
    print(f"{settings.comp}: {len(table)} images, {rarest} of the rarest class")
    print(
        f"score: {c.metric_name}; gain +- 95 % over images, positive is better; spread of the folds' scores"
    )
    columns = "OOF     spread  seconds"
    print(f"  {f'linear probe at {size} px':34} {columns}")
    best, _ = ranked((probed(run, table, name) for name in backbones), c, table)
    print(f"  {f'{best.name} at {min(PIXELS, size)} px':34} {columns}")
    # the probe has run the head's trunk already
    shared = {"head": best.seconds} if size <= PIXELS else {}
    trials = (trained(run, name, best.name, limit, shared.get(name, 0.0)) for name in ANSWERS)
    answer, duels = ranked(trials, c, table)
    command = f"make submit COMP={settings.comp} EXP={settings.exp}"
    if changes := to_write(settings, answer.name, best.name):
        command += f' SET="{changes}"'
    return f"{verdict(answer, duels, rarest)}: {command}"


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--backbones", nargs="+", help="advise: those to compare, the quicker one first")


def command(run: Run, options: Namespace) -> None:
    backbones = options.backbones or [run.config.backbone]
    for backbone in backbones:
        if run.config.pretrained and fetch.is_lite(backbone):
            fetch.fetch_weights(backbone.split(":")[-1])
    print(f"advice: {advise(run, backbones)}")
