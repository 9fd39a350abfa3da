"""Heads: maker (feature_shape, num_outputs, config, num_extra) -> module (features (B, *feature_shape), extra
(B, E)) -> logits (B, num_outputs).
"""

import math

import torch
from torch import Tensor, nn

from src.config import Config

Shape = tuple[int, ...]


class Joined(nn.Module):
    """`layers` on the flattened features with the extra columns beside them."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor, extra: Tensor) -> Tensor:
        return self.layers(torch.cat([features.flatten(1), extra], dim=1))  # of (B, prod(feature_shape) + E)


def linear(feature_shape: Shape, num_outputs: int, config: Config, num_extra: int = 0) -> nn.Module:
    """Dropout and one linear layer."""
    size = math.prod(feature_shape) + num_extra
    return Joined(nn.Sequential(nn.Dropout(config.drop_rate), nn.Linear(size, num_outputs)))


def mlp(
    feature_shape: Shape, num_outputs: int, config: Config, num_extra: int = 0, width: int = 512
) -> nn.Module:
    """One hidden layer, for extra columns that interact with the picture."""
    size = math.prod(feature_shape) + num_extra
    hidden = [nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU()]
    return Joined(nn.Sequential(*hidden, nn.Dropout(config.drop_rate), nn.Linear(width, num_outputs)))


HEADS = {"linear": linear, "mlp": mlp}  # add yours: a function above, a word here
