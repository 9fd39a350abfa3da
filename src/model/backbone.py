"""Backbones: any timm model by name, or a function here. It takes normalised images (B, 3, H, W) and returns
features (B, F) or (B, C, h, w).

Your own is a function (config) -> nn.Module and a word in BACKBONES, at the end of this file. What the kit
reads of such a module:

pretrained weights
    Of a timm model inside it that from_timm(config) made: by name, from weights/NAME/ or the hub, or
    weights=FILE. Of your own layers: call weights.load_into(layers, FILE) in the function, `if
    config.pretrained`. A file with all names of the module (weights=FILE, or weights/WORD/model.safetensors)
    is loaded whole, with no code for it.
mean and std
    Those of the timm models inside, or of pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}.
layer groups
    Those of the timm models inside, several side by side and aligned at their ends; without one, the module's
    children. Or layer_groups = [["stem"], ["stage1", "stage2"]], beginnings of parameter names from the image
    to the output. Parameters in no group have no pretrained value: like the head they always learn, at lr.
learning rates
    By the name after the colon: gem:convnext_tiny learns at the rates of a convnext, a name without one at a
    cnn's.
"""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.config import Config, family
from src.model import weights
from src.model.pooling import GeM
from src.model.trainable import is_timm, timm_inside
from src.model.try_out import check_module, check_parameters, explain, name_of, place_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: for modules without pretrained_cfg


class Inception(nn.Module):
    """A merge of branches: 1x1, 3x3 and two stacked 3x3, concatenated. Szegedy et al. 2015,
    arXiv:1409.4842.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        branch = channels_out // 4
        self.point = convolution(channels_in, branch, 1)
        self.local = convolution(channels_in, 2 * branch, 3)
        last = channels_out - 3 * branch
        self.wide = nn.Sequential(convolution(channels_in, branch, 3), convolution(branch, last, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.point(x), self.local(x), self.wide(x)], dim=1)


def convolution(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def branch_cnn(config: Config) -> nn.Module:
    """A small network of one's own, to start from: a stem and two merges of branches, (B, 128, 1, 1)."""
    return nn.Sequential(
        convolution(3, 32, 3, stride=2),
        Inception(32, 64),
        nn.MaxPool2d(2),
        Inception(64, 128),
        nn.AdaptiveAvgPool2d(1),
    )


def gem(config: Config) -> nn.Module:
    """backbone=gem:NAME, a timm network by that name with GeM in place of its pooling. The exponent is new:
    it always learns.
    """
    return nn.Sequential(OrderedDict(body=from_timm(config, global_pool=""), pool=GeM()))


