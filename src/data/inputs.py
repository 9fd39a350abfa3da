"""What all folds of a run read: decoded images, or the trunk's outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from src.competition.tables import joined
from src.config import Config
from src.data.arrays import Array
from src.data.batches import SAMPLERS, Batches, in_steps
from src.data.features import engine_of
from src.data.on_the_fly import Files
from src.data.run import Run
from src.data.training_table import FoldTable
from src.data.views import TrainingViews
from src.run import ranks
from src.run.paths import fold_name
from src.run.seeds import seed_of


@dataclass(frozen=True)
class Inputs:
    run: Run
    accelerator: Accelerator  # the device that they were made for
    arrays: Sequence[Array | Files]  # the trunk's outputs, one per view, or the decoded images alone
    is_cached: bool  # whether they are the trunk's outputs
    views: TrainingViews  # made of decoded images as they are read; not of the trunk's outputs
    on_device: Sequence[Tensor] = ()  # the arrays in the device's memory, where they have room there
    template: Any = None  # a model whose frozen backbone all folds share; None where each fold builds its own

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def engine(self) -> str:
        """What has run the trunk."""
        return engine_of(self.arrays[0])

    def forward_of(self, model: Any) -> Callable:
        """The part of the model that begins with these inputs."""
        return model.logits if self.is_cached else model.forward

    def batches(self, table: FoldTable) -> Batches:
        """The batches of a fold."""
        return Batches(
            self.arrays,
            table.rows,
            device=self.device,
            seed=self.run.config.seed,
            fold=table.fold,
            workers=self.run.machine.workers,
            transforms=None if self.is_cached else self.views,
            size=self.run.config.image_size,
            on_device=self.on_device,
        )


def largest_batch(config: Config) -> int:
    """How many images at once are tried first: the batch of the settings, or of several processes one of
    which each has its part of a step.
    """
    if ranks.count() == 1:
        return config.batch_size
    share = -(-config.batch_size * config.accumulate // ranks.count())
    num_batches = -(-share // config.batch_size)
    return min(max(-(-share // num_batches), 2), config.batch_size)  # BatchNorm can't learn from one image


def epoch_steps(run: Run, table: FoldTable, epoch: int, batch_size: int) -> list[list[np.ndarray]]:
    """The positions of each step of the optimizer in an epoch, in batches of at most batch_size: the
    sampler's order of the training part. Raises ValueError for a sampler without images.
    """
    config, frame = run.config, table.frame
    training = frame.assign(label=joined(frame, run.competition.targets)).iloc[table.training]
    rng = np.random.default_rng(seed_of(config.seed, table.fold, epoch, "order"))
    order = SAMPLERS[config.sampler](training.reset_index(drop=True), epoch, rng)
    if not len(order):
        raise ValueError(
            f"sampler={config.sampler} gives no image in epoch {epoch + 1} of {fold_name(table.fold)}:"
            " it must give at least one"
        )
    return in_steps(table.training[order], config.batch_size * config.accumulate, batch_size)
