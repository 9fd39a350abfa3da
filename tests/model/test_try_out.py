"""A head or a backbone of one's own that can't be used ends in one line, and what that line says to write,
works when it is written.
"""

import importlib.util
import re

import pytest

from src.config import Config, resolve
from src.model import backbone, heads
from src.model.classifier import build

HEADER = """import math
import torch
from torch import nn
from src.model.heads import Joined


"""
TINY = resolve(Config(backbone="test_resnet", pretrained=False, trainable="head", image_size=32, head="mine"))
FLAT, MAPS = {"pool_type": "auto"}, {"pool_type": "none", "image_size": 64}


def make_class(init: str, body: str, forward: str = "features, extra") -> str:
    return f"""class Head(nn.Module):
    def __init__(self, size, num_outputs):
        super().__init__()
        {init}

    def forward(self, {forward}):
        {body}


def mine(feature_shape, num_outputs, config, num_extra):
    return Head(math.prod(feature_shape), num_outputs)
"""


class Workshop:
    """A file of one's own, written and loaded anew for each try."""

    def __init__(self, folder, monkeypatch) -> None:
        self.folder, self.monkeypatch, self.number = folder, monkeypatch, 0

    def load(self, source: str):
        self.number += 1
        path = self.folder / f"mine{self.number}.py"
        path.write_text(HEADER + source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.mine

    def head(self, source: str, *, num_extra: int = 0, **settings):
        self.monkeypatch.setitem(heads.HEADS, "mine", self.load(source))
        return build(
            resolve(
                Config(
                    **{"backbone": "test_resnet", "pretrained": False, "image_size": 32, "head": "mine"}
                    | settings
                )
            ),
            5,
            num_extra,
        )

    def backbone(self, source: str):
        self.monkeypatch.setitem(backbone.BACKBONES, "mine", self.load(source))
        return build(resolve(Config(backbone="mine", pretrained=False, image_size=32)), 5)


@pytest.fixture
def workshop(tmp_path, monkeypatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


def message_of(call, *args, **how) -> str:
    with pytest.raises(ValueError) as caught:
        call(*args, **how)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700, str(caught.value)
    return str(caught.value)


def code_in(message: str) -> str:
    """What it says to write."""
    code = re.search(r"write ((?:def|nn[.]).*?\)?)(?: in its place| \(|$)", message).group(1)
    compile(code + " pass" * code.endswith(":"), "message", "exec")
    return code


RETURN = "return Joined(nn.Linear(math.prod(feature_shape), num_outputs))"
MAKERS = {
    "num_extra is missing": f"def mine(feature_shape, num_outputs, config):\n    {RETURN}\n",
    "another order": f"def mine(config, feature_shape, num_outputs, num_extra=0):\n    {RETURN}\n",
    "one argument": f"def mine(config):\n    feature_shape, num_outputs = (96,), 5\n    {RETURN.replace('math.prod(feature_shape)', '96')}\n",
}


@pytest.mark.parametrize("source", MAKERS.values(), ids=MAKERS)
def test_a_makers_signature_is_said_and_works_as_typed(workshop, source):
    message = message_of(workshop.head, source)
    assert message.startswith("head 'mine' (") and "mine1.py:7) takes (" in message
    code = code_in(message)
    assert code == "def mine(feature_shape, num_outputs, config, num_extra):"
    assert workshop.head(source.replace(source.splitlines()[0], code))


def test_a_forward_without_the_extra_columns_is_told_its_signature(workshop):
    source = make_class(
        "self.fc = nn.Linear(size, num_outputs)", "return self.fc(features)", forward="features"
    )
    code = code_in(message_of(workshop.head, source))
    assert code == "def forward(self, features, extra):" and workshop.head(
        source.replace("def forward(self, features):", code)
    )
    swapped = make_class(
        "self.fc = nn.Linear(size, num_outputs)", "return self.fc(features)", forward="extra, features"
    )
    assert "in another order: write def forward(self, features, extra):" in message_of(workshop.head, swapped)


def test_a_head_of_plain_layers_goes_into_joined(workshop):
    source = "def mine(feature_shape, num_outputs, config, num_extra):\n    return nn.Sequential(nn.Linear(math.prod(feature_shape) + num_extra, num_outputs))\n"
    message = message_of(workshop.head, source, num_extra=2)
    assert "gives a plain nn.Sequential" in message and "put it into Joined(...)" in message
    assert workshop.head(source.replace("return ", "return Joined(").replace("))\n", ")))\n"), num_extra=2)


@pytest.mark.parametrize("settings", [FLAT, MAPS], ids=["flat features", "feature maps"])
@pytest.mark.parametrize("layer", ["nn.Linear(7, num_outputs)", "nn.Linear(size, num_outputs)"])
def test_the_linear_layer_that_fits_works_as_typed(workshop, layer, settings):
    source = make_class(f"self.fc = {layer}", "return self.fc(features)")
    if layer == "nn.Linear(size, num_outputs)" and settings is FLAT:
        assert workshop.head(source, **settings)
        return
    message = message_of(workshop.head, source, **settings)
    code = code_in(message)
    assert (
        "breaks at layer fc = Linear(" in message
        and ("nn.Flatten()" in code) == (settings is MAPS)
        and "in_features=" in code
    )
    assert workshop.head(source.replace(layer, code), **settings)


def test_a_linear_layer_after_joined_is_counted_with_the_extra_columns(workshop):
    source = "def mine(feature_shape, num_outputs, config, num_extra):\n    return Joined(nn.Sequential(nn.Linear(math.prod(feature_shape), num_outputs)))\n"
    code = code_in(message_of(workshop.head, source, num_extra=3))
    assert workshop.head(
        source.replace("nn.Linear(math.prod(feature_shape), num_outputs)", code), num_extra=3
    )


def test_a_head_that_forgets_to_flatten_maps_of_the_right_width_works_as_typed(workshop):
    """A Linear over the last side of a map runs, and gives logits of a wrong shape."""
    source = make_class("self.fc = nn.Linear(2, num_outputs)", "return self.fc(features)")
    message = message_of(workshop.head, source, **MAPS)
    assert "gives (2, " in message and workshop.head(
        source.replace("nn.Linear(2, num_outputs)", code_in(message)), **MAPS
    )


WRONG = {
    "a tuple": (
        make_class("self.fc = nn.Linear(size, num_outputs)", "return self.fc(features), features"),
        "must return one tensor, and returns a tuple of 2",
    ),
    "no return": (
        "def mine(feature_shape, num_outputs, config, num_extra):\n    Joined(nn.Linear(3, 4))\n",
        "gives None: is its `return` missing?",
    ),
    "another number of outputs": (
        make_class("self.fc = nn.Linear(size, 7)", "return self.fc(features)"),
        "gives (2, 7) for features .*it must give (2, 5): its last layer must have num_outputs, here 5, outputs",
    ),
    "the batch changes": (
        make_class(
            "self.fc = nn.Linear(size // 2, num_outputs)",
            "return self.fc(features.reshape(-1, features.shape[1] // 2))",
        ),
        "batch first; for 2 images it gave (4, 5): flatten with x.flatten(1), not x.view(-1, n)",
    ),
    "an error in the maker": (
        "def mine(feature_shape, num_outputs, config, num_extra):\n    return Joined(nn.Linear(config.width, num_outputs))\n",
        "head 'mine' can't be made by mine(feature_shape=(.*AttributeError: 'Config' object has no attribute 'width', .*mine1.py:8",
    ),
    "an error in forward": (
        make_class("self.fc = nn.Linear(size, num_outputs)", "return self.fc(features).view(2, 99)"),
        "breaks in forward, which was given (2, .*view size.*|breaks in forward.*shape '[2, 99]' is invalid.*mine1.py:13",
    ),
}


@pytest.mark.parametrize("source, expected", WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_head_is_said_in_one_line(workshop, source, expected):
    message = message_of(workshop.head, source)
    assert any(re.search(re.escape(part).replace(r"\.\*", ".*"), message) for part in expected.split("|")), (
        message
    )


BACKBONES = {
    "no config": ("def mine():\n    return nn.Conv2d(3, 8, 3)\n", "takes (): write def mine(config):"),
    "a class without config": (
        "class mine(nn.Conv2d):\n    def __init__(self):\n        super().__init__(3, 8, 3)\n",
        "takes (): write def __init__(self, config):",
    ),
    "no return": ("def mine(config):\n    nn.Conv2d(3, 8, 3)\n", "must give an nn.Module, and gives None"),
    "grey images": (
        "def mine(config):\n    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten())\n",
        "breaks at layer 0 = Conv2d(1, 8.*in_channels=3 would fit",
    ),
    "a norm of another width": (
        "def mine(config):\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(4))\n",
        "num_features=8 would fit",
    ),
    "a name that is not there": (
        "def mine(config):\n    return nn.Conv3x3(3, 8)\n",
        "backbone 'mine' can't be made: AttributeError.*mine1.py:8",
    ),
    "a list of maps": (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = nn.Conv2d(3, 8, 3)\n\n"
        "    def forward(self, x):\n        return [self.a(x), x]\n\n\ndef mine(config):\n    return Net()\n",
        "must return one tensor, and returns a list of 2",
    ),
    "a finished layer is not blamed": (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = nn.Conv2d(3, 8, 3)\n\n"
        "    def forward(self, x):\n        return self.a(x).view(2, 3)\n\n\ndef mine(config):\n    return Net()\n",
        "breaks in forward, which was given (2, 3, 32, 32) (RuntimeError.*mine1.py:13",
    ),
}


@pytest.mark.parametrize("source, expected", BACKBONES.values(), ids=BACKBONES)
def test_what_is_wrong_with_a_backbone_is_said_in_one_line(workshop, source, expected):
    message = message_of(workshop.backbone, source)
    assert re.search(re.escape(expected).replace(r"\.\*", ".*"), message), message


def test_a_head_with_a_name_of_the_backbone_is_refused_since_a_checkpoint_would_hold_one_of_the_two(workshop):
    """timm's convnext has a norm in its head, which stays."""
    source = make_class(
        "self.norm, self.fc = nn.LayerNorm(size), nn.Linear(size, num_outputs)",
        "return self.fc(self.norm(features))",
    )
    message = message_of(workshop.head, source, backbone="test_convnext", trainable="all")
    assert "has a part by the name of one of test_convnext, head.norm.bias: give it another name" in message
    model = workshop.head(
        source.replace("self.norm", "self.scale"), backbone="test_convnext", trainable="all"
    )
    assert len(model.learning()) == len({name for name, _, _ in model.learning()}) == len(model.learned())


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"pool_type": "avgg"}, "timm can't make 'test_resnet' with pool_type=avgg, .*Invalid pool type"),
        (
            {"backbone": "vgg19", "drop_path_rate": 0.1},
            "timm can't make 'vgg19' with .*drop_path_rate=0.1.*unexpected keyword argument 'drop_path_rate'",
        ),
        (
            {"backbone": "test_vit", "image_size": 50},
            "breaks in forward, which was given .2, 3, 50, 50.*divisible by patch size",
        ),
        (
            {"backbone": "gem:test_resnet", "pool_type": "avg"},
            "pool_type=avg has no effect with backbone=gem:test_resnet.*set pool_type=auto",
        ),
    ],
)
def test_a_setting_that_a_timm_model_does_not_take_is_named(workshop, settings, words):
    assert re.search(words, message_of(workshop.head, MAKERS["num_extra is missing"], **settings))
