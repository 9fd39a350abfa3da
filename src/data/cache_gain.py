"""Whether the trunk's cache pays. Work is counted for that, not timed: the same run must always go the same
way, or its last digits would differ.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

READ_GB = 1.0  # a second, of an array that does not lie in memory: a common SSD
# seconds for a pixel of an augmented picture, on one core: 1.7 ms at 288 px, of 1 to 2.3 that were measured
DRAW_SECONDS = 2e-8


class Work(NamedTuple):
    """What an image costs in the trunk."""

    operations: float  # of convolutions and matrix products, two for a multiplication with its addition
    values: float  # that these put out


def count_work(trunk: nn.Module, images: Tensor) -> tuple[Tensor, Work]:
    """(output of the trunk for these images (B, ...), the work of one of them)."""
    values = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal values
        values += output.numel()

    layers = [module for module in trunk.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as operations:
            output = trunk(images)
    finally:
        for hook in hooks:
            hook.remove()
    return output, Work(operations.get_total_flops() / len(images), values / len(images))


def trunk_seconds(work: Work, device: str) -> float:
    """Seconds that the trunk takes for an image; only the order of size matters.

    CPU: 1e11 operations a second, what convolutions reach on two cores.

    GPU: a network of depthwise convolutions computes little with each value and waits for the memory, so
    values count beside operations. Both rates were fitted to timm's table of inference in half precision on
    an RTX 3090 (results/benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv): 7.1e13 operations and 7.3e10
    values a second fit lite0 and resnet34, and are within a factor of two of what twelve networks took, from
    resnet18 to Swin. A T4 is taken as three times as slow: by its data sheet it has 320 of the 936 GB/s.
    """
    if device == "cpu":
        return work.operations / 1e11
    return 3 * (work.operations / 7.1e13 + work.values / 7.3e10)


def saves_time(
    *, trunk: float, read: float, draw: float, num_views: int, num_drawn: int, passes: int
) -> bool:
    """Whether it is quicker to run the trunk once per view, and to write and read its output, than to run it
    in each pass over the images.

    trunk, read, draw: seconds for an image, of the trunk, of reading or writing what it puts out, of drawing
    an augmented picture. num_drawn: of the views, those that are drawn.
    """
    cached = num_views * (trunk + read) + num_drawn * draw + passes * read
    return cached < passes * (trunk + draw * num_drawn / num_views)
