"""Losses: (logits (B, T), dense targets (B, T)) -> one value per image (B,). Dense targets let mixed,
smoothed and soft labels work with each.
"""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)


def focal(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross entropy that discounts easy images. Lin et al. 2017, arXiv:1708.02002."""
    log_p = logits.log_softmax(dim=1)
    return -(targets * (1 - log_p.exp()) ** gamma * log_p).sum(dim=1)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """One yes or no per column, averaged over the columns."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)


def mse(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - targets).square().mean(dim=1)


def smooth_l1(logits: Tensor, targets: Tensor) -> Tensor:
    """Square near zero, absolute beyond 1: outliers pull less. Girshick 2015, arXiv:1504.08083."""
    return F.smooth_l1_loss(logits, targets, reduction="none").mean(dim=1)


ONE_CLASS = {"cross_entropy", "focal"}  # a softmax over the columns: of exactly one class per image
LOSSES = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
    "smooth_l1": smooth_l1,
}
# add yours: a function above, a word here
