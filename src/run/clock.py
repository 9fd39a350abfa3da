"""When a training saves its state, and when it stops."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from src import BEGAN
from src.config import Machine
from src.run import ranks

SHARE = 30  # after an epoch, saving may take one part in this many of the time


class Clock:
    """When to save, and why to stop: SIGTERM, SIGINT, or max_hours of this process."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.asked = ""  # the name of the signal that has asked for a stop
        self.slowest = 0.0  # seconds of the slowest step so far
        self.took = 0.0  # seconds of the last saving
        self.folds_after: int | None = 0  # to be trained after this one; None where processes share them
        self.begin()

    def begin(self) -> None:
        """A fold's first step begins."""
        self.last_save = self.last_step = time.monotonic()

    def is_due(self, *, ends_epoch: bool) -> bool:
        """Save after save_minutes, and after an epoch, unless epochs are so short that saving would take more
        than its share of the time. Of several processes the main one says when.
        """
        passed = time.monotonic() - self.last_save
        is_due = passed >= 60 * self.machine.save_minutes or ends_epoch and passed >= SHARE * self.took
        return ranks.agree(is_due and ranks.is_main())

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measures how long saving takes."""
        began = time.monotonic()
        yield
        self.last_save = time.monotonic()
        self.took = self.last_save - began

    def why_stop(self) -> str:
        """The reason, or "", the same for all processes of a fold. Call it after each step: the next one may
        take as long as the slowest so far.
        """
        now = time.monotonic()
        self.slowest, self.last_step = max(self.slowest, now - self.last_step), now
        limit = 3600 * self.machine.max_hours
        reason = self.asked
        if not reason and limit and now - BEGAN + self.slowest > limit:
            reason = f"max_hours={self.machine.max_hours:g}"
        if not reason and ranks.is_orphan():
            reason = "the command has ended"
        return ranks.first(reason)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask for a stop at the next step; a second one ends the process at once."""
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def ask(number: int, frame: object) -> None:
            self.asked = signal.Signals(number).name
            # not by print, which can't be called in the middle of another print
            os.write(2, f"{self.asked}: saving after this step; once more ends at once\n".encode())
            for each in handlers:
                signal.signal(each, signal.SIG_DFL)

        for number in handlers:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
