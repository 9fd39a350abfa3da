"""The hash of all the weights that a backbone begins with: part of a run's recipe."""

from src.config import Config
from src.model.weights import WEIGHTS, files_of, resolve_weights, weights_hash
from src.run.files import sha256


def pretrained_hash(config: Config) -> str:
    """Of the weight files that the backbone is made with, "" for none. Raises ValueError for missing ones."""
    if not config.pretrained:
        return ""
    file = WEIGHTS / config.backbone / "model.safetensors"
    if file.is_file() and not config.weights and ":" not in config.backbone:
        return weights_hash(file)  # first, so that the audit needs no torch
    from src.model.backbone import BACKBONES, make_backbone

    if config.backbone.partition(":")[0] not in BACKBONES:
        return weights_hash(resolve_weights(config.backbone, config.weights))
    hashes = [weights_hash(file) for file in files_of(make_backbone(config))]
    return hashes[0] if len(hashes) == 1 else sha256(hashes)
