"""Heads: maker (feature_shape, num_outputs, config, num_extra) -> module (features (B, *feature_shape), extra
(B, E)) -> logits (B, num_outputs).

A module whose forward has a third argument `targets=None` gets the dense targets (B, num_outputs) in
training, mixed and smoothed ones as they are, and None where it predicts.
"""

import math

import torch
import torch.nn.functional as F
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


class Cosine(nn.Module):
    """`scale` times the cosine between the features and a direction per class, the nearest of `centres` ones.

    margin: radians that are added to the angle of the true class in training, so that it must be nearer than
    the others by that much. Deng et al. 2019, arXiv:1801.07698 (ArcFace); with several centres per class Deng
    et al. 2020 (sub-centre ArcFace, ECCV): images with a wrong label gather at a centre of their own.
    """

    def __init__(
        self, size: int, num_outputs: int, drop_rate: float, centres: int = 1, margin: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout, self.scale, self.margin = nn.Dropout(drop_rate), 16.0, margin
        self.centres, self.weight = centres, nn.Parameter(torch.randn(centres * num_outputs, size))

    def forward(self, features: Tensor, extra: Tensor, targets: Tensor | None = None) -> Tensor:
        features = self.dropout(torch.cat([features.flatten(1), extra], dim=1))
        cosine = F.normalize(features, dim=1) @ F.normalize(self.weight, dim=1).T
        cosine = cosine.unflatten(1, (self.centres, -1)).amax(dim=1)  # (B, T)
        if self.margin and targets is not None:
            angle = cosine.float().clamp(-1 + 1e-6, 1 - 1e-6).acos()
            cosine = (angle + self.margin * targets).clamp(max=math.pi).cos()
        return self.scale * cosine


def cosine(feature_shape: Shape, num_outputs: int, config: Config, num_extra: int = 0) -> nn.Module:
    """Cosines in place of products: the length of a feature vector does not count."""
    return Cosine(math.prod(feature_shape) + num_extra, num_outputs, config.drop_rate)


def arcface(feature_shape: Shape, num_outputs: int, config: Config, num_extra: int = 0) -> nn.Module:
    """Cosines with a margin in training, for many classes that look alike."""
    return Cosine(math.prod(feature_shape) + num_extra, num_outputs, config.drop_rate, margin=0.3)


def subcentre_arcface(
    feature_shape: Shape, num_outputs: int, config: Config, num_extra: int = 0
) -> nn.Module:
    """The same with three centres per class, for classes of several kinds and wrong labels."""
    size = math.prod(feature_shape) + num_extra
    return Cosine(size, num_outputs, config.drop_rate, centres=3, margin=0.3)


MARGINS = {"arcface", "subcentre_arcface"}  # between classes: of exactly one per image
HEADS = {
    "linear": linear,
    "mlp": mlp,
    "cosine": cosine,
    "arcface": arcface,
    "subcentre_arcface": subcentre_arcface,
}  # add yours: a function above, a word here
