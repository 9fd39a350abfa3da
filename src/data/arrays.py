"""Artefacts that are computed once: memory-mapped arrays under the cache folder, whole or absent, named by
the hash of all they depend on.
"""

import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.data import cache
from src.run import locks, ranks
from src.run.clock import Clock
from src.run.errors import Stopped
from src.run.files import naming, read_json, remove_dead, write_json

# bytes that are read of a file, or written, until it is unmapped: what is mapped counts as the process's
# memory. It takes 0.15 us for a line of 5 kB at random places, nothing for lines in windows
MAPPED = 2**27


class Array:
    """A memory-mapped .npy opened on first use in each process, so that a loader's worker gets a path and not
    a copy.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._opened, self._is_checked, self._read = path, None, False, 0

    @property
    def values(self) -> np.ndarray:
        if not self._is_checked:
            check(self.path)
            self._is_checked = True
        if self._opened is None:
            self._opened = np.load(self.path, mmap_mode="r")
        return self._opened

    def __len__(self) -> int:
        if not self._is_checked and is_readable(self.path):
            return len(np.load(self.path, mmap_mode="r"))  # of the header: no need to read all
        return len(self.values)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """A copy of the lines at these positions (n,); the file is closed after each MAPPED bytes."""
        lines = self.values[positions]
        self._read += lines.nbytes
        if self._read >= MAPPED:
            self.close()
        return lines

    def ask_for(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Have the system read blocks of lines, (first, behind the last), in the background."""
        if not hasattr(os, "posix_fadvise"):  # macOS
            return
        size, offset = self.values.nbytes // len(self.values), self.values.offset
        with self.path.open("rb") as file:
            for first, end in blocks:
                place, length = offset + first * size, (end - first) * size
                os.posix_fadvise(file.fileno(), place, length, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Until it is read again: what was read of it no longer counts as this process's memory."""
        self._opened, self._read = None, 0

    def __getstate__(self) -> dict:
        return {"path": self.path, "_opened": None, "_is_checked": self._is_checked, "_read": 0}


class InMemory(NamedTuple):
    """What stands in for an Array of the cache: lines that are in memory."""

    values: np.ndarray

    def read(self, positions: np.ndarray) -> np.ndarray:
        return self.values[positions]

    def close(self) -> None:
        pass

    def __len__(self) -> int:
        return len(self.values)


def make_in_steps(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    fill: Callable[[np.ndarray, dict], Iterator[dict]],
    clock: Clock | None,
    *,
    room_gb: float = 0.0,
) -> Array:
    """The array at `path`, made by `fill` when it isn't there yet. It can be left and taken up again; one
    process makes it, others wait for it.

    fill(values, begun) yields after each piece what it needs to go on from there: `done`, the number of lines
    that are filled, and what else json holds; begun is the last of these that was saved, {} at first. Raises
    Stopped with the piece saved. room_gb: of all arrays in the cache, 0: any. Several processes of a fold
    fill it together: see ranks.pieces.
    """
    if not ranks.from_main(lambda: cache.use(path)):
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with locks.shared(path.with_name(path.name + ".lock"), wait=True):
            if not ranks.from_main(lambda: cache.use(path)):
                if room_gb and ranks.is_main():
                    cache.make_room(path.parent.parent, room_gb, gigabytes(shape, dtype))
                fill_in_steps(path, shape, dtype, fill, clock)
    return Array(path)


def fill_in_steps(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    fill: Callable[[np.ndarray, dict], Iterator[dict]],
    clock: Clock | None,
) -> None:
    begun, note = path.with_name(path.name + ".begun"), path.with_name(path.name + ".begun.json")
    remove_dead(path.parent)
    with naming(path):
        values, progress = open_for_all(begun, note, shape, dtype)
    cache.hold(begun)
    if clock:
        clock.begin()
    size, unmapped = values.nbytes // len(values), 0
    try:
        for now in fill(values, progress):
            if clock:
                save_or_stop(values, now, note, path, clock)
            if (now["done"] - unmapped) * size >= MAPPED:
                unmap(values)
                unmapped = now["done"]
        values.flush()
        ranks.agree()
        if ranks.is_main():
            seal(begun, path, values.offset + values.nbytes)
        ranks.agree()
    except (Stopped, ranks.Lost):
        raise
    except BaseException:
        begun.unlink(missing_ok=True)
        raise
    finally:
        if not begun.exists():
            note.unlink(missing_ok=True)
    cache.use(path)
    # it has the other name now, and is held by that
    cache.release(begun)


def unmap(values: np.memmap) -> None:
    """What was read or written of it no longer counts as this process's memory; the system writes it to the
    file all the same.
    """
    values.base.madvise(mmap.MADV_DONTNEED)


def seal(begun: Path, path: Path, size: int) -> None:
    """The array is filled: give it its checksum and its name. size: bytes, with what is before the values."""
    with naming(path):
        with begun.open("rb+") as file:
            # perhaps an earlier process had come to this point
            file.truncate(size)
            file.seek(size)
            file.write(checksum(begun, size))
        os.replace(begun, path)


def save_or_stop(values: np.memmap, now: dict, note: Path, path: Path, clock: Clock) -> None:
    """Save when it is time, and before a stop. Raises Stopped."""
    why = clock.why_stop()
    if why or clock.is_due(ends_epoch=False):
        with clock.saving():
            values.flush()
            ranks.agree()
            if ranks.is_main():
                write_json(now, note)
    if why:
        ranks.agree()  # or one would end, and take the others with it, before all is saved
        raise Stopped(
            f"{why}: {path.name} is saved after {now['done']} of {len(values)} images; the same command goes"
            " on from there"
        )


def open_for_all(begun: Path, note: Path, shape: tuple[int, ...], dtype: str) -> tuple[np.memmap, dict]:
    """open_begun by the main process; the others of a fold open what is there then."""
    opened = open_begun(begun, note, shape, dtype) if ranks.is_main() else None
    progress = ranks.from_main(lambda: opened[1] if opened else {})
    return (opened[0] if opened else np.load(begun, mmap_mode="r+")), progress


def open_begun(begun: Path, note: Path, shape: tuple[int, ...], dtype: str) -> tuple[np.memmap, dict]:
    """What an earlier process has left, and how far it is; a new array where that is none or damaged."""
    try:
        values, progress = np.load(begun, mmap_mode="r+"), dict(read_json(note))
        if (values.shape, values.dtype) == (shape, np.dtype(dtype)) and progress:
            print(f"{begun.stem} goes on after {progress['done']} of {shape[0]} images", flush=True)
            return values, progress
    except (OSError, ValueError, EOFError, KeyError):
        pass
    begun.unlink(missing_ok=True)
    values = np.lib.format.open_memmap(begun, mode="w+", dtype=dtype, shape=shape)
    reserve(begun)
    return values, {}


def reserve(part: Path) -> None:
    """Take the file's room on the disk now: a mapped page that finds none later would end the process with
    SIGBUS. macOS lacks the call.
    """
    size = part.stat().st_size
    if hasattr(os, "posix_fallocate"):
        with part.open("rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}, {size:,} bytes are needed") from error


MARK = b"crc32"  # before the checksum behind the values, which numpy does not read
BLOCK = 2**24
# bytes; of a larger file every SPARSE-th block is in the sum, so that no run waits for it
WHOLE = 2**31
SPARSE = 16


def checksum(path: Path, size: int | None = None) -> bytes:
    """What lies behind the values: of the first `size` bytes, all by default. CRC-32 reads 2 GB a second,
    SHA-256 one.
    """
    size = path.stat().st_size if size is None else size
    crc = 0
    with path.open("rb") as file:
        for number, start in enumerate(range(0, size, BLOCK)):
            if size <= WHOLE or number % SPARSE == 0 or start + BLOCK >= size:
                file.seek(start)
                crc = zlib.crc32(file.read(min(BLOCK, size - start)), crc)
    return MARK + f"{size:016x}{crc:08x}".encode()


def check(path: Path) -> None:
    """Raises ValueError when the array is not as it was made; it is removed then, for it can be
    made again.
    """
    size = path.stat().st_size - len(MARK) - 24
    with path.open("rb") as file:
        file.seek(max(size, 0))
        written = file.read()
    is_earlier = MARK not in written and is_readable(path)  # made by code that wrote no checksum
    if not is_earlier and written != checksum(path, size):
        raise ValueError(
            f"{path} is damaged: {'the same command makes it again' if removed(path) else 'remove it'}"
        )


def removed(path: Path) -> bool:
    """Remove it; False where that is not allowed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def is_readable(path: Path) -> bool:
    try:
        return np.load(path, mmap_mode="r").size > 0
    except (ValueError, OSError, EOFError):
        return False


def gigabytes(shape: tuple[int, ...], dtype: str) -> float:
    return float(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize / 1e9
