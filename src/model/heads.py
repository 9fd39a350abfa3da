"""Heads: maker (feature_shape, num_outputs, config, num_extra) -> module (features (B, *feature_shape), extra
(B, E)) -> logits (B, num_outputs).
"""

import math

import torch
from torch import Tensor, nn

from src.config import Config


class Joined(nn.Module):
    """Features flattened, extra columns beside them, then `layers`. The Flatten that is so easily forgotten
    stands here.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor, extra: Tensor) -> Tensor:
        # (B, prod(feature_shape) + E)
        return self.layers(torch.cat([features.flatten(1), extra], dim=1))


def linear(feature_shape: tuple[int, ...], num_outputs: int, config: Config, num_extra: int = 0) -> nn.Module:
    """Dropout and one linear layer."""
    return Joined(
        nn.Sequential(
            nn.Dropout(config.drop_rate), nn.Linear(math.prod(feature_shape) + num_extra, num_outputs)
        )
    )


def mlp(
    feature_shape: tuple[int, ...], num_outputs: int, config: Config, num_extra: int = 0, width: int = 512
) -> nn.Module:
    """One hidden layer, for extra columns that interact with the picture."""
    size = math.prod(feature_shape) + num_extra
    layers = [
        nn.Linear(size, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(config.drop_rate),
        nn.Linear(width, num_outputs),
    ]
    return Joined(nn.Sequential(*layers))


HEADS = {"linear": linear, "mlp": mlp}  # add yours: a function above, a word here
