"""One fold over several processes: torchrun starts them, and what happened to them is said in one line."""

import logging
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

from src.run import ranks, reuse
from src.run.errors import Stopped
from src.run.paths import RunPaths, fold_name
from src.run.threads import share_of_cores

DAY = 24 * 3600  # seconds: a step may take long, and is saved before a stop
RENDEZVOUS = "--rdzv-backend c10d --rdzv-id podium --rdzv-endpoint localhost:0"


def train_together(run: RunPaths, number: int, torchrun: str, words: Sequence[str]) -> bool:
    """Run `train` with these words by so many processes on this machine, which train each fold together.
    Returns whether the main one is among them. torchrun: options for it, as of other machines that take part.
    Raises ValueError for options that it does not know, and Stopped; exits with the code of the process that
    failed first.
    """
    log_of_torchrun = logging.getLogger("torch.distributed.elastic")
    log_of_torchrun.setLevel(logging.CRITICAL)  # the same in many lines
    with tempfile.TemporaryDirectory(prefix="podium-") as folder, environment(number), own_signals():
        config, command, arguments = config_from_args(
            options_of([*shlex.split(torchrun)], number, [str(run.root), "--share", *words])
        )
        quiet: dict[int, Std] = dict.fromkeys(range(1, number), Std.ERR)
        config.logs_specs = DefaultLogsSpecs(folder, redirects=quiet)
        try:
            return ranks.MAIN in elastic_launch(config, command)(*arguments)
        except SignalException as error:
            raise Stopped("all processes have stopped; the same command goes on") from error
        except ChildFailedError as error:
            return end(run, error.failures, number, Path(folder))
        except RendezvousError as error:
            raise ValueError(f'TORCHRUN="{torchrun}": the machines do not meet: {error}') from error


def options_of(asked: list[str], number: int, words: list[str]):
    """torchrun's options. Its processes begin once: with fewer of them a fold would not end alike."""
    fixed = ["--nproc-per-node", str(number), "--max-restarts", "0", "--monitor-interval", "0.2"]
    fixed += ["--signals-to-handle", "SIGTERM,SIGINT", "--shutdown-timeout", str(DAY)]
    try:
        return parse_args([*RENDEZVOUS.split(), *asked, *fixed, "-m", "src", "train", *words])
    except SystemExit as error:  # argparse has said what it does not know
        raise ValueError(
            f'TORCHRUN="{shlex.join(asked)}" is not what torchrun takes: TORCHRUN="--nnodes 2 --rdzv-endpoint'
            ' HOST:29500", the same on each machine'
        ) from error


@contextmanager
def environment(number: int) -> Iterator[None]:
    """What the processes find in their environment: the command that they belong to, and their share of the
    processor.
    """
    before = dict(os.environ)
    os.environ["PODIUM_COMMAND"] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", share_of_cores(number))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def own_signals() -> Iterator[None]:
    """torchrun passes signals on; afterwards they are handled as before."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end(run: RunPaths, failures: dict[int, ProcessFailure], number: int, logs: Path) -> NoReturn:
    """Say what happened, and exit with its code; failures: by rank. Raises Stopped."""
    if any(failure.exitcode == Stopped.EXIT_CODE for failure in failures.values()):
        raise Stopped("all processes have stopped; the same command goes on")
    first = first_failure([*failures.values()])
    if first is None:
        print(
            "the connection to processes on another machine is lost, and what they print says why:"
            f" {goes_on(run)}",
            file=sys.stderr,
        )
        sys.exit(1)
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        why = ", most often for want of memory" if name == "SIGKILL" else ""
        print(
            f"process {first.local_rank + 1} of {number} was killed ({name}{why}): {goes_on(run)}",
            file=sys.stderr,
        )
        sys.exit(1)
    for log in logs.glob(f"**/attempt_0/{first.local_rank}/stderr.log"):  # the first one's was shown
        print(log.read_text(encoding="utf-8", errors="replace"), end="", file=sys.stderr)
    sys.exit(first.exitcode)


def first_failure(failures: Sequence[ProcessFailure]) -> ProcessFailure | None:
    """The one that ended by itself; None where all have ended because others did."""
    ended = (ranks.Lost.EXIT_CODE, -signal.SIGTERM)
    own = [failure for failure in failures if failure.exitcode not in ended]
    # torchrun looks at all, ends the others with SIGTERM, and what does not obey by SIGKILL half a minute
    # later
    return min(own, key=lambda one: (one.timestamp, one.exitcode > 0, one.local_rank), default=None)


def goes_on(run: RunPaths) -> str:
    """Where the same command takes up the training, in words."""
    for k in run.begun():
        origin = {} if run.fold(k).done.exists() else reuse.origin(run.fold(k))
        if origin:
            place = f"after {origin['epoch']} epochs and {origin['batch']} steps"
            return f"the same command goes on with {fold_name(k)} {place}"
    return "the same command goes on with what is not finished"
