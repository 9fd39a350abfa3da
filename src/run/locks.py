"""File locks that say who holds them, and that end with their process.

Why not filelock: it names no holder, and where a file system has no flock it falls back on marker files,
which outlive a killed process.
"""

import errno
import fcntl
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from src.run import ranks
from src.run.files import naming

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system without locks


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[str]:
    """Yields "" if this process has the lock now, else who has it: "process 123 on host". With wait it waits
    instead.

    The kernel takes the lock back when its process ends, however it ends: a file left behind is no lock.
    Forked workers don't inherit it.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        holder = acquire(file, wait)
        if holder:
            yield holder
            return
        if is_at(path, file):
            with naming(path):
                file.truncate(0)
                print(f"process {os.getpid()} on {platform.node()}", end="", file=file, flush=True)
            try:
                yield ""
            finally:
                path.unlink(missing_ok=True)
            return
    # the previous holder has removed the file that we opened: try again with a new one
    with lock(path, wait=wait) as holder:
        yield holder


@contextmanager
def shared(path: Path, *, wait: bool = False) -> Iterator[str]:
    """The same for all processes of a fold: the main one has the lock, and each learns who holds it."""
    with lock(path, wait=wait) if ranks.is_main() else nullcontext("") as holder:
        yield ranks.from_main(lambda: holder)


def is_at(path: Path, file: IO) -> bool:
    """Whether the open file is still the one at this path: its last holder may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def acquire(file: IO, wait: bool) -> str:
    """Returns "" when the lock is ours, else who has it."""
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            if not wait:
                return holder
            print(f"waiting for {holder}, which has {file.name}", flush=True)
            fcntl.lockf(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(f"{file.name}: this file system has no locks: don't start a run twice", file=sys.stderr)
    return ""


def check_idle(folder: Path) -> None:
    """Raises ValueError while a process trains a run that is, or lies in, this folder."""
    for path in [*folder.glob("*.lock"), *folder.glob("*/*.lock")]:
        with lock(path) as holder:
            if holder:
                raise ValueError(
                    f"{path.parent} is being trained by {holder}: nothing is removed; wait for it, or end it"
                    " first"
                )
