"""Depthwise convolutions on small maps: the outputs and gradients of torch."""

import copy

import pytest
import torch
from torch import nn

from src.model.depthwise import SmallMapConv2d, quicken


def depthwise(kernel: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(8, 8, kernel, padding=kernel // 2, groups=8, bias=bias)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 4)])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_output_and_gradients_are_those_of_torch(shape: tuple[int, int], kernel: int) -> None:
    plain = depthwise(kernel, bias=True)
    quick = copy.deepcopy(plain)
    quicken(nn.Sequential(quick))
    assert type(quick) is SmallMapConv2d
    image = torch.randn(4, 8, *shape).contiguous(memory_format=torch.channels_last)
    images = [image.clone().requires_grad_(), image.clone().requires_grad_()]
    outputs = [plain(images[0]), quick(images[1])]
    assert torch.equal(*outputs)
    for output in outputs:
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    torch.testing.assert_close(images[1].grad, images[0].grad)
    torch.testing.assert_close(quick.weight.grad, plain.weight.grad)
    torch.testing.assert_close(quick.bias.grad, plain.bias.grad)


def test_a_valid_convolution_has_the_same_gradient() -> None:
    plain = nn.Conv2d(8, 8, (5, 3), padding=(2, 0), groups=8)
    quick = copy.deepcopy(plain)
    quick.__class__ = SmallMapConv2d
    image = torch.randn(2, 8, 2, 2)
    padded = torch.nn.functional.pad(image, (1, 1))  # 4 columns: as large as no kernel, so the plain way
    for conv in (plain, quick):
        conv(padded).square().sum().backward()
    torch.testing.assert_close(quick.weight.grad, plain.weight.grad)


def test_large_maps_frozen_and_strided_convolutions_stay_with_torch() -> None:
    frozen, strided, grouped = (
        depthwise(5),
        nn.Conv2d(8, 8, 5, stride=2, groups=8),
        nn.Conv2d(8, 8, 5, groups=2),
    )
    frozen.weight.requires_grad_(False)
    for conv in (frozen, strided, grouped):
        quicken(conv)
        assert type(conv) is nn.Conv2d
    large = depthwise(5)
    quicken(large)
    output = large(torch.randn(2, 8, 9, 9, requires_grad=True))
    assert "Convolution" in output.grad_fn.name()


def test_names_weights_and_copies_stay() -> None:
    conv = depthwise(5)
    before = copy.deepcopy(conv.state_dict())
    quicken(conv)
    assert conv.state_dict().keys() == before.keys()
    assert type(copy.deepcopy(conv)) is SmallMapConv2d
