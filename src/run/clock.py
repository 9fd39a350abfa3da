"""When a training saves its state, and when it stops."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from src import BEGAN
from src.config import Machine

SPENT = 30


# -- when


class Clock:
    """When to save, and why to stop: SIGTERM, SIGINT, or max_hours of this process."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.asked, self.slowest, self.took = machine, "", 0.0, 0.0
        self.begin()

    def begin(self) -> None:
        """A fold's first step begins."""
        self.last_save = self.last_step = time.monotonic()

    def is_due(self, *, ends_epoch: bool) -> bool:
        """After save_minutes, and after an epoch, unless epochs are so short that saving would take more than
        a part in SPENT of the time.
        """
        passed = time.monotonic() - self.last_save
        return passed >= 60 * self.machine.save_minutes or ends_epoch and passed >= SPENT * self.took

    @contextmanager
    def saving(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.last_save = time.monotonic()
        self.took = self.last_save - began

    def why_stop(self) -> str:
        """Nothing, or the reason. Called after each step, since the next one may take as long as the slowest
        so far.
        """
        now = time.monotonic()
        self.slowest, self.last_step = max(self.slowest, now - self.last_step), now
        limit = 3600 * self.machine.max_hours
        return self.asked or (
            f"max_hours={self.machine.max_hours:g}" if limit and now - BEGAN + self.slowest > limit else ""
        )

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask for a stop at the next step; once that is asked, a second one ends the
        process at once.
        """

        def ask(number: int, frame: object) -> None:
            self.asked = signal.Signals(number).name
            # no print, which can't be called in the middle of another
            os.write(2, f"{self.asked}: saving after this step; once more ends at once\n".encode())
            for each in before:
                signal.signal(each, signal.SIG_DFL)

        before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
        for each in before:
            signal.signal(each, ask)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
