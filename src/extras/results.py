"""The finished runs: score, cost, and what each differs in from the run that it is most like. Shared by
report, board and runs.
"""

import csv
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.config import Config, as_dict, as_text
from src.run.errors import warn
from src.run.files import read_json
from src.run.paths import RunPaths

DEFAULTS = as_dict(Config())


class Change(NamedTuple):
    """A setting that two runs differ in, as SET takes it."""

    name: str
    here: str
    there: str

    def __str__(self) -> str:
        return f"{self.name}={self.here}, there {self.there}"


class Result:
    """A finished run, as its files tell it."""

    def __init__(self, paths: RunPaths) -> None:
        """Raises Damaged, or OSError where a file is missing."""
        self.paths, self.name = paths, paths.name
        self.saved: dict[str, Any] = read_json(paths.config, "comp", "exp", "set", "config")
        self.score: dict[str, Any] = paths.scored()[1]
        self.when = paths.score.stat().st_mtime

    @property
    def comp(self) -> str:
        return self.saved["comp"]

    @property
    def sign(self) -> int:
        """1 where a high score is good, else -1."""
        return -1 if self.score["lower_is_better"] else 1

    @property
    def members(self) -> list[str]:
        """Of an ensemble: the runs that it blends."""
        return list(self.saved.get("ensemble", {}).get("runs", []))

    @property
    def settings(self) -> dict[str, str]:
        """Every setting as text; one that the run's commit did not have yet, at its default."""
        return {name: as_text(value) for name, value in {**DEFAULTS, **self.saved["config"]}.items()}

    @cached_property
    def seconds(self) -> dict[str, float]:
        """By stage. The trunk's pass and the decoding are shared by runs and in none of them."""
        split = read_json(self.paths.competition).get("seconds", 0.0) if not self.members else 0.0
        tested = [read_json(path)["seconds"] for path in sorted(self.paths.root.glob("[fr]*/test.json"))]
        trained = sum(self.score.get("seconds", {}).values())
        return {"split": split, "train": trained, "predict": max(tested, default=0.0)}

    @property
    def cost(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    @property
    def epochs(self) -> list[float]:
        """The mean score of the folds after each epoch; none of an ensemble."""
        return list(self.score.get("epochs", {}).get("mean", []))


def finished(folder: Path) -> list[Result]:
    """Every finished run in `folder`, the newest first. One that is damaged is named and left out."""
    results = []
    for path in sorted(folder.glob("*/score.json")):
        try:
            results.append(Result(RunPaths(path.parent)))
        except (ValueError, OSError) as error:
            warn(f"run {path.parent.name} is left out: {error}")
    return sorted(results, key=lambda result: -result.when)


def changes(here: Result, there: Result) -> list[Change]:
    """The settings that differ, in the order of config.py; blends by their members."""
    if here.members or there.members:
        members = (", ".join(result.members) or result.name for result in (here, there))
        return [Change("members", *members)]
    ours, theirs = here.settings, there.settings
    return [Change(name, ours[name], theirs.get(name, "")) for name in ours if ours[name] != theirs.get(name)]


def neighbour(result: Result, others: Sequence[Result]) -> Result | None:
    """The run of the same competition and metric that differs in the fewest settings, an earlier one before a
    later one; of an ensemble its best member. None where there is no other.
    """
    comparable = [
        other
        for other in others
        if other.comp == result.comp
        and other.name != result.name
        and other.score["metric"] == result.score["metric"]
    ]
    if result.members:
        members = [other for other in comparable if other.name in result.members]
        return max(members, key=lambda other: result.sign * other.score["oof"], default=None)
    alike = [other for other in comparable if not other.members]

    def distance(other: Result) -> tuple[bool, int, bool, float]:
        is_later = other.when > result.when
        return (
            not changes(result, other),
            len(changes(result, other)),
            is_later,
            abs(other.when - result.when),
        )

    return min(alike, key=distance, default=None)


def predecessor(result: Result, others: Sequence[Result]) -> Result | None:
    """The neighbour among those that were finished before it."""
    return neighbour(result, [other for other in others if other.when < result.when])


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The places of those that no other beats in score at the same or a lower cost, by cost. Higher scores
    are better.
    """
    front, best = [], -np.inf
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if scores[place] > best:
            best = scores[place]
            front.append(place)
    return front


def leaderboard(ledger: Path) -> dict[str, dict[str, float]]:
    """run -> {"public": ..., "private": ...} as the ledger knows them, of the latest line that has one."""
    if not ledger.exists():
        return {}
    known: dict[str, dict[str, float]] = {}
    with ledger.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            run = (line.get("submission") or "").removesuffix(".csv")
            for board in ("public", "private"):
                try:
                    known.setdefault(run, {})[board] = float(line.get(board) or "")
                except ValueError:  # not filled in yet
                    continue
    return known
