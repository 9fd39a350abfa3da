"""Artefacts that are computed once: memory-mapped arrays under the cache folder, whole or absent, named by the hash of all they depend on."""
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from src import runs


class Array:
    """A memory-mapped .npy opened on first use in each process, so that a loader's worker gets a path and not a copy."""

    def __init__(self, path: Path) -> None:
        self.path, self._opened = path, None

    @property
    def values(self) -> np.ndarray:
        if self._opened is None:
            self._opened = np.load(self.path, mmap_mode="r")
        return self._opened

    def close(self) -> None:
        """Until it is read again: what was read of it no longer counts as this process's memory."""
        self._opened = None

    def __getstate__(self) -> dict:
        return {"path": self.path, "_opened": None}


def make_array(path: Path, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None]) -> Array:
    """The array at `path`, made by `fill` when it isn't there yet. An interrupted fill leaves no file of that name."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        remove_dead(path.parent)
        try:
            with runs.naming(path):
                values = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
                reserve(part)
            fill(values)
            values.flush()
            del values
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


def remove_dead(folder: Path) -> None:
    """Remove what a killed process has left half filled: an hour old, its process gone."""
    for part in folder.glob("*.npy.*.part"):
        try:
            os.kill(int(part.name.split(".")[-2]), 0)
        except ProcessLookupError:
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink(missing_ok=True)
        except PermissionError:                                      # it lives, and is another user's
            pass


def gigabytes(shape: tuple[int, ...], dtype: str) -> float:
    return float(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize / 1e9
