"""Losses: (logits (B, T), dense targets (B, T)) -> one value per image (B,). Dense targets let mixed,
smoothed and soft labels work with each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)


def focal(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross entropy that discounts easy images. Lin et al. 2017, arXiv:1708.02002."""
    log_p = logits.log_softmax(dim=1)
    return -(targets * (1 - log_p.exp()) ** gamma * log_p).sum(dim=1)


def bi_tempered(logits: Tensor, targets: Tensor, t1: float = 0.8, t2: float = 1.2) -> Tensor:
    """Cross entropy for wrong labels: t1 < 1 bounds the loss of one image, t2 > 1 gives the softmax heavy
    tails. Amid et al. 2019, arXiv:1906.03361. Predictions are the plain softmax of these logits: the same
    order of the classes, other probabilities.
    """
    p = tempered_softmax(logits, t2)
    surprise = targets * (tempered_log(targets, t1) - tempered_log(p, t1))
    return (surprise - (targets ** (2 - t1) - p ** (2 - t1)) / (2 - t1)).sum(dim=1)


def tempered_log(x: Tensor, t: float) -> Tensor:
    """The logarithm as t nears 1; for t < 1 it is finite at 0."""
    return ((x + 1e-10) ** (1 - t) - 1) / (1 - t)


def tempered_softmax(logits: Tensor, t: float, iterations: int = 20) -> Tensor:
    """Probabilities (B, T) that fall with a power of the logits in place of an exponential; t > 1. What makes
    them sum to 1 is found as the fixed point of the paper's algorithm 1.
    """

    def power(x: Tensor) -> Tensor:  # exp(x) as t nears 1
        return (1 + (1 - t) * x) ** (1 / (1 - t))

    centred = logits - logits.max(dim=1, keepdim=True).values.detach()
    scaled = centred
    for _ in range(iterations):
        scaled = centred * power(scaled).sum(dim=1, keepdim=True) ** (1 - t)
    total = power(scaled).sum(dim=1, keepdim=True)
    return power(centred - (total ** (t - 1) - 1) / (t - 1))


def asymmetric(
    logits: Tensor, targets: Tensor, gamma_yes: float = 1.0, gamma_no: float = 4.0, margin: float = 0.05
) -> Tensor:
    """Binary cross entropy for many labels that are mostly absent: easy noes are discounted more than easy
    yeses, and those below a probability of `margin` count nothing. Ridnik et al. 2021, arXiv:2009.14119.
    """
    p = logits.sigmoid()
    p_no = (p - margin).clamp(min=0)
    yes = (1 - p) ** gamma_yes * F.logsigmoid(logits)
    no = p_no**gamma_no * torch.log1p(-p_no.clamp(max=1 - 1e-6))
    return -(targets * yes + (1 - targets) * no).mean(dim=1)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """One yes or no per column, averaged over the columns."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)


def mse(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - targets).square().mean(dim=1)


def smooth_l1(logits: Tensor, targets: Tensor) -> Tensor:
    """Square near zero, absolute beyond 1: outliers pull less. Girshick 2015, arXiv:1504.08083."""
    return F.smooth_l1_loss(logits, targets, reduction="none").mean(dim=1)


ONE_CLASS = {
    "cross_entropy",
    "focal",
    "bi_tempered",
}  # a softmax over the columns: of exactly one class per image
LOSSES = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "bi_tempered": bi_tempered,
    "binary_cross_entropy": binary_cross_entropy,
    "asymmetric": asymmetric,
    "mse": mse,
    "smooth_l1": smooth_l1,
}
# add yours: a function above, a word here
