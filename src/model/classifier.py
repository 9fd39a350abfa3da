"""The classifier: uint8 images -> normalise -> trunk -> tail -> head -> logits. Built from the settings; what
learned is saved and loaded.
"""

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src.config import Config
from src.model.backbone import has_fixed_size, make_backbone, normalisation
from src.model.cut import CannotCut, cut, set_mode
from src.model.depthwise import quicken
from src.model.heads import HEADS
from src.model.trainable import groups, new_layers, set_trainable
from src.model.try_out import make_head, run_once
from src.run.files import Damaged

FX_CONSTANT = "_tensor_constant"  # torch.fx names its own buffers so
PLAIN = np.float32([[0], [1]])  # the unit of targets that are learned as they are


class Normalise(nn.Module):
    """Pixels 0..255 of any dtype (B, 3, H, W) -> what the backbone was trained with. The first layer, so that
    no data code knows the backbone.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        scale, shift = 1 / (255 * torch.tensor(std)), -(torch.tensor(mean) / torch.tensor(std))
        self.register_buffer("scale", scale.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.float().contiguous(memory_format=torch.channels_last)
        return torch.addcmul(self.shift, pixels, self.scale)


class Classifier(nn.Module):
    """trunk: frozen, in eval, its output may be cached. tail: the backbone's layers that learn, and all after
    the first of them. head: new.

    cut_at: the graph node where the trunk ends, "" where there is no trunk; why: what prevented it.
    depths: parameter of the tail -> 0 for the last layer group, 1 for the one before ... for layer-wise
    learning rates, -1 for a new layer of one's own.
    unit: shift and scale (2, T) of the regression targets, for the task's activation. It is kept in the
    checkpoint, so that prediction need not know what the model was fitted on.
    """

    def __init__(
        self,
        normalise: nn.Module,
        trunk: nn.Module,
        tail: nn.Module,
        head: nn.Module,
        *,
        cut_at: str,
        why: str,
        depths: dict[str, int],
    ) -> None:
        super().__init__()
        self.normalise, self.trunk, self.tail, self.head = normalise, trunk, tail, head
        self.cut_at, self.why, self.depths, self.unit = cut_at, why, depths, PLAIN
        self.head_takes_targets = "targets" in signature(head.forward).parameters
        self.trunk.eval()  # and never anything else: see train()

    def features(self, image: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> what the trunk hands to the tail."""
        with torch.no_grad():
            return self.trunk(self.normalise(image))

    def logits(self, features: Tensor, extra: Tensor, targets: Tensor | None = None) -> Tensor:
        """What the trunk gave, and extra columns (B, E) -> (B, outputs). targets (B, outputs): in training,
        for a head that takes them.
        """
        features = self.tail(features)
        return self.head(features, extra, targets) if self.head_takes_targets else self.head(features, extra)

    def forward(self, image: Tensor, extra: Tensor, targets: Tensor | None = None) -> Tensor:
        return self.logits(self.features(image), extra, targets)

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode for what learns only; the trunk, and every frozen part of the tail, stay in eval."""
        self.training = mode
        set_mode(self.tail, mode)
        self.head.train(mode)
        return self

    def learning(self) -> list[tuple[str, nn.Parameter, int]]:
        """(name, parameter, depth) of all that learns, once each; depth -1 is the head or as new as it, 0 the
        last group of the backbone, 1 ...
        """
        tail = [(name, p, self.depths[name]) for name, p in self.tail.named_parameters() if p.requires_grad]
        return tail + [(f"head.{name}", p, -1) for name, p in self.head.named_parameters() if p.requires_grad]

    def learned(self) -> dict[str, Tensor]:
        """What a checkpoint holds: every learning parameter, and every buffer of tail and head, by timm's own
        names.
        """
        state: dict[str, Tensor] = {name: p for name, p, _ in self.learning()}
        state |= {name: b for name, b in self.tail.named_buffers() if not name.startswith(FX_CONSTANT)}
        state |= {f"head.{name}": b for name, b in self.head.named_buffers()}
        return {name: value.detach() for name, value in state.items()}

    def save(self, path: Path) -> None:
        """Write learned() as safetensors, in a fixed order: equal weights are equal files."""
        state = self.learned()
        if (self.unit != PLAIN).any():
            state["unit"] = torch.from_numpy(self.unit)
        save_file({name: value.contiguous().cpu() for name, value in sorted(state.items())}, path)
        path.chmod(0o644)  # safetensors writes for the owner's eyes only

    def load(self, path: Path, *, strict: bool = True) -> list[str]:
        """Read learned() back in place; returns the names that were not taken. Raises ValueError when strict
        and the names or shapes differ.
        """
        try:
            stored, own = load_file(path), self.learned()
        except SafetensorError as error:
            raise Damaged(path, str(error)) from error
        unit = stored.pop("unit", None)
        fitting = {name for name in own if name in stored and stored[name].shape == own[name].shape}
        left = sorted((own.keys() | stored.keys()) - fitting)
        if strict and left:
            raise ValueError(
                f"{path} does not fit this model: {', '.join(left[:5])}; it was made with other settings of"
                " backbone, trainable or head"
            )
        if strict:  # else a training begins there, with a unit of its own
            self.unit = PLAIN if unit is None else unit.numpy()
        with torch.no_grad():
            for name in fitting:
                own[name].copy_(stored[name])
        return left


def build(config: Config, num_outputs: int, num_extra: int = 0, *, is_proven: bool = False) -> Classifier:
    """The classifier of an experiment, on the CPU, its head drawn by config.seed; is_proven: its cut was
    proven before. Raises ValueError for a setting or a module that does not fit.
    """
    torch.manual_seed(config.seed)
    backbone = make_backbone(config).to(memory_format=torch.channels_last).eval()
    set_trainable(backbone, config.trainable)
    normalise = Normalise(*normalisation(backbone))
    image = torch.randint(0, 256, (2, 3, config.image_size, config.image_size), dtype=torch.uint8)
    features = run_once(backbone, (normalise(image),), f"backbone {config.backbone!r}")
    torch.manual_seed(config.seed)
    maker = pick(HEADS, config.head, "head", "src/model/heads.py")
    head = make_head(maker, config.head, tuple(features.shape[1:]), num_outputs, config, num_extra)
    depths = layer_depths(backbone)
    try:
        if config.grad_checkpointing and any(p.requires_grad for p in backbone.parameters()):
            raise CannotCut("grad_checkpointing=true is timm's own forward, which a trace cannot follow")
        trunk, tail, cut_at = cut(backbone, normalise(image), is_proven=is_proven)
        why = ""
    except CannotCut as error:
        trunk, tail, cut_at, why = nn.Identity(), backbone, "", str(error)
    check_parts(config, backbone, tail, head)
    quicken(tail)
    return Classifier(normalise, trunk, tail, head, cut_at=cut_at, why=why, depths=depths).eval()


def layer_depths(backbone: nn.Module) -> dict[str, int]:
    """Parameter -> how many layer groups lie between it and the end; -1 for new layers."""
    depths = dict.fromkeys(new_layers(backbone), -1)
    for depth, group in enumerate(reversed(groups(backbone))):
        depths |= dict.fromkeys(group, depth)
    return depths


def check_parts(config: Config, backbone: nn.Module, tail: nn.Module, head: nn.Module) -> None:
    """Raises ValueError where a layer that should learn has no effect on the output, or where tail and head
    have a name in common.
    """
    used = {name for name, p in tail.named_parameters() if p.requires_grad}
    asked = {name for name, p in backbone.named_parameters() if p.requires_grad}
    if unused := sorted(asked - used):  # torch.fx leaves out what the output does not depend on
        raise ValueError(
            f"trainable={config.trainable} asks {', '.join(unused[:3])} to learn, but the output of"
            f" {config.backbone} does not depend on it, as on a branch that forward does not use: use it, or"
            " remove it"
        )
    in_head = {f"head.{name}" for name in head.state_dict()}
    if shared := sorted(in_head & tail.state_dict().keys()):  # a checkpoint would hold one of the two
        raise ValueError(
            f"head {config.head!r} has a part by the name of one of {config.backbone}, {shared[0]}: give it"
            " another name in your head"
        )


def pick(table: dict, name: str, what: str, file: str) -> Any:
    """The entry of a table of choices, which stands in this file. Raises ValueError with the choices."""
    if name not in table:
        choices = ", ".join(sorted(table))
        raise ValueError(f"{what} {name!r} is unknown; choose from {choices}, or add it in {file}")
    return table[name]


def check_test_size(config: Config) -> None:
    """Raises ValueError where test_size is another size than the backbone takes."""
    name = config.backbone.rpartition(":")[2]
    if config.test_size not in (0, config.image_size) and has_fixed_size(name):
        raise ValueError(
            f"test_size={config.test_size}: {name} takes images of one size, here {config.image_size} px: set"
            " test_size=0, or image_size and train again"
        )
