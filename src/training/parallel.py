"""A step of the optimizer whose batches several processes have computed: it is that of one process, but for
the order of sums. The gradients are added up when all are there; that takes the time it takes, for it begins
after the backward pass.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from src.run import ranks


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by the sum over all processes. A parameter without one, as in a process that had
    no image, counts as 0; where no process has one, it stays without.
    """
    ranks.agree()
    if ranks.count() == 1:
        return
    has_gradient = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
    ranks.reduce(has_gradient, "MAX")
    learning = [p for p, has in zip(parameters, has_gradient.tolist()) if has]
    for p in learning:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    ranks.add_up([p.grad for p in learning])


class Statistics:
    """The buffers that a forward pass moves, as BatchNorm's running mean. Each process moves its own, so
    after a step all take the mean of the changes, by the number of images.
    """

    def __init__(self, buffers: Sequence[Tensor]) -> None:
        self.buffers = [b for b in buffers if b.is_floating_point()] if ranks.count() > 1 else []
        self.before = [buffer.clone() for buffer in self.buffers]

    def average(self, share: float) -> None:
        """share: of the step's images, those of this process."""
        changes = [(now - before).mul_(share) for now, before in zip(self.buffers, self.before)]
        ranks.add_up(changes)
        for buffer, before, change in zip(self.buffers, self.before, changes):
            # a constant may be infinite, and infinity less itself is NaN
            before.add_(change.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf))
            buffer.copy_(before)


def losses_of_step(own: dict[int, float], first: int, number: int) -> np.ndarray:
    """The mean loss (number,) of each batch of a step, of which `first` is the first. own: those that this
    process has computed, by batch.
    """
    losses = np.zeros(number)
    for batch, loss in own.items():
        losses[batch - first] = loss
    return ranks.total(losses)
