"""Batches for training and prediction: decoded images, augmented afresh each epoch, or the trunk's cached
output, one view per epoch. Nothing here depends on how many workers read, or on where an epoch was continued.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from src.data.arrays import Array
from src.data.augment import Transform
from src.data.on_the_fly import Files
from src.data.transfer import as_tensor, asked_for, prefetched, to_device
from src.data.warp import resize
from src.data.workers import Augmentation, AugmentedImages, Draw, num_workers
from src.run import ranks
from src.run.seeds import seed_of, seeds_of

BLOCK, WINDOW = 256, 64  # of the sampler `windows`: images in a block, blocks that are mixed


class Batch(NamedTuple):
    image: Tensor  # (B, 3, H, W) uint8, or the trunk's output (B, ...) float
    target: Tensor  # (B, T) float, dense
    weight: Tensor  # (B,) of each image's loss
    extra: Tensor  # (B, E) float: the competition's extra columns
    index: Tensor  # (B,) int64 position in the table
    # where it stands in a training epoch
    number: int = 0
    step: int = 0  # of the optimizer, which may take several batches
    num_steps: int = 1  # of the optimizer in this epoch
    step_size: int = 0  # images in this step
    first: int = 0  # the number of the step's first batch
    sizes: tuple[int, ...] = ()  # images in each batch of the step, on whatever process it is
    ends_step: bool = True  # the last of this process
    ends_epoch: bool = True


class Rows(NamedTuple):
    """What stands beside each image, in the table's order, as arrays of N."""

    target: np.ndarray  # (N, T) float32
    weight: np.ndarray  # (N,) float32
    extra: np.ndarray  # (N, E) float32


