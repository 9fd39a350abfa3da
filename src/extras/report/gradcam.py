"""Where did the model look? Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) on the last layer that still
has a map of the image: of trunk, tail or head, whatever learns.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from src.data.extra_columns import ExtraColumns
from src.data.warp import resize
from src.extras.report.material import Material
from src.model.classifier import Classifier, build

BATCH = 32
TRIES = 24  # layers from the end; a vision transformer's last ones pass on its class token alone


def heat_maps(material: Material, places: np.ndarray) -> dict[int, np.ndarray]:
    """place in the table -> (h, w) from 0 to 1, where the image speaks for the answer that it got, by the
    model that has not seen it. {} where no layer has a map, or no model is at hand.
    """
    run, maps = material.run, {}
    fold_of = material.table["fold"].to_numpy()
    trained = [k for k in np.unique(fold_of[places]) if material.paths.fold(k).model.exists()]
    if not trained or material.result.members:
        return {}
    extra_size = ExtraColumns.fit(
        material.folds, run.competition.features, np.ones(len(material.folds), bool)
    ).size
    model = build(run.config, len(run.competition.outputs), extra_size, is_proven=True)
    layer = None
    for k in trained:
        model.load(material.paths.fold(k).model)
        is_training = (material.folds["fold"] != k).to_numpy()
        extra = ExtraColumns.fit(material.folds, run.competition.features, is_training).encode(material.folds)
        of_fold = places[fold_of[places] == k]
        for start in range(0, len(of_fold), BATCH):
            part = of_fold[start : start + BATCH]
            rows = material.places[part]
            decoded = torch.from_numpy(np.array(material.pixels[rows])).permute(0, 3, 1, 2)
            image = resize(decoded, material.run.config.image_size)
            output = outputs_of(material, part)
            layer = layer or find_layer(model, image[:2], torch.from_numpy(extra[rows[:2]]), output[:2])
            if layer is None:
                return {}
            maps |= dict(
                zip(part.tolist(), grad_cam(model, layer, image, torch.from_numpy(extra[rows]), output))
            )
    return maps


def outputs_of(material: Material, part: np.ndarray) -> np.ndarray:
    """(n,) the output that is asked about: the answered class; of several labels the most wrong one."""
    if material.competition.task == "multilabel":
        return np.abs(material.predicted[part] - material.target[part]).argmax(axis=1)
    return material.predicted[part].argmax(axis=1)


def find_layer(model: Classifier, image: Tensor, extra: Tensor, output: np.ndarray) -> nn.Module | None:
    """The last module whose output is a map of the image that the answer depends on."""
    called: list[nn.Module] = []
    hooks = []
    for module in model.modules():
        if not list(module.children()):
            hooks.append(module.register_forward_hook(lambda module, args, value: called.append(module)))
    with torch.no_grad():
        model(image, extra)
    for hook in hooks:
        hook.remove()
    for module in list(reversed(called))[:TRIES]:
        if called.count(module) == 1 and len(grad_cam(model, module, image, extra, output)):
            return module
    return None


def grad_cam(
    model: Classifier, layer: nn.Module, image: Tensor, extra: Tensor, output: np.ndarray
) -> np.ndarray:
    """(B, h, w) from 0 to 1; empty where the layer gives no map, or the answer does not depend on it."""
    values, gradients = values_and_gradients(model, layer, image, extra, output)
    if values is None or gradients is None or not gradients.abs().sum() > 0:
        return np.empty((0, 0, 0))
    values, gradients = as_map(values), as_map(gradients)
    if values is None or gradients is None:
        return np.empty((0, 0, 0))
    weight = gradients.mean(dim=(2, 3), keepdim=True)  # of each channel
    heat = (weight * values).sum(dim=1).clamp(min=0)
    return (heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).numpy()


def values_and_gradients(
    model: Classifier, layer: nn.Module, image: Tensor, extra: Tensor, output: np.ndarray
) -> tuple[Tensor | None, Tensor | None]:
    """What the layer gives, and how the asked outputs change with it; nothing before it needs a gradient."""
    kept: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value.detach().requires_grad_())
        return kept[-1].clone()  # what follows may work in place

    with torch.enable_grad(), replacing(layer, keep):
        logits = model.logits(model.trunk(model.normalise(image)), extra)
        if not kept or not logits.requires_grad:
            return None, None
        asked = logits[torch.arange(len(logits)), torch.from_numpy(output)].sum()
        (gradients,) = torch.autograd.grad(asked, kept[:1], allow_unused=True)
    return kept[0].detach().float(), None if gradients is None else gradients.float()


@contextmanager
def replacing(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within this, what the layer gives goes through `change`."""
    hook = layer.register_forward_hook(lambda module, args, value: change(value))
    try:
        yield
    finally:
        hook.remove()


def as_map(values: Tensor) -> Tensor | None:
    """(B, C, h, w) of a map, of one with the channels last, or of tokens with or without some before those of
    the image; None of anything else. Images are square.
    """
    if values.ndim == 4 and values.shape[2] == values.shape[3]:
        return values if values.shape[2] > 1 else None
    if values.ndim == 4 and values.shape[1] == values.shape[2]:
        return values.permute(0, 3, 1, 2)
    if values.ndim != 3:
        return None
    side = int(values.shape[1] ** 0.5)
    if side < 2:
        return None
    tokens = values[:, values.shape[1] - side * side :]
    return tokens.transpose(1, 2).reshape(len(values), -1, side, side)
