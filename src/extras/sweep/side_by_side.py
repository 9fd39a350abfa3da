"""Trials side by side: the command `cluster` trains them, wherever that is, and the study stays here. Which
settings are tried then depends on the order in which trials end; one at a time they are those of a sweep in
one process.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from optuna.trial import Trial

from src.data.run import Run
from src.extras.sweep.trials import Sweep
from src.run.errors import Stopped

SAVED = "the trials on the cluster are saved; the same command goes on"


class Trainer(Protocol):
    """Trains folds of runs, several at once."""

    slots: int  # how many

    def send(self, run: Path, fold: int | None) -> None:
        """Ask for a fold of a run, or for all that is left of it."""

    def receive(self) -> dict[str, Any]:
        """What was sent, with `code` and `line`: how it has ended."""


class Server:
    """The command `cluster` as another process, asked and answering in lines of json. SIGTERM and Ctrl-C are
    passed on to it; it then answers that all are stopped.
    """

    def __init__(self, run: Path, options: Sequence[str]) -> None:
        command = [sys.executable, "-m", "src", "cluster", str(run), "--serve", *options]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        # in a session of its own, or Ctrl-C would reach it twice
        self.process = subprocess.Popen(command, start_new_session=True, **pipes)
        assert self.process.stdin and self.process.stdout
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.handlers = {
            number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        self.slots, self.is_stopped = 0, False
        self.receive()

    def stop(self, number: int, frame: object) -> None:
        self.is_stopped = True
        self.process.terminate()

    def send(self, run: Path, fold: int | None) -> None:
        with suppress(BrokenPipeError):  # it has ended: receive says so
            print(json.dumps({"run": str(run), "fold": fold}), file=self.requests, flush=True)

    def receive(self) -> dict[str, Any]:
        """Raises Stopped; exits with the command's code where that has ended: it has said why."""
        line = self.answers.readline()
        if not line and self.is_stopped:
            raise Stopped(SAVED)
        if not line:
            sys.exit(self.process.wait() or 1)
        answer = json.loads(line)
        self.slots = answer["slots"]
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BrokenPipeError):  # of a request that it has not read before its end
            self.requests.close()
        self.process.wait()
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


def run_side_by_side(sweep: Sweep, trainer: Trainer) -> None:
    """As many trials at once as the trainer has slots. Raises Stopped."""
    at_work: dict[str, tuple[Trial, Run]] = {}  # by the run's folder
    is_stopped = False
    while True:
        while not is_stopped and len(at_work) < trainer.slots:
            trial = sweep.ask([trial.number for trial, _ in at_work.values()])
            if not trial:
                break
            there = sweep.begin(trial)
            while str(there.paths.root) in at_work:  # equal settings: nothing is left to train afterwards
                is_stopped |= take_answer(sweep, trainer, at_work)
            at_work[str(there.paths.root)] = trial, there
            trainer.send(there.paths.root, 0)
        if not at_work:
            break
        is_stopped |= take_answer(sweep, trainer, at_work)
    if is_stopped:
        raise Stopped(SAVED)


def take_answer(sweep: Sweep, trainer: Trainer, at_work: dict[str, tuple[Trial, Run]]) -> bool:
    """Wait until a fold or a run is trained, and go on with its trial; whether all has been stopped."""
    answer = trainer.receive()
    trial, there = at_work[answer["run"]]
    if not answer["code"] and answer["fold"] is not None and not sweep.ends_early(trial, there):
        trainer.send(there.paths.root, None)
        return False
    del at_work[answer["run"]]
    if answer["code"] == Stopped.EXIT_CODE:
        return True
    if answer["code"]:
        sweep.fail(trial, answer["line"])
    elif answer["fold"] is None:
        sweep.finish(trial, there)
    return False