class Batches:
    """Batches of a table's images. Three sources: the trunk's outputs, one Array per view; decoded images
    with the same fixed views made as they are read; decoded images augmented afresh each epoch (one
    transform, named ""). Draws depend on seed, fold, epoch and position, and on nothing else.

    size: pixels of an image's side, where it may be decoded larger. on_device: the arrays in the device's
    memory, [] where they are not.
    """

    def __init__(
        self,
        arrays: Sequence[Array | Files],
        rows: Rows,
        *,
        device: torch.device,
        seed: int = 0,
        fold: int = 0,
        transforms: Mapping[str, Transform | None] | None = None,
        workers: int | str = 0,
        size: int = 0,
        on_device: Sequence[Tensor] = (),
    ) -> None:
        self.arrays, self.rows, self.device, self.seed, self.fold = list(arrays), rows, device, seed, fold
        self.size, self.on_device, self.view_names = size, on_device, list(transforms or {})
        self.augmentation: Augmentation | None = None
        self.loader: AugmentedImages | None = None
        if transforms and any(transforms.values()):
            self.augmentation = Augmentation(
                list(transforms.values()), size or self.arrays[0].values.shape[1]
            )
        is_per_image = self.augmentation is not None and self.augmentation.is_per_image
        self.augments_here = device.type == "cuda" and not is_per_image
        if transforms and not self.on_device:
            processes = num_workers(self.augmentation, self.arrays[0], workers, device)
            if processes or is_per_image:
                in_workers = None if self.augments_here else self.augmentation
                self.loader = AugmentedImages(self.arrays[0], in_workers, processes, device)
        # each image begins at a view of its own and takes the next one each epoch, so an epoch has all of
        # them
        self.num_views = max(len(self.arrays), len(self.view_names))
        self.first_view = np.zeros(len(rows.target), int)
        if self.num_views > 1:
            draws = (seed_of(seed, fold, "view", i) for i in range(len(rows.target)))
            self.first_view = np.array([draw % self.num_views for draw in draws])

    def train_epoch(
        self, steps: Sequence[Sequence[np.ndarray]], epoch: int, skip: int = 0
    ) -> Iterator[Batch]:
        """The batches of a training epoch. steps: of each step of the optimizer its batches, each an array of
        positions in the table (see in_steps). skip: batches that were trained before; they are not decoded
        again. Of several processes each gets its part of every step.
        """
        own = [(part, place) for part, place in own_batches(steps) if place["number"] >= skip]
        parts = [part for part, _ in own]
        images: Iterable[Tensor]
        if not self.loader:
            images = (self.images_of(part, epoch) for part in parts)
        else:
            draws = [self.draw_of(part, epoch) for part in parts]
            images = self.loader.read(draws)
            if self.augments_here:
                images = (self.augmented(image, draw) for image, draw in zip(images, draws))
        yield from self.read_ahead(
            self.make_batch(part, image)._replace(**place)
            for part, image, (_, place) in zip(self.in_order(parts), images, own)
        )

    def evaluation(self, positions: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The plain images at these positions, in their order, for a network that does not learn: few
        pictures or maps at once on a CPU, vectors as many as were asked for.
        """
        is_map = self.arrays[0].values.ndim == 4
        parts = in_parts(positions, at_once(self.device, batch_size) if is_map else batch_size)
        yield from self.read_ahead(
            self.make_batch(part, self.plain_images_of(part)) for part in self.in_order(parts)
        )

    def in_order(self, parts: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
        """The parts; what of them lies on a disk is asked for ahead."""
        return parts if self.on_device else asked_for(parts, self.arrays)

    def read_ahead(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """In a thread, for a GPU; not what may draw from torch's generator in this process."""
        draws_here = self.loader is not None and not self.loader.workers
        return batches if self.device.type != "cuda" or draws_here else prefetched(batches)

    def make_batch(self, part: np.ndarray, image: Tensor) -> Batch:
        if self.size and image.dtype == torch.uint8:  # decoded larger
            image = resize(image, self.size)
        beside = [torch.from_numpy(values[part]) for values in self.rows]
        image, *rest = (to_device(t, self.device) for t in (image, *beside, torch.from_numpy(part)))
        return Batch(image.float() if image.is_floating_point() else image, *rest)

    def images_of(self, part: np.ndarray, epoch: int) -> Tensor:
        """What a training batch shows."""
        if not self.augmentation:
            return self.gather(part, self.view_of(part, epoch))
        images = self.gather(part, np.zeros(len(part), int))
        return self.augmented(images, self.draw_of(part, epoch))

    def augmented(self, images: Tensor, draw: Draw) -> Tensor:
        """On a GPU that is CUDA's: others lack some of the operations."""
        if not self.augmentation:
            return images
        return self.augmentation(
            to_device(images, self.device) if self.device.type == "cuda" else images, draw
        )

    def plain_images_of(self, part: np.ndarray) -> Tensor:
        return self.gather(part, np.zeros(len(part), int))

    def view_of(self, part: np.ndarray, epoch: int) -> np.ndarray:
        """The view (n,) that each image of the part has in this epoch."""
        return (epoch + self.first_view[part]) % self.num_views

    def draw_of(self, part: np.ndarray, epoch: int) -> Draw:
        """The view of each image, and the seed of its augmentation. A fixed view has the seed that the
        trunk's cache has for it, so that the cache can't change what is learned; a fresh one its own each
        epoch.
        """
        view = self.view_of(part, epoch)
        if self.view_names == [""]:
            return Draw(part, view, seeds_of(self.seed, self.fold, epoch, positions=part))
        seeds = np.zeros(len(part), np.uint64)
        for number in np.unique(view):
            rows = view == number
            seeds[rows] = view_seeds(self.view_names[number], part[rows])
        return Draw(part, view, seeds)

    def gather(self, part: np.ndarray, view: np.ndarray) -> Tensor:
        """Images, or the trunk's output, of these positions; arrays of (N, H, W, C) come out as (B, C, H, W)
        in channels_last order.
        """
        view = view % len(self.arrays)
        if self.on_device:
            tensor = self.gather_on_device(part, view)
        else:
            values = self.arrays[0].read(part)
            for number in np.unique(view[view > 0]):
                values[view == number] = self.arrays[number].read(part[view == number])
            tensor = as_tensor(values)
        return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor

    def gather_on_device(self, part: np.ndarray, view: np.ndarray) -> Tensor:
        index = to_device(torch.from_numpy(part), self.device)
        tensor = self.on_device[0][index]
        for number in np.unique(view[view > 0]):
            rows = to_device(torch.from_numpy(np.flatnonzero(view == number)), self.device)
            tensor[rows] = self.on_device[number][index[rows]]
        return tensor


def view_seeds(view: str, positions: np.ndarray) -> np.ndarray:
    """The seeds (n,) of a fixed view of the images at these positions."""
    return seeds_of("view", view, positions=positions)


def at_once(device: torch.device, batch_size: int) -> int:
    """How many pictures, or maps, pass a network together where nothing learns. On a CPU few, so that their
    activations fit its cache: the trunk of lite0 at 224 px takes 4.4 ms an image instead of 7.6 with 64 (two
    cores); lite0, resnet18 and convnext_tiny gave the same bits.
    """
    return min(batch_size, 16) if device.type == "cpu" else batch_size


def in_parts(positions: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive parts of at most `size` positions."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def in_training_parts(positions: np.ndarray, size: int) -> list[np.ndarray]:
    """The same, but a last part of one image joins the one before: BatchNorm can't learn from one value."""
    parts = in_parts(positions, size)
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def in_steps(positions: np.ndarray, step_size: int, batch_size: int) -> list[list[np.ndarray]]:
    """The batches of each step of the optimizer: step_size images, in batches of at most batch_size (and one
    more), however small these must be to fit in memory.
    """
    return [in_training_parts(step, batch_size) for step in in_training_parts(positions, step_size)]


def own_batches(steps: Sequence[Sequence[np.ndarray]]) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """The batches of an epoch that this process computes, and where in the epoch each stands: all, or of
    several processes its share of every step. All have as many batches, those without a share empty ones.
    """
    own, first = [], 0
    for step, batches in enumerate(steps):
        sizes = tuple(map(len, batches))
        place = {"step": step, "num_steps": len(steps), "step_size": sum(sizes), "first": first}
        parts = [(first + i, batches[i]) for i in ranks.share(len(batches))]
        most = -(-len(batches) // ranks.count())
        parts += [(first, np.empty(0, np.int64))] * (most - len(parts))
        for number, part in parts:
            ends = {"ends_step": number == parts[-1][0], "ends_epoch": False}
            own.append((part, place | {"sizes": sizes, "number": number} | ends))
        first += len(batches)
    if own:
        own[-1][1]["ends_epoch"] = True
    return own


def shuffle(table: pd.DataFrame, epoch: int, rng: np.random.Generator) -> np.ndarray:
    """Every position once, in a new order."""
    return rng.permutation(len(table))


def balanced(table: pd.DataFrame, epoch: int, rng: np.random.Generator) -> np.ndarray:
    """As many draws as images, each class (column `label`) equally likely."""
    counts = table["label"].map(table["label"].value_counts()).to_numpy(dtype=float)
    return rng.choice(len(table), size=len(table), p=(1 / counts) / (1 / counts).sum())


def windows(table: pd.DataFrame, epoch: int, rng: np.random.Generator) -> np.ndarray:
    """Every position once, shuffled within windows of WINDOW blocks: for images or features larger than
    memory. The disk reads whole blocks one behind the other, in place of single images here and there.

    The price: a batch is drawn from WINDOW * BLOCK images, and not from all. Blocks come in a new order each
    epoch, so windows differ; but neighbours in the table (sorted by id) are seen near each other. Where ids
    tell the class, batches are less mixed: shuffle what you can afford. tf.data's shuffle buffer, WebDataset
    and FFCV's QUASI_RANDOM order (Leclerc et al. 2023, arXiv:2306.12517) make the same trade.
    """
    blocks = in_parts(np.arange(len(table)), BLOCK)
    order = rng.permutation(len(blocks))
    mixed = [np.concatenate([blocks[number] for number in window]) for window in in_parts(order, WINDOW)]
    return np.concatenate([rng.permutation(positions) for positions in mixed])


SAMPLERS = {
    "shuffle": shuffle,
    "windows": windows,
    "balanced": balanced,
}  # add yours: (table, epoch, rng) -> positions, a word here