class Standardise(nn.Module):
    """0..1 pixels -> what a model was trained with: for models side by side whose mean and std differ."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        mean, std = normalisation(model)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class Joined(nn.Module):
    """backbone=joined:NAME+NAME, the features of several timm models, one behind the other: (B, F1 + F2)."""

    pretrained_cfg = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # 0..1 pixels: each has its own scale

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.models = nn.ModuleList(from_timm(config, n) for n in config.backbone.split(":")[1].split("+"))
        self.scales = nn.ModuleList(Standardise(model) for model in self.models)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([model(scale(image)) for model, scale in zip(self.models, self.scales)], dim=1)


def from_timm(config: Config, name: str = "", **changes: Any) -> nn.Module:
    """A timm model without its classifier, with its pretrained weights when the settings ask for them; call
    it in your own backbone too. Raises ValueError for an unknown name, or settings or weights that don't fit.

    name: "" is the one in the settings, what follows the colon in gem:NAME. changes: to the arguments of
    timm.create_model. The weights come as a file from weights.resolve_weights and pass timm's own filters.
    """
    import timm

    name = name or config.backbone.rpartition(":")[2]
    if not timm.is_model(name):
        raise ValueError(unknown(config.backbone, name))
    if "global_pool" in changes and config.pool_type != "auto":
        raise ValueError(
            f"pool_type={config.pool_type} has no effect with backbone={config.backbone}, which pools by"
            " itself: set pool_type=auto"
        )
    arguments = timm_arguments(config, name) | changes
    file = weights.resolve_weights(name, config.weights) if config.pretrained else None
    if file:
        if file.suffix != ".safetensors":
            weights.load_state(file)  # refuses, with a reason, what would run code
        # `checkpoint_path` fails when the class count differs; an overlay with `pretrained=False` leaves the
        # weights silently random
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    try:
        model: Any = timm.create_model(name, **arguments)
        model.set_grad_checkpointing(config.grad_checkpointing)
    except RuntimeError as error:
        own = timm.create_model(name).state_dict()
        if not file or not (problems := weights.mismatches(weights.load_state(file), own)):
            raise
        raise ValueError(f"weights file {file} is not one of {name}: {problems}") from error
    except (TypeError, AssertionError, ValueError) as error:
        settings = {key: getattr(config, key) for key in ("pool_type", "drop_path_rate", "image_size")}
        words = ", ".join(f"{key}={value}" for key, value in (settings | changes).items())
        raise ValueError(f"timm can't make {name!r} with {words}: {error}") from error
    model.timm_name, model.weights_file = name, file
    return model


def timm_arguments(config: Config, name: str) -> dict[str, Any]:
    """The arguments of timm.create_model that the settings give."""

    arguments: dict[str, Any] = {"num_classes": 0}
    if config.drop_path_rate:
        arguments["drop_path_rate"] = config.drop_path_rate
    if config.pool_type != "auto":  # "" gives the feature map itself, (B, C, h, w) or (B, tokens, C)
        arguments["global_pool"] = "" if config.pool_type == "none" else config.pool_type
    if has_fixed_size(name):
        arguments["img_size"] = config.image_size  # ViT: the position embedding is resampled to it
    return arguments


def has_fixed_size(name: str) -> bool:
    """Whether a timm model takes images of the one size that it was made for, as a ViT does."""
    import timm

    return timm.is_model(name) and bool(timm.get_pretrained_cfg(name).fixed_input_size)


def unknown(backbone: str, name: str) -> str:
    """What is wrong with a name that neither timm nor BACKBONES knows."""
    import timm

    if name in BACKBONES:
        example = f"{name}:tf_efficientnet_lite0"
        return f"backbone={backbone} is built around a timm model: say which, such as backbone={example}"
    near = ", ".join(timm.list_models(f"*{name.rpartition(':')[2].split('_')[0]}*")[:5]) or "nothing like it"
    own = ", ".join(BACKBONES)
    return f"backbone {backbone!r} is unknown; timm has {near}; own ones, in src/model/backbone.py: {own}"


def make_backbone(config: Config) -> nn.Module:
    """The backbone named in the settings, with its pretrained weights when asked for. Raises ValueError for
    an unknown name or missing weights.
    """
    word = config.backbone.partition(":")[0]
    if word not in BACKBONES:
        return from_timm(config, config.backbone)
    file = whole_file(config) if config.pretrained else None
    backbone = make_own(word, replace(config, pretrained=False, weights="") if file else config)
    check_name(config.backbone, timm_names(backbone))
    if file and timm_names(backbone) and not holds_names_of(file, backbone):
        backbone, file = make_own(word, config), None  # the file is one of the timm model inside
    if file:
        weights.load_into(backbone, file)
    if config.pretrained and not weights.files_of(backbone):
        inside = "".join(f'make {name} by from_timm(config, "{name}"), or ' for name in timm_names(backbone))
        place = weights.WEIGHTS / word / "model.safetensors"
        raise ValueError(
            f"backbone={config.backbone} is one of your own, and no pretrained weights were read for it:"
            f" {inside}set pretrained=false, or weights=FILE, or put the file at {place}"
        )
    return backbone


def make_own(word: str, config: Config) -> nn.Module:
    """What the function in BACKBONES makes. Raises ValueError in one line where that is no module."""
    make, title = BACKBONES[word], f"backbone {word!r}"
    is_class = isinstance(make, type)
    line = "def __init__(self, config):" if is_class else f"def {name_of(make, word)}(config):"
    check_parameters(make, ["config"], f"{title} ({place_of(make)})", line)
    try:
        backbone = make(config)
    except ValueError:  # its message says what is wrong
        raise
    except Exception as error:  # whatever one's own function meets
        raise ValueError(f"{title} can't be made: {explain(error)}") from error
    check_module(backbone, title, make)
    return backbone


def whole_file(config: Config) -> Path | None:
    """The file that may hold all weights of an own backbone: weights=FILE, or model.safetensors in that
    folder or in weights/<word>/.
    """
    if config.weights and not Path(config.weights).is_dir():
        return weights.resolve_weights(config.backbone, config.weights)
    file = Path(config.weights or weights.WEIGHTS / config.backbone.partition(":")[0]) / "model.safetensors"
    return file if file.is_file() else None


def holds_names_of(file: Path, backbone: nn.Module) -> bool:
    """Are more than half of the names in the file those of this module?"""
    names = weights.load_state(file).keys()
    return 2 * len(names & backbone.state_dict().keys()) > len(names)


def check_name(backbone: str, inside: list[str]) -> None:
    """config.py sets the learning rates by the name. Raises ValueError where it contradicts the timm models
    inside.
    """
    word, _, base = backbone.partition(":")
    untagged = {name.split(".")[0] for name in inside}
    if base and not {part.split(".")[0] for part in base.split("+")} <= untagged:
        raise ValueError(
            f"backbone={backbone}: {word}, in src/model/backbone.py, has no {base} inside: write"
            f" backbone={word}"
        )
    if inside and family(backbone) not in map(family, inside):
        raise ValueError(
            f"backbone={backbone} has {inside[0]} inside, which learns at the rates of a {family(inside[0])}:"
            f" write backbone={word}:{inside[0]}, since the rates go by the name"
        )


def timm_models(backbone: nn.Module) -> list[nn.Module]:
    """The timm models inside an own module, or the backbone itself where it is one."""
    return [backbone] if is_timm(backbone) else list(timm_inside(backbone).values())


def timm_names(backbone: nn.Module) -> list[str]:
    """Their names; one that from_timm did not make is known without its tag."""
    names = [
        getattr(model, "timm_name", "") or dict(model.pretrained_cfg).get("architecture", "")
        for model in timm_models(backbone)
    ]
    return [name for name in names if name]


def normalisation(backbone: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of 0..1 pixels that the backbone was trained with; read, never assumed."""
    facts = trained_with(backbone)
    return tuple(facts.get("mean", MEAN)), tuple(facts.get("std", STD))


def trained_with(backbone: nn.Module) -> dict[str, Any]:
    """mean, std, input_size ... as the backbone or the timm models inside state them; {} where nobody does.
    Raises ValueError when they differ.
    """
    stated = dict(getattr(backbone, "pretrained_cfg", {}))
    inside = [dict(model.pretrained_cfg) for model in timm_models(backbone)]
    scales = {(tuple(one["mean"]), tuple(one["std"])) for one in inside if "mean" in one}
    if len(scales) > 1 and "mean" not in stated:
        raise ValueError(
            f"{', '.join(timm_names(backbone))} were trained with different mean and std: in your module"
            ' write pretrained_cfg = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}, so that it gets'
            " 0..1 pixels, and before each of these models its own Standardise(model)"
        )
    return next(iter(inside), {}) | stated


# add yours: a function above that returns any nn.Module, a word here
BACKBONES = {"branch_cnn": branch_cnn, "gem": gem, "joined": Joined}
