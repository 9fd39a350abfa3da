"""Heads that see the targets in training, and cosines."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from src.config import Config, resolve
from src.model import heads
from src.model.classifier import build
from src.model.heads import HEADS

TINY = resolve(Config(backbone="test_resnet", pretrained=False, trainable="head", image_size=32))
NO_EXTRA = torch.zeros(4, 0)


def images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)


def test_a_head_that_asks_for_the_targets_gets_them_and_another_one_does_not(monkeypatch):
    class Seeing(nn.Linear):
        def forward(self, features, extra, targets=None):
            self.seen = targets
            return super().forward(features)

    monkeypatch.setitem(HEADS, "seeing", lambda shape, outputs, config, extra=0: Seeing(shape[0], outputs))
    model, target = build(replace(TINY, head="seeing"), 3), torch.eye(3)[[0, 1, 2, 0]]
    assert model(images(), NO_EXTRA).shape == (4, 3) and model.head.seen is None
    model(images(), NO_EXTRA, target)
    assert model.head.seen is target
    build(TINY, 3)(images(), NO_EXTRA, target)  # a linear head takes two arguments


def test_the_margin_is_added_to_the_angle_of_the_true_class_alone():
    head = HEADS["arcface"]((8,), 3, TINY).eval()
    features, target = torch.randn(4, 8), torch.eye(3)[[0, 1, 2, 0]]
    plain, harder = head(features, NO_EXTRA), head(features, NO_EXTRA, target)
    angles = [(logits / head.scale).clamp(-1, 1).acos() for logits in (plain, harder)]
    assert torch.allclose(angles[1] - angles[0], 0.3 * target, atol=1e-3)
    assert plain.abs().max() <= head.scale
    longer = head(5 * features, NO_EXTRA)
    assert torch.allclose(plain, longer, atol=1e-5)  # the length of a feature vector does not count


def test_the_nearest_of_a_class_s_centres_counts():
    head = HEADS["subcentre_arcface"]((8,), 2, TINY).eval()
    features = torch.randn(4, 8)
    directions = nn.functional.normalize(head.weight, dim=1).reshape(3, 2, 8)
    cosines = nn.functional.normalize(features, dim=1) @ directions.transpose(1, 2)  # (3, 4, 2)
    assert torch.allclose(head(features, NO_EXTRA), head.scale * cosines.amax(dim=0), atol=1e-5)


@pytest.mark.parametrize("name", sorted({"cosine"} | heads.MARGINS))
def test_an_image_that_lies_on_its_direction_has_finite_gradients(name):
    head = HEADS[name]((8,), 2, TINY)
    features = head.weight.detach()[:2].clone().requires_grad_()  # angle 0, where acos has no slope
    head(features, torch.zeros(2, 0), torch.eye(2)).sum().backward()
    assert torch.isfinite(features.grad).all() and torch.isfinite(head.weight.grad).all()
