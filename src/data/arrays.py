"""Artefacts that are computed once: memory-mapped arrays under the cache folder, whole or absent, named by the hash of all they depend on."""
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np


class Array:
    """A memory-mapped .npy opened on first use in each process, so that a loader's worker gets a path and not a copy."""

    def __init__(self, path: Path) -> None:
        self.path, self._opened = path, None

    @property
    def values(self) -> np.ndarray:
        if self._opened is None:
            self._opened = np.load(self.path, mmap_mode="r")
        return self._opened

    def __getstate__(self) -> dict:
        return {"path": self.path, "_opened": None}


def make_array(path: Path, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None]) -> Array:
    """The array at `path`, made by `fill` when it isn't there yet. An interrupted fill leaves no file of that name."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            values = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
            fill(values)
            values.flush()
            del values
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return Array(path)


def gigabytes(shape: tuple[int, ...], dtype: str) -> float:
    return float(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize / 1e9
