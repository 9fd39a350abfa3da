"""Sharpness-aware minimisation: the gradient of a step is taken where the loss is highest nearby. Foret et
al. 2021, arXiv:2010.01412.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def at_highest_loss(
    parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor], radius: float
) -> Iterator[None]:
    """Inside the with block the weights are `radius` further along their gradient, and have none; a second
    backward pass gives the one for the step. Afterwards they, and the buffers (BatchNorm's statistics, which
    that pass would move again), are as before, bit for bit.

    A scaled gradient (fp16) points the same way; where it overflows, the weights stay and the scaler skips
    the step.
    """
    learning = [p for p in parameters if p.grad is not None]
    with torch.no_grad():
        weights, statistics = [p.clone() for p in learning], [buffer.clone() for buffer in buffers]
        norm = torch.stack([p.grad.norm() for p in learning]).norm()
        if torch.isfinite(norm) and norm > 0:
            for p in learning:
                p.add_(p.grad * (radius / norm))
        for p in learning:
            p.grad = None
    yield
    with torch.no_grad():
        for value, before in zip([*learning, *buffers], [*weights, *statistics]):
            value.copy_(before)
