"""The cache folder: what can be computed again. It is kept below a size, the least recently used goes first,
and never what a process is using.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

_held: dict[str, IO] = {}  # open files of this process, each with a shared lock until the process ends


def hold(path: Path) -> None:
    """Mark a file as in use by this process and its children. Raises FileNotFoundError where another one has
    removed it.
    """
    held = _held.get(str(path))
    if held and path.exists() and os.path.samestat(os.fstat(held.fileno()), path.stat()):
        return  # else it was removed and made again
    file = path.open("rb")
    with suppress(OSError):  # a file system without locks, or a file that is about to be removed
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
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
    with suppress(OSError):  # a cache that can only be read
        os.utime(path, follow_symlinks=False)  # a link leads to such a cache
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
    paths = [*folder.glob("*/*.npy"), *folder.glob("*/*.npy.begun")]
    return sorted(paths, key=lambda path: (size_and_time(path)[1], path))


def size_and_time(path: Path) -> tuple[float, float]:
    """Size in GB and time of the last use; of a link to another cache its own."""
    try:
        status = path.lstat()
        return status.st_size / 1e9, status.st_mtime
    except OSError:  # another process has removed it
        return 0.0, 0.0


def sizes(folder: Path) -> dict[Path, float]:
    """Of each array in GB, the least recently used first."""
    return {path: size_and_time(path)[0] for path in arrays(folder)}


def make_room(folder: Path, room_gb: float, needed_gb: float) -> None:
    """Remove arrays of all competitions in the cache until the next one fits in, the least recently used
    first.
    """
    known = sizes(folder)
    excess, removed = sum(known.values()) + needed_gb - room_gb, 0.0
    for path, size in known.items():
        if removed < excess and remove(path):
            removed += size
    setting = f"cache_total_gb={room_gb:g}"
    if removed:
        used = f"{removed:.2f} GB that were used least recently are removed"
        print(f'cache: {used}, for MACHINE="{setting}"', flush=True)
    if removed < excess:
        print(f"cache: {excess - removed:.2f} GB more than {setting} are in use at once", flush=True)


def clear(folder: Path) -> None:
    """Remove every array that no process is using, and what is remembered of images."""
    removed = [size for path, size in sizes(folder).items() if remove(path)]
    for memory in [*folder.glob("*/hashes.*"), *folder.glob("*/*.read.json")]:
        memory.unlink(missing_ok=True)
    left = len(arrays(folder))
    in_use = f"; {left} are in use and stay" if left else ""
    print(f"{folder}: {len(removed)} arrays removed, {sum(removed):.2f} GB{in_use}")
