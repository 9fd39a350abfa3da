"""Augmented images read by worker processes that live as long as the training."""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.data.arrays import Array
from src.data.augment import Transform, seeded

SHARED_MEMORY = Path("/dev/shm")  # of Linux
MORE_SHARED_MEMORY = 'MACHINE="workers=0" does without, or give more (docker run --shm-size=2g)'
Draw = tuple[int, int, int]  # view, seed, position in the table


class Decoded(Dataset):
    """One item is a Draw -> image (3, H, W) uint8: that view's transform with draws from the seed, the same
    in any process.
    """

    def __init__(self, images: Array, transforms: Sequence[Transform | None]) -> None:
        self.images, self.transforms = images, transforms

    def __getitem__(self, draw: Draw) -> Tensor:
        view, seed, position = draw
        image = torch.from_numpy(self.images.values[position].copy()).permute(2, 0, 1)  # (3, H, W)
        transform = self.transforms[view]
        return (image if transform is None else seeded(transform, image, seed)).contiguous()


class EpochDraws:
    """A batch sampler whose batches are exchanged each epoch, so that one loader with living workers is
    enough.
    """

    def __init__(self) -> None:
        self.batches: list[list[Draw]] = []

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class AugmentedImages:
    """Reads batches of decoded images with their augmentation."""

    def __init__(
        self, images: Array, transforms: Sequence[Transform | None], workers: int, device: torch.device
    ) -> None:
        self.images, self.workers, self.is_running = images, workers, False
        self.sampler = EpochDraws()
        self.loader = DataLoader(
            Decoded(images, transforms),
            batch_sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=leave_group,
        )

    def read(self, batches: list[list[Draw]]) -> Iterator[Tensor]:
        """(B, 3, H, W) uint8 for each batch. Raises ValueError where there is no room for the workers."""
        if self.workers and not self.is_running:
            check_shared_memory(
                self.workers, max(map(len, batches), default=0) * self.images.values[0].nbytes
            )
        self.is_running = True
        self.sampler.batches = batches
        try:
            yield from self.loader
        except RuntimeError as error:  # another process may take the shared memory meanwhile
            if not re.search(r"shared memory|shm|[Bb]us error", str(error)):
                raise
            raise ValueError(
                f"{SHARED_MEMORY} is full, {self.workers} workers hand over their batches there:"
                f" {MORE_SHARED_MEMORY}"
            ) from error


def leave_group(worker: int) -> None:
    """Ctrl-C reaches a whole group of processes. The workers must live on, or the last step before the stop
    would get no batch.
    """
    os.setsid()


def check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Raises ValueError where the workers' batches, two of each, find no room on their way to this process. A
    Docker container has 64 MB unless it was given more.
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
