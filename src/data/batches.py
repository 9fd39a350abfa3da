"""Batches for the loop: from decoded images, augmented afresh each epoch, or from the trunk's cached output,
one view per epoch.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.data.arrays import Array
from src.data.augment import Transform, seeded
from src.run.seeds import seed_of

SHARED_MEMORY = Path("/dev/shm")  # of Linux
MORE_SHARED_MEMORY = 'MACHINE="workers=0" does without, or give more (docker run --shm-size=2g)'


class Batch(NamedTuple):
    image: Tensor  # (B, 3, H, W) uint8, or the trunk's output (B, ...) float
    target: Tensor  # (B, T) float, dense
    weight: Tensor  # (B,) of each image's loss
    extra: Tensor  # (B, E) float: the competition's extra columns
    index: Tensor  # (B,) position in the table
    is_last: bool  # of its epoch


class Rows(NamedTuple):
    """What stands beside each image, in the table's order, as arrays of N."""

    target: np.ndarray  # (N, T) float32
    weight: np.ndarray  # (N,) float32
    extra: np.ndarray  # (N, E) float32


class Decoded(Dataset):
    """One item is (view, seed, position) -> image (3, H, W) uint8: that view's transform with draws from the
    seed, the same in any process.
    """

    def __init__(self, images: Array, transforms: Sequence[Transform | None]) -> None:
        self.images, self.transforms = images, transforms

    def __getitem__(self, place: tuple[int, int, int]) -> Tensor:
        view, seed, position = place
        image = torch.from_numpy(self.images.values[position].copy()).permute(2, 0, 1)  # (3, H, W)
        transform = self.transforms[view]
        return (image if transform is None else seeded(transform, image, seed)).contiguous()


class Plan:
    """The batches of the coming epoch, as lists of (view, seed, position); one loader with living workers
    reads a new one each epoch.
    """

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Raises ValueError where the workers' batches, two of each, find no room to reach this process. Docker
    gives 64 MB unless told otherwise.
    """
    if not sys.platform.startswith("linux"):
        return
    if not os.access(SHARED_MEMORY, os.W_OK):
        raise ValueError(
            f"{workers} workers share memory by {SHARED_MEMORY}, which is not there or not writable:"
            ' MACHINE="workers=0"'
        )
    free, need = shutil.disk_usage(SHARED_MEMORY).free, 2 * workers * batch_bytes
    if free < need:
        raise ValueError(
            f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free, {workers} workers need {need / 1e6:.0f} MB there:"
            f" {MORE_SHARED_MEMORY}"
        )


def from_workers(loader: DataLoader) -> Iterator[Tensor]:
    """Its batches. Where shared memory ends on the way, because another process takes it, the error says what
    to type.
    """
    try:
        yield from loader
    except RuntimeError as error:
        if not re.search(r"shared memory|shm|[Bb]us error", str(error)):
            raise
        raise ValueError(
            f"{SHARED_MEMORY} is full, {loader.num_workers} workers hand over their batches there:"
            f" {MORE_SHARED_MEMORY}"
        ) from error


def at_once(device: torch.device, batch_size: int) -> int:
    """How many pictures, or maps, pass a network together where nothing learns. On a CPU few: their
    activations then fit its cache. The trunk of lite0 at 224 px takes 4.4 ms an image instead of 7.6 with 64
    (two cores); lite0, resnet18 and convnext_tiny gave the same bits.
    """
    return min(batch_size, 16) if device.type == "cpu" else batch_size


def in_parts(positions: np.ndarray, batch_size: int, *, alone: bool = True) -> list[np.ndarray]:
    """Consecutive parts; with alone=False a last part of one image joins the one before, since BatchNorm
    can't learn from a single value.
    """
    parts = [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
    if not alone and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def in_steps(positions: np.ndarray, step_size: int, batch_size: int) -> list[list[np.ndarray]]:
    """The batches of each step of the optimizer: step_size images, in parts of at most batch_size (and one
    more), however small these must be.
    """
    return [in_parts(step, batch_size, alone=False) for step in in_parts(positions, step_size, alone=False)]


def flat(nested: Iterable[Sequence]) -> list:
    return list(chain.from_iterable(nested))


class Batches:
    """Batches of given positions of a table. Three sources: the trunk's outputs, one Array per view; decoded
    images with the same fixed views drawn on the fly; decoded images augmented afresh each epoch (one
    transform, named ""). Draws depend on seed, fold, epoch and position only.
    """

    def __init__(
        self,
        arrays: Sequence[Array],
        rows: Rows,
        *,
        device: torch.device,
        seed: int = 0,
        fold: int = 0,
        transforms: Mapping[str, Transform | None] | None = None,
        workers: int = 0,
    ) -> None:
        self.arrays, self.rows, self.device, self.seed, self.fold = list(arrays), rows, device, seed, fold
        self.names = list(transforms or {})
        self.plan, self.loader, self.is_running = Plan(), None, False
        if transforms and any(transforms.values()):
            self.loader = DataLoader(
                Decoded(arrays[0], list(transforms.values())),
                batch_sampler=self.plan,
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=device.type == "cuda",
            )
        # each image begins at its own view and takes the next one each epoch, so that an epoch sees all of
        # them
        self.num_views = max(len(self.arrays), len(self.names))
        several = self.num_views > 1
        self.offset = np.array(
            [
                seed_of(seed, fold, "view", i) % self.num_views if several else 0
                for i in range(len(rows.target))
            ]
        )

    def __call__(
        self, positions: np.ndarray, batch_size: int, epoch: int = 0, *, plain: bool = False
    ) -> Iterator[Batch]:
        """The positions, in their order, in batches; none is dropped. plain: view 0, for validation and test."""
        return self.of_parts(in_parts(positions, batch_size, alone=plain), epoch, plain=plain)

    def of_parts(
        self, parts: Sequence[np.ndarray], epoch: int = 0, *, plain: bool = False
    ) -> Iterator[Batch]:
        """A batch for each part, an array of positions."""
        if self.loader is not None and not plain:
            self.plan.batches = [
                [(v, self.draw_of(v, epoch, i), i) for v, i in zip(self.view_of(part, epoch), part.tolist())]
                for part in parts
            ]
            if self.loader.num_workers and not self.is_running:
                check_shared_memory(
                    self.loader.num_workers, max(map(len, parts), default=0) * self.arrays[0].values[0].nbytes
                )
            self.is_running = True
            images = from_workers(self.loader)
        else:
            images = (self.gather(part, self.view_of(part, epoch) * (not plain)) for part in parts)
        for number, (part, image) in enumerate(zip(parts, images)):
            beside = [torch.from_numpy(values[part]) for values in self.rows]
            all_parts = (image, *beside, torch.from_numpy(part.astype(np.int64)))
            if self.device.type == "cuda":  # or the copy would wait for the step before
                all_parts = tuple(t.pin_memory() for t in all_parts)
            image, target, weight, extra, index = (t.to(self.device, non_blocking=True) for t in all_parts)
            yield Batch(image, target, weight, extra, index, is_last=number == len(parts) - 1)

    def predicting(self, positions: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The same in batches for a network that does not learn: few pictures or maps at once on a CPU,
        vectors as many as were asked for.
        """
        is_map = self.arrays[0].values.ndim == 4
        return self(positions, at_once(self.device, batch_size) if is_map else batch_size, plain=True)

    def view_of(self, part: np.ndarray, epoch: int) -> np.ndarray:
        return (epoch + self.offset[part]) % self.num_views

    def draw_of(self, view: int, epoch: int, position: int) -> int:
        """A fixed view has the draw that the trunk's cache has for it, so the cache can't change what is
        learned; a fresh one its own each epoch.
        """
        return (
            seed_of(self.seed, self.fold, epoch, position)
            if self.names == [""]
            else seed_of("view", self.names[view], position)
        )

    def gather(self, part: np.ndarray, view: np.ndarray) -> Tensor:
        """Images, or the trunk's output, of these positions; arrays of (N, H, W, C) come out as (B, C, H, W)
        in channels_last order.
        """
        first, view = self.arrays[0].values, view % len(self.arrays)
        values = first[part]
        for number in np.unique(view[view > 0]):
            values[view == number] = self.arrays[number].values[part[view == number]]
        found = torch.from_numpy(values)
        return found.permute(0, 3, 1, 2) if found.ndim == 4 else found


