"""How long predicting takes, measured as it goes, and what must be left out to end within a limit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from src import BEGAN

SHARE = 0.95  # of the limit: the rest is for writing the csv
MARGIN = 1.15  # on what is left: later images may be larger, the machine busier


class Plan(NamedTuple):
    """What the next images are predicted with, and how many of all that are left there is time for."""

    views: tuple[str, ...]
    models: tuple[int, ...]
    num: int


class Pace:
    """The time per image of reading it ("read"), of a view's trunk ("trunk"), and of one model's answer for a
    view ("tail"), in the chunk before.

    hours: from the start of the process, 0 for no limit. Until a chunk is measured, all is planned.
    """

    def __init__(self, hours: float) -> None:
        self.end = BEGAN + 3600 * hours * SHARE if hours else float("inf")
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, part: str, num: int) -> Iterator[None]:
        """Measure a part of the work for `num` images."""
        began = time.monotonic()
        yield
        self.seconds[part] = (time.monotonic() - began) / num

    @property
    def left(self) -> float:
        """Seconds."""
        return max(self.end - time.monotonic(), 0.0)

    def per_image(self, num_views: int, num_models: int) -> float:
        """Seconds; 0 before the first chunk."""
        read, trunk, tail = (self.seconds.get(part, 0.0) for part in ("read", "trunk", "tail"))
        return read + num_views * (trunk + num_models * tail)

    def time_for(self, num_views: int, num_models: int) -> float:
        """How many images can still be predicted so."""
        need = MARGIN * self.per_image(num_views, num_models)
        if not self.left:
            return 0.0
        return self.left / need if need else float("inf")

    def plan(self, num: int, views: tuple[str, ...], models: tuple[int, ...]) -> Plan:
        """For `num` images that are left: all views and models if there is time, else without the last
        views, then without the last models; at the end fewer images.
        """
        while self.time_for(len(views), len(models)) < num and (len(views) > 1 or len(models) > 1):
            if len(views) > 1:
                views = views[:-1]
            else:
                models = models[:-1]
        return Plan(views, models, int(min(num, self.time_for(len(views), len(models)))))
