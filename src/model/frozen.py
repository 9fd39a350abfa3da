"""What does not learn, as one file: with a fold's model.safetensors it is the whole network, and no
pretrained weights are looked for. A bundle carries it.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.model.classifier import FX_CONSTANT, Classifier


def frozen(model: Classifier) -> dict[str, Tensor]:
    """Every parameter and buffer of the backbone that learned() lacks, by timm's own names."""
    state = model.trunk.state_dict() | model.tail.state_dict()
    learned = model.learned()
    return {
        name: value
        for name, value in state.items()
        if name not in learned and not name.startswith(FX_CONSTANT)
    }


def save_frozen(model: Classifier, path: Path) -> None:
    """Write frozen(model) as safetensors."""
    save_file({name: value.contiguous().cpu() for name, value in sorted(frozen(model).items())}, path)
    path.chmod(0o644)  # safetensors writes for the owner's eyes only


def load_frozen(model: Classifier, path: Path) -> None:
    """Read it back in place. Raises ValueError where names or shapes differ."""
    stored, own = load_file(path), frozen(model)
    fitting = {name for name in own if name in stored and stored[name].shape == own[name].shape}
    if other := sorted((own.keys() | stored.keys()) - fitting):
        raise ValueError(
            f"{path} does not fit this model: {', '.join(other[:5])}; it was made by another version of timm"
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(stored[name])
