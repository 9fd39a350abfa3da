"""Where the trunk's cache pays: counted work, against figures that others measured."""

import pytest
import timm
import torch
from torch import nn

from src.data.cache_gain import Work, count_work, saves_time, trunk_seconds

# of timm's table for an RTX 3090 in half precision: 1e9 multiplications, 1e6 values, images a second
MEASURED = {
    "resnet18": (1.82, 2.48, 11189),
    "resnet34": (3.67, 3.74, 6530),
    "resnet50, 288 px": (6.8, 18.37, 2212),
    "vgg13_bn": (11.33, 12.25, 1891),
    "densenet121": (2.87, 6.9, 3032),
    "efficientnet_lite0": (0.4, 6.74, 9657),
    "efficientnet_b0": (0.4, 6.75, 8241),
    "efficientnet_b3, 288 px": (1.63, 21.49, 2054),
    "mobilenetv4_conv_large, 320 px": (4.47, 18.97, 2874),
    "convnext_tiny": (4.47, 13.44, 3120),
    "vit_small_patch16_224": (4.61, 11.95, 4617),
    "swin_tiny": (4.51, 17.06, 2009),
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_gpus_seconds_are_within_a_factor_of_two_of_what_was_measured(name):
    multiplications, values, images = MEASURED[name]
    seconds = trunk_seconds(Work(2e9 * multiplications, 1e6 * values), "cuda") / 3  # a T4 by the 3090
    assert 0.5 < seconds * images < 2


def test_the_work_of_an_image_is_counted_as_timm_does():
    model = timm.create_model("efficientnet_lite0").eval()
    output, work = count_work(model, torch.zeros(2, 3, 224, 224))
    assert output.shape == (2, 1000)
    assert work.operations == pytest.approx(2 * 0.4e9, rel=0.05)
    assert work.values == pytest.approx(6.74e6, rel=0.01)
    assert not any(module._forward_hooks for module in model.modules())


def test_depthwise_convolutions_cost_a_gpu_their_values_and_a_cpu_their_operations():
    image = torch.zeros(1, 64, 32, 32)
    _, dense = count_work(nn.Conv2d(64, 64, 3, padding=1), image)
    _, depthwise = count_work(nn.Conv2d(64, 64, 3, padding=1, groups=64), image)
    assert dense.operations == 64 * depthwise.operations and dense.values == depthwise.values
    assert trunk_seconds(dense, "cpu") == pytest.approx(64 * trunk_seconds(depthwise, "cpu"))
    assert trunk_seconds(dense, "cuda") < 3 * trunk_seconds(depthwise, "cuda")


def test_the_cache_pays_where_the_trunk_or_the_drawing_takes_longer_than_reading():
    how = {"num_views": 4, "num_drawn": 3, "passes": 40}
    assert saves_time(trunk=0.01, read=1e-4, draw=0.0, **how)
    assert not saves_time(trunk=1e-5, read=1e-4, draw=0.0, **how)
    assert saves_time(trunk=1e-5, read=1e-4, draw=0.004, **how)  # pictures are drawn three times, not 40
    assert not saves_time(trunk=0.01, read=1e-4, draw=0.004, num_views=4, num_drawn=3, passes=4)