def shuffle(table: pd.DataFrame, epoch: int, rng: np.random.Generator) -> np.ndarray:
    """Every position once, in a new order."""
    return rng.permutation(len(table))


def balanced(table: pd.DataFrame, epoch: int, rng: np.random.Generator) -> np.ndarray:
    """As many draws as images, each class (column `label`) equally likely."""
    counts = table["label"].map(table["label"].value_counts()).to_numpy(dtype=float)
    return rng.choice(len(table), size=len(table), p=(1 / counts) / (1 / counts).sum())


# add yours: (table, epoch, rng) -> positions, and a word here
SAMPLERS = {"shuffle": shuffle, "balanced": balanced}


def as_numbers(column: pd.Series) -> pd.Series:
    """Text as numbers; what is empty or no number is NaN."""
    return pd.to_numeric(column.where(column != ""), errors="coerce")


class ExtraColumns(NamedTuple):
    """How extra columns become numbers: words by the whole table's vocabulary, numbers standardised by the
    training part alone.
    """

    words: dict[str, list[str]]
    numbers: dict[str, tuple[float, float]]  # mean, standard deviation

    @classmethod
    def fit(cls, table: pd.DataFrame, columns: Sequence[str], training: np.ndarray) -> "ExtraColumns":
        words, numbers = {}, {}
        for column in columns:
            values = as_numbers(table[column])
            if values[training].notna().any() and values.notna().sum() == (table[column] != "").sum():
                numbers[column] = float(values[training].mean()), float(values[training].std(ddof=0)) or 1.0
            else:
                words[column] = sorted(table[column].unique())
        return cls(words, numbers)

    @property
    def size(self) -> int:
        return len(self.numbers) + sum(len(known) for known in self.words.values())

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """(N, E) float32. A missing number becomes the mean, an unknown word no column."""
        columns = [((as_numbers(table[c]) - mean) / std).fillna(0) for c, (mean, std) in self.numbers.items()]
        columns += [table[c] == word for c, known in self.words.items() for word in known]
        return (
            np.stack([np.asarray(c, np.float32) for c in columns], axis=1)
            if columns
            else np.zeros((len(table), 0), np.float32)
        )
