"""Images for training, a batch at a time, decoded and augmented: in this process, or in worker processes that
live as long as the training.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from src.data.arrays import Array
from src.data.augment import PerImage, Transform
from src.data.draws import Draws
from src.data.on_the_fly import Files
from src.data.warp import resize
from src.run import ranks

SHARED_MEMORY = Path("/dev/shm")  # of Linux
MORE_SHARED_MEMORY = 'MACHINE="workers=0" does without, or give more (docker run --shm-size=2g)'


class Draw(NamedTuple):
    """What a batch of augmented images is made of."""

    positions: np.ndarray  # (B,) in the table
    view: np.ndarray  # (B,) which transform
    seeds: np.ndarray  # (B,) uint64


class Augmentation(NamedTuple):
    """The transform of each view, None for the plain image, and the side in pixels of what leaves them."""

    transforms: Sequence[Transform | None]
    size: int

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Decoded images (B, 3, H, H) uint8 -> (B, 3, size, size) uint8."""
        views = np.unique(draw.view)
        if len(views) == 1:
            return self.apply(images, self.transforms[views[0]], draw.seeds)
        shape = (len(images), 3, self.size, self.size)
        out = torch.empty(shape, dtype=images.dtype, device=images.device)
        for view in views:
            rows = np.flatnonzero(draw.view == view)
            on_device = torch.from_numpy(rows).to(images.device)
            out[on_device] = self.apply(images[on_device], self.transforms[view], draw.seeds[rows])
        return out

    def apply(self, images: Tensor, transform: Transform | None, seeds: np.ndarray) -> Tensor:
        return resize(images if transform is None else transform(images, Draws(seeds)), self.size)

    @property
    def is_per_image(self) -> bool:
        """Whether a transform is slow, and draws from torch's generator, as the training does."""
        return any(isinstance(transform, PerImage) for transform in self.transforms)


def num_workers(
    augmentation: Augmentation | None, images: Array | Files, workers: int | str, device: torch.device
) -> int:
    """How many processes decode and augment. With workers=auto one per core where each image is augmented by
    itself, and where it is decoded for a GPU; none on a CPU, where threads of this process decode between two
    steps, or where a whole batch is augmented at once. A GPU augments a whole batch by itself in any case.
    """
    is_per_image = augmentation is not None and augmentation.is_per_image
    is_decoded_here = isinstance(images, Files)
    if device.type == "cuda" and not is_per_image and not is_decoded_here:
        return 0
    if workers != "auto":
        return int(workers) if augmentation or is_decoded_here else 0
    needs_processes = is_per_image or is_decoded_here and device.type == "cuda"
    return -(-(os.cpu_count() or 1) // ranks.num_here()) if needs_processes else 0


class Decoded(Dataset):
    """One item is a Draw -> its images (B, 3, size, size) uint8, the same in any process. Without an
    augmentation the decoded images alone.
    """

    def __init__(self, images: Array | Files, augmentation: Augmentation | None) -> None:
        self.images, self.augmentation = images, augmentation

    def __getitem__(self, draw: Draw) -> Tensor:
        images = torch.from_numpy(self.images.read(draw.positions)).permute(0, 3, 1, 2)
        return self.augmentation(images, draw) if self.augmentation else images


class EpochDraws:
    """A sampler whose draws are exchanged each epoch, so that one loader with living workers is enough."""

    def __init__(self) -> None:
        self.draws: list[Draw] = []

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws)

    def __len__(self) -> int:
        return len(self.draws)


class AugmentedImages:
    """Reads batches of decoded images with their augmentation, where they have one here."""

    def __init__(
        self,
        images: Array | Files,
        augmentation: Augmentation | None,
        workers: int,
        device: torch.device,
    ) -> None:
        self.images, self.workers, self.is_running = images, workers, False
        self.sampler = EpochDraws()
        self.loader = DataLoader(
            Decoded(images, augmentation),
            sampler=self.sampler,
            batch_size=None,  # an item is a batch
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=begin_worker,
        )

    def read(self, draws: list[Draw]) -> Iterator[Tensor]:
        """(B, 3, size, size) uint8 for each draw. Raises ValueError where the workers find no room."""
        if self.workers and not self.is_running:
            largest = max((len(draw.positions) for draw in draws), default=0)
            check_shared_memory(self.workers, largest * (self.images.values.nbytes // len(self.images)))
        self.is_running = True
        self.sampler.draws = draws
        try:
            yield from self.loader
        except RuntimeError as error:  # another process may take the shared memory meanwhile
            if not re.search(r"shared memory|shm|[Bb]us error", str(error)):
                raise
            raise ValueError(
                f"{SHARED_MEMORY} is full, {self.workers} workers hand over their batches there:"
                f" {MORE_SHARED_MEMORY}"
            ) from error


def begin_worker(worker: int) -> None:
    """Ctrl-C reaches a whole group of processes. The workers must live on, or the last step before the stop
    would get no batch. Each decodes by itself, beside the others.
    """
    os.setsid()
    images = get_worker_info().dataset.images
    if isinstance(images, Files):
        images.threads = 1


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
