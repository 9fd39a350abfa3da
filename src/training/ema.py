"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Ema:
    """The moving average of all that learns, buffers too (Polyak and Juditsky 1992). decay=0: off, and every
    method does nothing.
    """

    def __init__(self, learned: dict[str, Tensor], decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.learned = learned if decay else {}
        self.average = {name: value.clone() for name, value in self.learned.items()}
        self.floating = [name for name, value in self.learned.items() if value.is_floating_point()]
        self.whole = [name for name in self.learned if name not in self.floating]  # BatchNorm's counters

    def update(self, epoch: int, *, ends_epoch: bool) -> None:
        """After a step of the optimizer. Early averages follow quickly, or the first steps' noise
        would stay.
        """
        self.updates += 1
        self.move(1 - min(self.decay, (1 + self.updates) / (10 + self.updates)))

    def move(self, share: float) -> None:
        """The averages go this share of the way to the weights, all tensors in one kernel."""
        if self.floating:
            averages, values = (
                [state[name] for name in self.floating] for state in (self.average, self.learned)
            )
            torch._foreach_lerp_(averages, values, share)
        for name in self.whole:
            self.average[name].copy_(self.learned[name])

    def swap(self) -> None:
        """Exchange the model's weights and their averages in place; a second call exchanges them back."""
        for name, value in self.learned.items():
            current = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(current)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the with block."""
        self.swap()
        yield
        self.swap()

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for name, value in self.average.items():
            value.copy_(state["average"][name])
