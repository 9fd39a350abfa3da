"""Backbones: any timm model by name, or a function here. It takes normalised images (B, 3, H, W) and returns features (B, F) or (B, C, h, w)."""
import torch
from torch import Tensor, nn

from src.config import Config
from src.model import weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)      # of ImageNet: for modules that bring no pretrained_cfg


class Inception(nn.Module):
    """A merge of branches: 1x1, 3x3 and two stacked 3x3, concatenated. Szegedy et al. 2015, arXiv:1409.4842."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        branch = channels_out // 4
        self.point = convolution(channels_in, branch, 1)
        self.local = convolution(channels_in, 2 * branch, 3)
        self.wide = nn.Sequential(convolution(channels_in, branch, 3), convolution(branch, channels_out - 3 * branch, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.point(x), self.local(x), self.wide(x)], dim=1)


def convolution(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU())


def branch_cnn(config: Config) -> nn.Module:
    """A small network of one's own, to start from: a stem, two merges of branches, features (B, 128, h, w)."""
    return nn.Sequential(convolution(3, 32, 3, stride=2), Inception(32, 64), nn.MaxPool2d(2), Inception(64, 128), nn.AdaptiveAvgPool2d(1))


def from_timm(config: Config) -> nn.Module:
    """A timm model without its classifier; its pretrained weights come from weights.resolve and pass through timm's own filters."""
    import timm

    if not timm.is_model(config.backbone):
        near = timm.list_models(f"*{config.backbone.split('_')[0]}*")[:5]
        raise ValueError(f"backbone {config.backbone!r} is unknown; timm has {', '.join(near) or 'nothing like it'}; "
                         f"own ones, in src/model/backbone.py: {', '.join(BACKBONES)}")
    settings: dict[str, object] = {"num_classes": 0}
    if config.drop_path_rate:
        settings["drop_path_rate"] = config.drop_path_rate
    if config.pool_type != "auto":                            # "" gives the feature map itself, (B, C, h, w) or (B, tokens, C)
        settings["global_pool"] = "" if config.pool_type == "none" else config.pool_type
    if timm.get_pretrained_cfg(config.backbone).fixed_input_size:
        settings["img_size"] = config.image_size              # ViT: the position embedding is resampled to it
    if config.pretrained:
        path = weights.resolve_weights(config.backbone, config.weights)
        if path.suffix != ".safetensors":
            weights.load_state(path)                          # refuses, with a reason, what would run code
        # `checkpoint_path` fails when the class count differs; `pretrained=False` with an overlay would be silently random
        settings |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
    try:
        return timm.create_model(config.backbone, **settings)
    except TypeError as error:
        raise ValueError(f"backbone {config.backbone!r} does not take one of {', '.join(settings)}: {error}") from error


def make_backbone(config: Config) -> nn.Module:
    """The backbone named in the settings, with its pretrained weights when asked for. Raises ValueError for an unknown name or lost weights."""
    if config.backbone not in BACKBONES:
        return from_timm(config)
    backbone = BACKBONES[config.backbone](config)
    if config.pretrained:
        if not config.weights:
            raise ValueError(f"{config.backbone} is one of your own and has no published weights: set pretrained=false, or weights=FILE")
        backbone.load_state_dict(weights.load_state(weights.resolve_weights(config.backbone, config.weights)))
    return backbone


def normalisation(backbone: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of 0..1 pixels that the backbone was trained with; read, never assumed (FIELD B24)."""
    facts = getattr(backbone, "pretrained_cfg", {})
    return tuple(facts.get("mean", MEAN)), tuple(facts.get("std", STD))


BACKBONES = {"branch_cnn": branch_cnn}     # add yours: a function above that returns any nn.Module, a word here
