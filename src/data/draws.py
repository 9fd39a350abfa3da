"""Random numbers for the images of a batch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from src.run.seeds import counted


class Draws:
    """Each image's numbers come from its own seed: they are the same in any batch, process and order, and
    disturb no other generator.
    """

    def __init__(self, seeds: np.ndarray) -> None:
        self.seeds, self.number = seeds, 0  # (B,) uint64

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, rows: slice) -> "Draws":
        """Those of some of the images, which go on from here by themselves."""
        some = Draws(self.seeds[rows])
        some.number = self.number
        return some

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B,) float32, a new number for each image at each call."""
        bits = counted(self.seeds, np.uint64(self.number))
        self.number += 1
        share = (bits >> np.uint64(11)).astype(np.float64) / 2**53  # in [0, 1)
        return torch.from_numpy(low + (high - low) * share).float()

    def chance(self, probability: float) -> Tensor:
        """(B,) bool, True with this probability."""
        return self.uniform() < probability

    def integers(self, end: int) -> Tensor:
        """(B,) int64 of 0 .. end - 1."""
        return (self.uniform() * end).long().clamp(max=end - 1)


Transform = Callable[[Tensor, Draws], Tensor]
