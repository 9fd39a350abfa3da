"""Units for another program, such as a sweep, which sends them as lines of json and needs not know of Ray.

stdin:  {"run": "runs/x-head-lr=0.1", "fold": 0}       fold null: all that is left of the run
stdout: {"slots": 4}                                   how many units fit at once; the first line
        {"run": "runs/x-head-lr=0.1", "fold": 0, "code": 0, "line": "...", "slots": 4}      one has ended
What people read goes to stderr. A signal, or the end of stdin, stops all units with their states saved.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from src.extras.cluster.driver import Driver
from src.extras.cluster.units import Unit, features_key, preparation, training, unit_of
from src.load_run import load_run
from src.run.paths import RunPaths

Request = dict[str, Any]
IDLE = 0.1  # seconds between two looks at stdin, while there is nothing to do


class Server:
    """Turns requests into units, and their outcomes into answers."""

    def __init__(self, driver: Driver, slots: Callable[[], int]) -> None:
        self.driver, self.slots, self.stdout = driver, slots, sys.stdout
        self.prepared: dict[str, Unit] = {}  # by what it makes
        self.requests: dict[str, Request] = {}  # by the unit's name

    def take(self, request: Request) -> None:
        """Begin what is asked for, after the preparation of what it needs."""
        run, fold = load_run(RunPaths(Path(request["run"]))), request["fold"]
        key = features_key(run)
        if key not in self.prepared:
            self.prepared[key] = preparation(run)
            self.driver.waiting.append(self.prepared[key])
        after = (self.prepared[key].name,)
        whole = unit_of(run, "train", ("train", str(run.paths.root)), after=after)
        unit = whole if fold is None else training(run, fold, after)
        self.requests[unit.name] = request
        self.driver.waiting.append(unit)

    def step(self) -> None:
        """Go on for a moment, and answer for the units that have ended."""
        for unit in self.driver.step():
            if unit.name in self.requests:
                outcome = self.driver.outcomes[unit.name]
                ended = {"code": outcome.code, "line": outcome.line, "slots": self.slots()}
                self.answer(self.requests.pop(unit.name) | ended)

    def answer(self, content: dict[str, Any]) -> None:
        print(json.dumps(content), file=self.stdout, flush=True)


def read_lines(file: TextIO, lines: SimpleQueue[str]) -> None:
    """Put its lines into the queue, and "" at its end."""
    for line in file:
        lines.put(line)
    lines.put("")


def serve(driver: Driver, slots: Callable[[], int]) -> None:
    """Take requests and answer them, until stdin ends or a signal asks for a stop."""
    server, lines = Server(driver, slots), SimpleQueue[str]()
    threading.Thread(target=read_lines, args=(sys.stdin, lines), daemon=True).start()
    server.answer({"slots": slots()})
    with driver.listening(), redirect_stdout(sys.stderr):
        while driver.is_busy or not driver.asked:
            while not lines.empty():
                if line := lines.get():
                    server.take(json.loads(line))
                else:
                    driver.asked = driver.asked or "the end of stdin"
            if driver.is_busy:
                server.step()
            else:
                time.sleep(IDLE)
