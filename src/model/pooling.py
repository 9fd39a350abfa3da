"""Pooling: a feature map (B, C, h, w) -> features (B, C)."""

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """Generalised mean pooling, (B, C, h, w) -> (B, C): p = 1 is the mean, a large p nears the maximum.
    Radenovic et al. 2018, arXiv:1711.02512.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)
