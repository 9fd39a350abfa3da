"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


class Ema:
    """The moving average of all that learns, buffers too (Polyak and Juditsky 1992). decay=0: off, and every
    method does nothing.
    """

    def __init__(self, learned: dict[str, Tensor], decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.learned = learned if decay else {}
        self.average = {name: value.clone() for name, value in self.learned.items()}

    def update(self) -> None:
        """After a step of the optimizer. Early averages follow quickly, or the first steps' noise
        would stay.
        """
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self.learned.items():
            average = self.average[name]
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

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
