"""The cut finds the trunk from requires_grad, and the two halves are the whole, bit for bit."""

import pytest
import timm
import torch
from torch import nn

from src.model.cut import CannotCut, cut, set_mode
from src.model.trainable import set_trainable

FAMILIES = [
    "test_efficientnet",
    "test_resnet",
    "test_convnext",
    "test_vit",
    "test_byobnet",
    "test_mambaout",
    "tf_efficientnet_lite0",
    "mobilenetv4_conv_small",
    "regnety_002",
    "swin_tiny_patch4_window7_224",
    "eva02_tiny_patch14_224",
    "densenet121",
]


def make(name: str, trainable, **settings) -> nn.Module:
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0, **settings).eval()
    set_trainable(backbone, trainable)
    return backbone


@pytest.mark.parametrize("name", FAMILIES)
def test_the_halves_equal_the_whole_and_share_its_parameters(name):
    backbone = make(name, 2)
    size = backbone.pretrained_cfg["input_size"][-1]
    image = torch.randn(
        2,
        3,
        min(size, 64) if not backbone.pretrained_cfg.get("fixed_input_size") else size,
        size if backbone.pretrained_cfg.get("fixed_input_size") else min(size, 64),
    )
    # raises unless eval, training with a seed, and eval again are bit-equal
    trunk, tail, _ = cut(backbone, image)
    own = {id(p) for p in backbone.parameters() if p.requires_grad}
    assert {id(p) for p in tail.parameters() if p.requires_grad} == own
    assert not any(p.requires_grad for p in trunk.parameters())
    assert sum(p.numel() for p in trunk.parameters()) > 0, "an empty trunk saves nothing"
    assert {n for n, p in tail.named_parameters() if p.requires_grad} == {
        n for n, p in backbone.named_parameters() if p.requires_grad
    }, "names must stay timm's"


def test_dropout_and_drop_path_in_the_tail_stay_alive():
    backbone = make("test_vit", 1, drop_path_rate=0.5, proj_drop_rate=0.3)
    trunk, tail, _ = cut(backbone, torch.randn(2, 3, 160, 160))
    features = trunk(torch.randn(8, 3, 160, 160))
    set_mode(tail, True)
    torch.manual_seed(0)
    first = tail(features)
    torch.manual_seed(1)
    assert not torch.equal(first, tail(features))
    set_mode(tail, False)
    assert torch.equal(tail(features), tail(features))


class Functional(nn.Module):
    """Calls F.dropout, which a trace bakes in as it was when traced."""

    def __init__(self, where: str):
        super().__init__()
        self.first, self.second, self.where = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), where

    def forward(self, x):
        x = self.first(x)
        x = nn.functional.dropout(x, 0.5, self.training)
        x = self.second(x)
        if self.where == "control flow" and x.mean() > 0:
            x = x + 1
        return x.mean((2, 3))


def test_a_functional_dropout_becomes_one_of_the_tail():
    backbone = Functional("").eval()
    backbone.requires_grad_(False), backbone.second.requires_grad_(True)
    trunk, tail, end = cut(backbone, torch.randn(2, 3, 16, 16))
    assert end == "first"
    set_mode(tail, True)
    features = trunk(torch.randn(2, 3, 16, 16))
    assert not torch.equal(tail(features), tail(features))


def test_what_cannot_be_followed_says_why():
    backbone = Functional("control flow").eval()
    backbone.requires_grad_(False), backbone.second.requires_grad_(True)
    with pytest.raises(CannotCut, match="cannot follow"):
        cut(backbone, torch.randn(2, 3, 16, 16))


def test_attention_dropout_refuses_the_cut():
    with pytest.raises(CannotCut, match="attn_drop"):
        cut(make("test_vit", 1, attn_drop_rate=0.1), torch.randn(2, 3, 160, 160))


def test_a_wrong_cut_is_not_believed(monkeypatch):
    """B-side of the proof: halves that differ from the whole must be refused."""
    backbone = make("test_resnet", 1)
    real = torch.fx.GraphModule.__call__
    monkeypatch.setattr(torch.fx.GraphModule, "__call__", lambda self, *a: real(self, *a) + 1e-6)
    with pytest.raises(CannotCut, match="differ"):
        cut(backbone, torch.randn(2, 3, 64, 64))


def test_frozen_norms_stay_in_eval_and_learning_ones_train():
    backbone = make("test_resnet", 1)
    set_mode(backbone, True)
    for name, module in backbone.named_modules():
        own = list(module.parameters(recurse=False))
        if own and isinstance(module, nn.BatchNorm2d):
            assert module.training == own[0].requires_grad, name
