"""What should learn, and on which backbone? A linear probe per backbone, then head, tail and all on a small
budget, over the same folds. runs/<name>/ -> runs/<name>-advise-{head,tail,all}/, a table and a sentence

Run: python -m src.extras.advise runs/<name> [backbone ...]        make advise COMP=x BACKBONES="a b", the quicker
one first

What costs more is advised only where it beats what costs less by more than the noise of images, and in every
fold. The trials are runs like any other, so the same command goes on where it was stopped.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from src import competitions, config, split, train
from src.competition import scoring, tables
from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.config import Settings
from src.data.run import Run
from src.extras import linear_probe
from src.extras.compare import Comparison, compare
from src.run import configure, overrides, predictions, process
from src.run.files import read_json, sha256, write_json
from src.run.paths import RunPaths

# the small budget: at most so many images, of so many pixels; epochs where the body learns
IMAGES, PIXELS, EPOCHS = 4000, 128, 4
# images of the rarest class: with fewer, a fold's score hangs on a handful
FEW = 30
ANSWERS = {
    "head": "trainable=head epochs=30 batch_size=128 head_epochs=0 augment=none views=1",
    "tail": "trainable=2 epochs=8 batch_size=32 head_epochs=1",
    # the quickest first. Add yours: a line
    "all": "trainable=all epochs=8 batch_size=32 head_epochs=1",
}
RATES = "lr=auto body_lr=auto layer_decay=auto"  # one rate can't suit them all


class Result(NamedTuple):
    name: str
    oof: pd.DataFrame
    score: float
    spread: float  # of the folds' scores
    seconds: float


class Duel(NamedTuple):
    """A result against the best of the cheaper ones; gain and margin (95 % over images), positive when it is
    better.
    """

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


def timed(paths: RunPaths, name: str, what: Any, make: Callable[[], Any]) -> tuple[Any, float]:
    """What `make` returns and its seconds, those of the first time: later much of it is cached. Its lines go
    to stderr.
    """
    path, key, began = paths.root / "advise.json", f"{name} {sha256(what)}", time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        made = make()
    known = read_json(path) if path.exists() else {}
    known[key] = max(known.get(key, 0.0), round(time.perf_counter() - began, 1))
    write_json(known, path)
    return made, known[key]


def trial(
    settings: Settings, paths: RunPaths, name: str, backbone: str, limit: int
) -> tuple[Settings, RunPaths]:
    """The run of one answer: this run's settings, over them the answer's and the budget's; its folds are
    made.
    """
    own, there = settings.config, RunPaths(paths.root.with_name(f"{paths.name}-advise-{name}"))
    short = {} if name == "head" else {"epochs": str(EPOCHS), "views": "1" if own.augment == "none" else "2"}
    budget = {"backbone": backbone, "image_size": str(min(PIXELS, own.image_size))} | (
        {"limit": str(limit)} if limit else {}
    )
    changes = joined(pairs(f"{settings.set} {RATES} {ANSWERS[name]}") | short | budget)
    asked = {
        "COMP": settings.comp,
        "EXP": settings.exp,
        "SET": changes,
        "INPUTS": str(settings.inputs),
        "CACHE": str(settings.cache),
    }
    made = replace(
        configure.settings_for(there, asked), machine=replace(settings.machine, wandb="off", sanity=False)
    )
    configure.write(made, there)
    split.split(Run(there, made, competitions.load(made.comp, made.inputs)))
    return made, there


def trained(
    settings: Settings, paths: RunPaths, name: str, backbone: str, limit: int, shared: float
) -> Result:
    """The answer's out-of-fold predictions, by the kit's own stages; shared: seconds of it that were spent
    before.
    """
    made, there = trial(settings, paths, name, backbone, limit)
    _, seconds = timed(
        paths,
        name,
        config.as_dict(made.config),
        lambda: train.train(Run(there, made, competitions.load(made.comp, made.inputs))),
    )
    score = read_json(there.score)
    # of a trial that went on, the folds remember what went before
    seconds = max(seconds, sum(score["seconds"].values()))
    return Result(name, predictions.read(there.oof), score["oof"], score["spread"], seconds + shared)


def probed(
    settings: Settings, paths: RunPaths, competition: Competition, table: pd.DataFrame, backbone: str
) -> Result:
    """The out-of-fold predictions of a linear model of the backbone's frozen features."""
    own = settings.config
    how = replace(
        settings,
        config=replace(own, backbone=backbone, weights=own.weights if backbone == own.backbone else ""),
    )
    features, seconds = timed(
        paths,
        backbone,
        [own.image_size, len(table)],
        lambda: linear_probe.principal_components(linear_probe.backbone_features(how, competition, [table])),
    )
    target, fold, parts, scores = (
        TASKS[competition.task].encode(table, competition),
        table["fold"].to_numpy(),
        [],
        [],
    )
    for k in sorted({*fold} - {-1}):
        found = linear_probe.fit_predict(
            features[fold != k], target[fold != k], features[fold == k], task=competition.task
        )
        parts.append(predictions.make(table["id"][fold == k], found, competition.outputs))
        scores.append(scoring.score(competition, table[fold == k], parts[-1]))
    oof = predictions.join(parts)
    return Result(
        backbone,
        oof,
        scoring.score(competition, table[fold >= 0], oof),
        float(np.std(scores, ddof=1)),
        seconds,
    )


