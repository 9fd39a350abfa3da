"""Checks of the model: shapes, what learns and what must not, gradients that arrive nowhere, pretrained
weights, normalisation, size.
"""

import json

import torch
from torch import Tensor

from src.extras.doctor.setup import Check, Setup
from src.extras.findings import Finding, fail, good, some, warn
from src.model import weights
from src.model.backbone import trained_with
from src.model.classifier import build
from src.model.trainable import choose, new_layers
from src.training.loop import unused
from src.training.optim import make_optimizer


def shapes(setup: Setup) -> Finding:
    """The model gives (B, outputs) for any B, and an image's logits don't depend on the batch."""
    config, num_outputs = setup.config, setup.training.target.shape[1]
    where = f"head {config.head!r} in src/model/heads.py"
    try:
        model = build(config, num_outputs, setup.rows.extra.shape[1])
    except AssertionError as error:
        change = (
            "a layer that forward does not use can't learn: use it in forward, or "
            "remove it (src/model/backbone.py)"
        )
        return fail(str(error), change)
    setup.model = model.to(setup.device, memory_format=torch.channels_last)
    batch = setup.sample()
    three = batch._replace(image=batch.image[:3], extra=batch.extra[:3])
    whole, part = setup.logits(model, batch), setup.logits(model, three)
    sizes = (len(batch.image), num_outputs), (len(three.image), num_outputs)
    if (tuple(whole.shape), tuple(part.shape)) != sizes:
        shapes = f"{tuple(whole.shape)} for {len(batch.image)} images, {tuple(part.shape)} for 3"
        return fail(
            f"logits {shapes}; expected (B, {num_outputs})",
            f"keep the batch first, x.flatten(1) and not x.view(-1, n): {where}",
        )
    difference = float((whole[: len(part)] - part).abs().max())
    if difference > 0.05 * float(whole.abs().max()):
        return fail(
            f"an image's logits change by {difference:.3g} with the other images of its batch",
            f"softmax and mean over dim=1, not dim=0; no view that mixes images: {where}",
        )
    trunk = f"the trunk ends at {model.cut_at}" if model.cut_at else f"no trunk: {model.why}"
    return good(f"{tuple(batch.image.shape[1:])} uint8 to {num_outputs} logits; {trunk}")


def what_learns(setup: Setup) -> Finding:
    """What `trainable` names, what learns and what the optimizer has are the same, by name."""
    model, config, trainable = setup.model, setup.config, f"trainable={setup.config.trainable!r}"
    where = "set_trainable in src/model/trainable.py"
    if not any(p.requires_grad for p in model.head.parameters()):
        change = (
            f"a head needs parameters with requires_grad=True: head {config.head!r} in src/model/heads.py"
        )
        return fail("nothing of the head learns", change)
    chosen = choose(setup.fresh, config.trainable)
    learning = {name for name, p in model.tail.named_parameters() if p.requires_grad}
    extra, frozen = sorted(learning - chosen), sorted(chosen - learning)
    if extra:
        return fail(
            f"{trainable}, but {len(extra)} more tensors learn: {some(extra)}",
            f"freeze with parameter.requires_grad_(False), not `require_grad = False` (no s): {where}",
        )
    if frozen:
        return fail(f"{trainable}, but {len(frozen)} tensors of it are frozen: {some(frozen)}", where)
    groups = model.learning()
    missing, idle = unused(model, make_optimizer(groups, config))
    if missing or idle:
        names = {id(p): name for name, p in model.named_parameters()}
        lost = some(sorted(names[i] for i in missing)) or "none"
        others = some(sorted(names.get(i, "an unknown tensor") for i in idle)) or "none"
        return fail(
            f"not in the optimizer: {lost}; in it, but not learning: {others}",
            "put every parameter of model.learning() into one group: "
            "parameter_groups in src/training/optim.py",
        )
    size, total = sum(p.numel() for _, p, _ in groups), sum(p.numel() for p in model.parameters())
    return good(
        f"{trainable}: {len(groups)} tensors, {size:,} of {total:,} parameters, each in the optimizer"
    )


def what_moves(setup: Setup) -> Finding:
    """After real steps all that learns has moved, and nothing frozen, BatchNorm's statistics included."""
    moved, gradients, model = setup.stepped
    parameters = dict(model.named_parameters())
    learning = {name for name, p in parameters.items() if p.requires_grad}
    frozen = parameters.keys() - learning | frozen_buffers(setup)
    if frozen & moved:
        return fail(
            f"frozen, but moved by a training step: {some(sorted(frozen & moved))}",
            "requires_grad=False does not stop BatchNorm's statistics, and train() wakes them:"
            " Classifier.train in src/model/classifier.py must put what is frozen back to eval()",
        )
    lr, still = float(setup.config.lr), []
    for name in sorted(learning - moved):
        # a smaller step would be lost in rounding
        if gradients[name] * lr > 1e-5 * float(parameters[name].detach().abs().max()):
            still.append(name)
    if still:
        return fail(
            f"has a gradient, but did not move: {some(still)}",
            "a rate of 0, or not in the optimizer: look at body_lr, layer_decay and src/training/optim.py",
        )
    num_moved = len(learning & moved)
    return good(f"{len(frozen)} frozen tensors and statistics unchanged, {num_moved} learning ones moved")


def frozen_buffers(setup: Setup) -> set[str]:
    """Buffers of modules that hold parameters of which none learns, and all below them."""
    frozen = {f"trunk.{name}" for name, _ in setup.model.trunk.named_buffers()}
    for place, module in setup.model.named_modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            frozen |= {f"{place}.{name}" for name, _ in module.named_buffers()}
    return frozen


