"""What work takes: seconds by the clock on the wall, and of the processor, which tell more where others
compute on the same machine. Both are in an array (2,).
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
import torch

from src.config import Machine
from src.run.clock import Clock
from src.run.sources import ROOT

T = TypeVar("T")
Seconds: TypeAlias = np.ndarray  # (2,)
MOST_CALLS = 300


def now() -> Seconds:
    """When the GPU has finished too."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def timed(work: Callable[[], T]) -> tuple[T, Seconds]:
    began = now()
    result = work()
    return result, now() - began


def repeated(work: Callable[[], object], seconds: float) -> Seconds:
    """The median of two calls or more, after one that warms up."""
    work()
    costs, began = [timed(work)[1], timed(work)[1]], time.perf_counter()
    while time.perf_counter() - began < seconds and len(costs) < MOST_CALLS:
        costs.append(timed(work)[1])
    return np.median(costs, axis=0)


def process(*words: str) -> tuple[Seconds, subprocess.CompletedProcess]:
    """What `python words` takes, as a process of its own."""
    began, before = time.perf_counter(), os.times()
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, *words], env=environ, capture_output=True, text=True, errors="replace"
    )
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return np.array([time.perf_counter() - began, processor]), done


class Laps(Clock):
    """A clock that never saves and never stops, and notes when it is looked at: after each piece of an
    array.
    """

    def __init__(self, machine: Machine) -> None:
        self.arrays: list[list[Seconds]] = []
        super().__init__(machine)

    def begin(self) -> None:
        super().begin()
        self.arrays.append([now()])

    def is_due(self, *, ends_epoch: bool) -> bool:
        return False

    def why_stop(self) -> str:
        self.arrays[-1].append(now())
        return ""

    def take(self) -> list[np.ndarray]:
        """Of each array that was made since the last call, the seconds (P, 2) of its pieces."""
        taken, self.arrays = [np.diff(times, axis=0) for times in self.arrays if len(times) > 1], []
        return taken
