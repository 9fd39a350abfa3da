"""Images per second that the input pipeline delivers, without a network behind it.

Run: python -m src.extras.bench.feed kit light,medium 224,288 1,2     augment, pixels, cores -> JSON
     python -m src.extras.bench.feed peer light,medium 224,288 1,2    image by image, in so many processes
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from src.config import Config, decoded_size
from src.data.arrays import InMemory
from src.data.augment import make_transform
from src.data.batches import Batches, Rows, in_steps
from src.run import memory

NUM_IMAGES, BATCH = 192, 32
ROUNDS = 5  # the first warms up


class Photos(Dataset):
    """What a plain loop has: an image (3, H, W) uint8, through transforms of torchvision."""

    def __init__(self, images: np.ndarray, transform: Callable) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> torch.Tensor:
        return self.transform(torch.from_numpy(self.images[position]).permute(2, 0, 1))


def peer_transform(augment: str, size: int) -> Callable:
    """The same augmentations as torchvision has them."""
    mirror, fill, bilinear = v2.RandomHorizontalFlip(), 128, v2.InterpolationMode.BILINEAR
    small = v2.RandomAffine(8, (0.06, 0.06), (0.9, 1.12), interpolation=bilinear, fill=fill)
    half = v2.RandomResizedCrop(size, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True)
    third = v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=(0.75, 1.33), antialias=True)
    erase = v2.RandomErasing(p=0.25, value=fill)
    return v2.Compose(
        {
            "none": [v2.Identity()],
            "light": [mirror, small],
            "medium": [half, mirror, v2.ColorJitter(0.25, 0.25, 0.2, 0.02)],
            "strong": [third, mirror, v2.TrivialAugmentWide(), erase],
            "randaugment": [third, mirror, v2.RandAugment(), erase],
        }[augment]
    )


def kit_batches(augment: str, size: int, rng: np.random.Generator) -> Callable[[int], Iterable]:
    """epoch -> its batches, by the core; images are decoded as large as it says."""
    side = decoded_size(Config(augment=augment, image_size=size))
    images: Any = InMemory(rng.integers(0, 256, (NUM_IMAGES, side, side, 3), dtype=np.uint8))
    rows = Rows(*(np.zeros((NUM_IMAGES, 1), np.float32) for _ in range(3)))
    transforms = None if augment == "none" else {"": make_transform(augment, size, "h")}
    device = torch.device("cpu")
    batches = Batches([images], rows, device=device, transforms=transforms, workers="auto", size=size)
    steps = in_steps(np.arange(NUM_IMAGES), BATCH, BATCH)
    return lambda epoch: batches.train_epoch(steps, epoch)


def peer_batches(augment: str, size: int, cores: int, rng: np.random.Generator) -> Callable[[int], Iterable]:
    """The same by a DataLoader; images are decoded at the size that the network sees."""
    images = rng.integers(0, 256, (NUM_IMAGES, size, size, 3), dtype=np.uint8)
    photos = Photos(images, peer_transform(augment, size))
    loader = DataLoader(photos, BATCH, num_workers=cores, persistent_workers=True)
    return lambda epoch: loader


def images_per_second(by: str, augment: str, size: int, cores: int) -> float:
    torch.set_num_threads(cores if by == "kit" else 1)
    rng = np.random.default_rng(0)
    if by == "kit":
        batches_of = kit_batches(augment, size, rng)
    else:
        batches_of = peer_batches(augment, size, cores, rng)
    seconds = []
    for epoch in range(ROUNDS):
        began = time.perf_counter()
        for _ in batches_of(epoch):
            pass
        seconds.append(time.perf_counter() - began)
    return NUM_IMAGES / median(seconds[1:])


def main() -> None:
    by, augments, sizes, cores = sys.argv[1], *(argument.split(",") for argument in sys.argv[2:])
    memory.keep_freed()
    result = {
        f"{augment} {size} {number}": images_per_second(by, augment, int(size), int(number))
        for augment, size, number in product(augments, sizes, cores)
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