def dead_ends(setup: Setup) -> Finding:
    """Parameters that a step's gradient does not reach, or reaches as exactly zero."""
    gradients = setup.stepped.gradients
    without = sorted(name for name, largest in gradients.items() if largest < 0)
    zero = sorted(name for name, largest in gradients.items() if largest == 0)
    if without:
        return fail(
            f"no gradient reaches {some(without)}",
            "forward does not use it, or a detach(), no_grad() or argmax follows it: use it, or remove it",
        )
    if zero:
        return warn(
            f"the gradient is exactly zero for {some(zero)}",
            "look for a ReLU that is always off, a factor of 0, weights that all begin at 0",
        )
    return good(f"a gradient reaches all {len(gradients)} learning tensors")


def loaded(setup: Setup) -> Finding:
    """The pretrained weights are in the model: equal to their file, and unlike a fresh start."""
    config = setup.config
    if config.init_from:
        return good(f"taken from the folds of run {config.init_from}")
    if not config.pretrained and config.trainable == "all":
        return good("pretrained=false: everything starts at random, and learns")
    if not config.pretrained:
        return warn(
            f"pretrained=false, trainable={config.trainable!r}: what is frozen is random and stays so",
            'SET="pretrained=true", or SET="trainable=all"',
        )
    new, own = new_layers(setup.fresh), {}
    for full_name, p in setup.model.named_parameters():
        part, name = full_name.split(".", 1)
        if part != "head" and p.ndim > 1 and name not in new:
            own[name] = p.detach().cpu()
    stored = {
        name: value.to(own[name].dtype)
        for name, value in stored_tensors(setup).items()
        if name in own and value.shape == own[name].shape
    }
    files = ", ".join(str(file) for file in dict.fromkeys(setup.weight_files.values()))
    change = "load_state_dict must take every name: from_timm and make_backbone in src/model/backbone.py"
    differing = sorted(name for name, value in stored.items() if not torch.equal(value, own[name]))
    if 2 * len(stored) > len(own) and differing:
        return fail(
            f"{len(differing)} of {len(stored)} tensors differ from {files}: {some(differing)}", change
        )
    parameters = setup.fresh.named_parameters()
    fresh = sorted(name for name, p in parameters if name in own and torch.equal(p, own[name]))
    if 2 * len(fresh) > len(own):
        seen = f"{len(fresh)} of {len(own)} tensors are those of a fresh start, not of {files}: {some(fresh)}"
        return fail(seen, change)
    others = "" if len(stored) == len(own) else ", the others converted by timm"
    equal = f"{len(stored)} of {len(own)} weight tensors are equal to {files}{others}"
    return good(f"{equal}; hash {setup.training.recipe['weights_hash']}")


def stored_tensors(setup: Setup) -> dict[str, Tensor]:
    """The contents of the weights files, by the names that these tensors have in the backbone."""
    tensors = {}
    for place, file in setup.weight_files.items():
        prefix = f"{place}." if place else ""
        tensors |= {prefix + name: value for name, value in weights.load_state(file).items()}
    return tensors


def pretrained_cfg(setup: Setup) -> dict:
    """How the backbone was trained, by itself, by the file beside its weights, or by timm; else {}."""
    states_it = not hasattr(setup.fresh, "timm_name") and hasattr(setup.fresh, "pretrained_cfg")
    if setup.config.pretrained and not states_it:
        for file in setup.weight_files.values():
            beside = file.with_name("config.json")
            cfg = json.loads(beside.read_text()).get("pretrained_cfg", {}) if beside.exists() else {}
            if cfg:
                return cfg
    return trained_with(setup.fresh)


def normalised(setup: Setup) -> Finding:
    """Black and white after the model's first layer, against the mean and std of the pretraining."""
    cfg = pretrained_cfg(setup)
    if "mean" not in cfg:
        return good("the backbone states no mean and std of its own; ImageNet's are used")
    pixels = torch.tensor([0, 255], dtype=torch.uint8).to(setup.device)
    pixels = pixels.view(2, 1, 1, 1).expand(2, 3, 1, 1)
    black, white = setup.model.normalise(pixels).flatten(1).cpu()
    mean, std = torch.tensor(cfg["mean"]), torch.tensor(cfg["std"])
    is_black = torch.allclose(black, -mean / std, atol=1e-3)
    if not is_black or not torch.allclose(white, (1 - mean) / std, atol=1e-3):
        used, zero = ([round(x, 3) for x in values.tolist()] for values in (1 / (white - black), black))
        return fail(
            f"pixels are scaled with std {used}, black becomes {zero}; the backbone was trained with mean"
            f" {cfg['mean']}, std {cfg['std']}",
            "read them from the backbone: normalisation in src/model/backbone.py",
        )
    return good(f"mean {tuple(cfg['mean'])}, std {tuple(cfg['std'])}, as the backbone was trained")


def size(setup: Setup) -> Finding:
    """The size of the pictures against that of pretraining, and its crop: the kit uses whole pictures."""
    cfg, ours = pretrained_cfg(setup), setup.config.image_size
    if not setup.config.pretrained:
        return good(f"{ours} px; nothing was pretrained at another size")
    if "input_size" not in cfg:
        return good(f"{ours} px; the backbone does not state the size that it was pretrained at")
    theirs, crop = cfg["input_size"][-1], cfg.get("crop_pct", 1)
    seen = f"{ours} px, pretrained at {theirs}; the whole picture, where pretraining cropped to {crop}"
    if not 0.4 <= ours / theirs <= 2.5:
        change = f"image_size near {theirs}: pretrained filters know objects of about that size"
        return warn(seen, change)
    return good(seen)


MODEL: dict[str, Check] = {
    "learns": what_learns,
    "moves": what_moves,
    "gradients": dead_ends,
    "weights": loaded,
    "normalise": normalised,
    "size": size,
}
