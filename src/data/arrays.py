"""Artefacts that are computed once: memory-mapped arrays under the cache folder, whole or absent, named by the hash of all they depend on."""
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from src import runs


class Array:
    """A memory-mapped .npy opened on first use in each process, so that a loader's worker gets a path and not a copy."""

    def __init__(self, path: Path) -> None:
        self.path, self._opened, self._is_checked = path, None, False

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
            return len(np.load(self.path, mmap_mode="r"))            # of the header: no need to read all
        return len(self.values)

    def close(self) -> None:
        """Until it is read again: what was read of it no longer counts as this process's memory."""
        self._opened = None

    def __getstate__(self) -> dict:
        return {"path": self.path, "_opened": None, "_is_checked": self._is_checked}


def make_array(path: Path, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None]) -> Array:
    """The array at `path`, made by `fill` when it isn't there yet. An interrupted fill leaves no file of that name."""
    if not path.exists():
        with runs.naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        part = runs.part_of(path)
        runs.remove_dead(path.parent)
        try:
            with runs.naming(path):
                values = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
                reserve(part)
            fill(values)
            values.flush()
            del values
            with runs.naming(path):
                with part.open("ab") as file:
                    file.write(checksum(part))
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return Array(path)


def reserve(part: Path) -> None:
    """Take the file's room on the disk now: a mapped page that finds none later would end the process with SIGBUS. macOS lacks the call."""
    size = part.stat().st_size
    if hasattr(os, "posix_fallocate"):
        with part.open("rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}, {size:,} bytes are needed") from error


MARK = b"crc32"             # before the checksum behind the values, which numpy does not read
BLOCK = 2**24
WHOLE = 2**31               # bytes; of a larger file every SPARSE-th block is in the sum, so that no run waits for it
SPARSE = 16


def checksum(path: Path, size: int | None = None) -> bytes:
    """What lies behind the values: of the first `size` bytes, all by default. CRC-32 reads 2 GB a second, SHA-256 one."""
    size, found = path.stat().st_size if size is None else size, 0
    with path.open("rb") as file:
        for number, start in enumerate(range(0, size, BLOCK)):
            if size <= WHOLE or number % SPARSE == 0 or start + BLOCK >= size:
                file.seek(start)
                found = zlib.crc32(file.read(min(BLOCK, size - start)), found)
    return MARK + f"{size:016x}{found:08x}".encode()


def check(path: Path) -> None:
    """Raises ValueError when the array is not as it was made; it is removed then, for it can be made again."""
    size = path.stat().st_size - len(MARK) - 24
    with path.open("rb") as file:
        file.seek(max(size, 0))
        written = file.read()
    is_earlier = MARK not in written and is_readable(path)           # made by code that wrote no checksum
    if not is_earlier and written != checksum(path, size):
        raise ValueError(f"{path} is damaged: {'the same command makes it again' if removed(path) else 'remove it'}")


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
