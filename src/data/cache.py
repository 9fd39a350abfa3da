"""The cache folder: what can be computed again. It is kept below a size, the least recently used goes first,
and never what a process is using.
"""

import fcntl
import os
from pathlib import Path
from typing import IO

_held: dict[str, IO] = {}  # open files of this process, each with a shared lock until the process ends


def hold(path: Path) -> None:
    """Mark a file as in use by this process and its children. Raises FileNotFoundError where another one has
    removed it.
    """
    held = _held.get(str(path))
    # not one that was removed and made again
    if held and path.exists() and os.path.samestat(os.fstat(held.fileno()), path.stat()):
        return
    file = path.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    # a file system without locks; or one that is about to be removed
    except OSError:
        pass
    _held[str(path)] = file
    if not path.exists():
        raise FileNotFoundError(path)


def release(path: Path) -> None:
    """This process no longer uses a file of that name."""
    if held := _held.pop(str(path), None):
        held.close()


def use(path: Path) -> bool:
    """Is the array there? It is in use then, and the most recently used."""
    try:
        hold(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        # a link leads to a cache that is only read
        os.utime(path, follow_symlinks=False)
    except OSError:  # a cache that can only be read
        pass
    return True


def remove(path: Path) -> bool:
    """Remove an array with what lies beside it, unless a process is using it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:
        return False
    name = path.name.removesuffix(".begun").removesuffix(".npy")
    for beside in [path.with_name(f"{path.name}.json"), *path.parent.glob(f"{name}.*.json")]:
        beside.unlink(missing_ok=True)
    return True


def arrays(folder: Path) -> list[Path]:
    """The least recently used first, whole ones and those that are begun."""
    found = [
        (facts(path)[1], path) for pattern in ("*/*.npy", "*/*.npy.begun") for path in folder.glob(pattern)
    ]
    return [path for _, path in sorted(found)]


def facts(path: Path) -> tuple[float, float]:
    """Size in GB and time of the last use; of a link to another cache its own."""
    try:
        status = path.lstat()
        return status.st_size / 1e9, status.st_mtime
    except OSError:  # another process has removed it
        return 0.0, 0.0


def make_room(folder: Path, room_gb: float, needed_gb: float) -> None:
    """Remove arrays of all competitions in the cache until the next one fits in, the least recently used
    first.
    """
    sizes = {path: facts(path)[0] for path in arrays(folder)}
    over, gone = sum(sizes.values()) + needed_gb - room_gb, 0.0
    for path, size in sizes.items():
        if gone < over and remove(path):
            gone += size
    if gone:
        print(
            f"cache: {gone:.2f} GB that were used least recently are removed, for"
            f' MACHINE="cache_total_gb={room_gb:g}"',
            flush=True,
        )
    if gone < over:
        print(
            f"cache: {over - gone:.2f} GB more than cache_total_gb={room_gb:g} are in use at once", flush=True
        )


def clear(folder: Path) -> None:
    """Remove every array that no process is using, and the hashes of images."""
    sizes = {path: facts(path)[0] for path in arrays(folder)}
    removed = {path: size for path, size in sizes.items() if remove(path)}
    for memory in folder.glob("*/hashes.json"):
        memory.unlink(missing_ok=True)
    left = arrays(folder)
    print(
        f"{folder}: {len(removed)} arrays removed, {sum(removed.values()):.2f} GB"
        + (f"; {len(left)} are in use and stay" if left else "")
    )