def ranked(
    results: Iterable[Result], competition: Competition, table: pd.DataFrame
) -> tuple[Result, list[Duel]]:
    """The best, and each result's duel with the best before it; a line of the table for each as soon as it is
    there.
    """
    duels: list[Duel] = []
    best = None
    for new in results:
        print(f"  {new.name:34} {new.score:.4f}  {new.spread:.4f} {new.seconds:8.0f}", end="")
        if best:
            duels.append(duel(best, new, compare(competition, table, [best.oof], [new.oof])))
            print(
                f"  {duels[-1]} over {best.name}{'' if duels[-1].is_won else ', not shown to be better'}",
                end="",
            )
        print(flush=True)
        best = new if not best or duels[-1].is_won else best
    assert best
    return best, duels


def duel(old: Result, new: Result, comparison: Comparison) -> Duel:
    scored = [gain for gain in comparison.per_fold if np.isfinite(gain)]
    # a t test of three folds would hardly ever tell
    is_won = comparison.over_images.is_gain and min(scored) > 0
    return Duel(new, old, comparison.gain, comparison.over_images.margin, is_won)


def verdict(best: Result, duels: list[Duel], rarest: int) -> str:
    """Which answer, and why, in a sentence."""
    won = next((d for d in duels if d.is_won and d.new is best), None)
    lost = max((d for d in duels if d.old is best), key=lambda d: d.gain, default=None)
    beaten = (
        f"{lost.new.name}'s {lost} "
        + ("is within the noise" if abs(lost.gain) <= lost.margin or lost.gain > 0 else "is a loss")
        if lost
        else ""
    )
    if won:
        return (
            f"{best.name}: {won} over {won.old.name} for {best.seconds / max(won.old.seconds, 0.1):.1f}x the"
            " time" + (f"; {beaten}" if beaten else "")
        )
    if rarest < FEW:
        return (
            f"{best.name}: there is too little data to fine-tune, {rarest} images of the rarest class, and"
            f" {beaten}"
        )
    return f"{best.name}: {beaten}"


def to_write(settings: Settings, answer: str, backbone: str) -> str:
    """The SET that makes this run's experiment learn so."""
    changes = pairs(f"{ANSWERS[answer]} backbone={backbone}")
    typed, own = overrides.parse_set(joined(changes)), config.as_dict(settings.config)
    new = {name: value for name, value in changes.items() if typed[name] != own[name]}
    if "trainable" not in new:
        # what learns stays: so do the run's own epochs
        new = {name: value for name, value in new.items() if name == "backbone"}
    spoilt = pairs(RATES) if new else {}
    return joined({name: value for name, value in pairs(settings.set).items() if name not in spoilt} | new)


def advise(settings: Settings, paths: RunPaths, backbones: list[str]) -> str:
    """Try, print the table, and return the advice."""
    competition = competitions.load(settings.comp, settings.inputs)
    limit = IMAGES if len(tables.read_folds(paths.folds)) > IMAGES else 0
    backbones = backbones or [settings.config.backbone]
    with contextlib.redirect_stdout(sys.stderr):
        table = tables.read_folds(trial(settings, paths, "head", backbones[0], limit)[1].folds)
    target, has_values = (
        TASKS[competition.task].encode(table, competition),
        TASKS[competition.task].kind == "value",
    )
    rarest = len(table) // 10 if has_values else int(target.sum(axis=0).min())
    print(
        f"{settings.comp}: {len(table)} images, {rarest} of the rarest class; {competition.metric_name}, gain"
        f" +- 95 %, positive is better\n  {f'linear probe at {settings.config.image_size} px':34} OOF    "
        " spread  seconds"
    )
    best, _ = ranked(
        (probed(settings, paths, competition, table, name) for name in backbones), competition, table
    )
    print(f"  {f'{best.name} at {min(PIXELS, settings.config.image_size)} px':34} OOF     spread  seconds")
    # the probe has run the head's trunk already
    shared = best.seconds if settings.config.image_size <= PIXELS else 0.0
    answer, duels = ranked(
        (trained(settings, paths, name, best.name, limit, shared * (name == "head")) for name in ANSWERS),
        competition,
        table,
    )
    changes = to_write(settings, answer.name, best.name)
    return (
        f"{verdict(answer, duels, rarest)}: make submit COMP={settings.comp} EXP={settings.exp}"
        + f' SET="{changes}"' * bool(changes)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m src.extras.advise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("backbones", nargs="*")
    given = parser.parse_args()
    paths = RunPaths(given.run)
    print(f"advice: {advise(configure.load(paths.config), paths, given.backbones)}")


if __name__ == "__main__":
    process.main(main)
