"""Images that a host packs into arrays of NumPy, all in one file, for a make_table and a read_image.

An array is named by its file, "x_train.npy", or in an archive of several by file and name,
"digits.npz:x_train". A competition.py needs no import of this.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.formats import read_table
from src.competition.messages import state
from src.competition.reshape import as_square

MANY = 1000  # images whose values tell the scale of all


def stacked(root: Path, images: str, labels: str = "", **first: int) -> pd.DataFrame:
    """A line per image of an array (N, H, W), (N, H, W, C), (N, C, H, W) or (N, side * side), for
    id="image" and read_image=stacks.read. labels: an array of N, or (N, classes) with a single 1 in each row;
    or a table of N lines, in their order or numbered from 0 or 1. Id=1 adds a column that counts from there.
    Raises ValueError.
    """
    file, _, name = images.partition(":")
    size = len(array_of(root / file, name))
    frame = labels_of(root, labels) if labels else pd.DataFrame(index=range(size))
    if len(frame) != size:
        raise ValueError(f"{labels} has {len(frame)} labels, {images} has {size} images")
    for column, start in first.items():
        frame[column] = [str(start + line) for line in range(size)]
    return frame.assign(path=file, image=[f"{name or Path(file).stem}-{line}" for line in range(size)])


def read(record: dict) -> np.ndarray:
    """The image of a line, uint8 (H, W) or (H, W, 3). Numbers that are no bytes are stretched: the smallest
    of the array's first images is black, the largest white.
    """
    file = record["file"]
    name, _, line = record["id"].rpartition("-")
    name = name if file.lower().endswith(".npz") else ""
    image, (low, high) = np.asarray(array_of(file, name)[int(line)]), scale_of(file, name)
    if image.dtype != np.uint8 or high != 255:
        image = (255 * (image.astype("float32") - low) / max(high - low, 1e-9)).clip(0, 255).astype(np.uint8)
    if image.ndim == 1:
        return as_square(image, file)
    if image.ndim == 3 and image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0) if image.shape[0] in (1, 3) else image[..., :3]
    return image.squeeze(2) if image.ndim == 3 and image.shape[2] == 1 else image


@lru_cache(maxsize=4)
def array_of(file: str | Path, name: str = "") -> np.ndarray:
    """An array as it is stored; a .npy stays on the disk. Raises ValueError for Python objects."""
    if name:
        with np.load(file) as arrays:
            return arrays[name]
    return np.load(file, mmap_mode="r")


@lru_cache(maxsize=4)
def scale_of(file: str, name: str) -> tuple[float, float]:
    """What is black and what is white: 0 and 1, or 0 and 255, for numbers within."""
    some = array_of(file, name)[:MANY]
    low, high = float(np.min(some)), float(np.max(some))
    if low < 0 or high > 255:
        return low, high
    return (0.0, 1.0) if high <= 1 else (0.0, 255.0)


def labels_of(root: Path, labels: str) -> pd.DataFrame:
    """The columns of a table, or a column `label`."""
    file, _, name = labels.partition(":")
    if not file.lower().endswith((".npy", ".npz")):
        return in_order(read_table(root / file))
    values = np.asarray(array_of(root / file, name))
    if values.ndim == 2 and values.shape[1] > 1:
        if not ((values == 1).sum(1) == 1).all() or not np.isin(values, (0, 1)).all():
            raise ValueError(f"{labels}: no row has a single 1: {state('a make_table')}")
        values = values.argmax(1)
    return pd.DataFrame({"label": values.reshape(-1).astype(str)})


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines of a table by the column that numbers them from 0 or 1, where there is one."""
    for column in frame:
        if frame[column].str.fullmatch(r"\d{1,9}").all():
            ordered = frame[column].astype(int).sort_values()
            if any(np.array_equal(ordered, np.arange(first, first + len(frame))) for first in (0, 1)):
                return frame.loc[ordered.index].reset_index(drop=True)
    return frame
