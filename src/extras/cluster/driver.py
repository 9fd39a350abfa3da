"""Runs units on the cluster, each as soon as those before it have ended well, and says how they are doing."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from src.extras.cluster.job import Job
from src.extras.cluster.news import News, Say, ending
from src.extras.cluster.task import STOP
from src.extras.cluster.units import LEFT_OUT, STOPPED, Outcome, Unit

PAUSE = 1.0  # seconds between two looks at the cluster


class Nodes(Protocol):
    """What the driver needs of a Cluster."""

    def submit(self, unit: Unit) -> None: ...

    def wait(self, seconds: float) -> list[tuple[Unit, Outcome]]: ...

    def name_of(self, node: str) -> str: ...


class Driver:
    """limit: at most so many units at once, 0: as many as the cluster takes."""

    def __init__(self, nodes: Nodes, job: Job, say: Say, limit: int = 0) -> None:
        self.nodes, self.job, self.say, self.limit = nodes, job, say, limit
        self.waiting: list[Unit] = []
        self.running: dict[str, News] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.asked = ""  # the name of the signal that has asked for a stop
        self.is_told = False  # the tasks know of it

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.running)

    def step(self) -> list[Unit]:
        """Begin what can begin, wait a moment, say what is new; the units that have come to an end."""
        if self.asked and not self.is_told:
            self.job.ask(STOP)
            self.is_told = True
        ended = self.give_up()
        self.begin()
        for unit, outcome in self.nodes.wait(PAUSE) if self.running else []:
            del self.running[unit.name]
            ended.append(self.end(unit, outcome))
        for news in self.running.values():
            news.tell(len(self.running))
        return ended

    def give_up(self) -> list[Unit]:
        """End the waiting units that can't be begun any more."""
        ended = []
        for unit in [*self.waiting]:
            before = [self.outcomes[name] for name in unit.after if name in self.outcomes]
            if self.asked or any(outcome.code for outcome in before):
                self.waiting.remove(unit)
                code = STOPPED if self.asked else LEFT_OUT
                ended.append(self.end(unit, Outcome(code, LINES[code])))
        return ended

    def begin(self) -> None:
        """Hand the units to the cluster whose turn it is."""
        for unit in [*self.waiting]:
            is_full = self.limit and len(self.running) >= self.limit
            is_held = unit.holds in {news.unit.holds for news in self.running.values()} - {""}
            if not is_full and not is_held and all(name in self.outcomes for name in unit.after):
                self.waiting.remove(unit)
                self.running[unit.name] = News(unit, self.job.id, self.say, self.nodes.name_of)
                self.nodes.submit(unit)

    def end(self, unit: Unit, outcome: Outcome) -> Unit:
        self.outcomes[unit.name] = outcome
        self.say(f"{unit.name}: {ending(unit, outcome, self.nodes.name_of)}")
        return unit

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop all units with their states saved; a second one ends this process at once,
        and Ray its tasks.
        """

        def ask(number: int, frame: object) -> None:
            self.asked = signal.Signals(number).name
            os.write(2, f"{self.asked}: all units save their states; once more ends at once\n".encode())
            for each in handlers:
                signal.signal(each, signal.SIG_DFL)

        handlers = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


LINES = {STOPPED: "not begun", LEFT_OUT: "left out, because what it needs has failed"}


def print_now(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def complain(line: str) -> None:
    """The same on stderr, where stdout belongs to another program."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)
