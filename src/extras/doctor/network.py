"""Checks of the model: shapes, what learns and what must not, gradients that arrive nowhere, pretrained
weights, normalisation, size.
"""

import json

import torch
from torch import Tensor

from src.extras.doctor.case import Case, Check
from src.extras.findings import Finding, fail, good, some, warn
from src.model import weights
from src.model.backbone import trained_with
from src.model.classifier import build
from src.model.trainable import choose, new_layers
from src.training.loop import unused
from src.training.optim import make_optimizer


def shapes(case: Case) -> Finding:
    """The model can be built, gives (B, outputs) for any B, and an image's logits don't depend on its
    neighbours in the batch.
    """
    config, num_outputs = case.config, case.job.target.shape[1]
    try:
        model = build(config, num_outputs, case.rows.extra.shape[1])
    except AssertionError as error:
        return fail(
            str(error),
            "a layer that forward does not use can't learn: use it in forward, or remove it"
            " (src/model/backbone.py)",
        )
    case.model = model.to(case.job.accelerator.device, memory_format=torch.channels_last)
    batch = case.sample()
    three = batch._replace(image=batch.image[:3], extra=batch.extra[:3])
    whole, part = case.logits(model, batch), case.logits(model, three)
    if whole.shape != (len(batch.image), num_outputs) or part.shape != (len(three.image), num_outputs):
        return fail(
            f"logits {tuple(whole.shape)} for {len(batch.image)} images, {tuple(part.shape)} for 3; wanted"
            f" (B, {num_outputs})",
            f"keep the batch first, x.flatten(1) and not x.view(-1, n): head {config.head!r} in"
            " src/model/heads.py",
        )
    off = float((whole[: len(part)] - part).abs().max())
    if off > 0.05 * float(whole.abs().max()):
        return fail(
            f"an image's logits change by {off:.3g} with the other images of its batch",
            f"softmax and mean over dim=1, not dim=0; no view that mixes images: head {config.head!r} in"
            " src/model/heads.py",
        )
    trunk = f"the trunk ends at {model.cut_at}" if model.cut_at else f"no trunk: {model.why}"
    return good(f"{tuple(batch.image.shape[1:])} uint8 to {num_outputs} logits; {trunk}")


def what_learns(case: Case) -> Finding:
    """Asked == learning == in the optimizer, by name."""
    model, config = case.model, case.config
    learning = model.learning()
    asked, found = (
        choose(case.fresh, config.trainable),
        {name for name, p in model.tail.named_parameters() if p.requires_grad},
    )
    sizes = (
        f"{sum(p.numel() for _, p, _ in learning):,} of {sum(p.numel() for p in model.parameters()):,}"
        " parameters"
    )
    if not any(p.requires_grad for p in model.head.parameters()):
        return fail(
            "nothing of the head learns",
            f"a head needs parameters with requires_grad=True: head {config.head!r} in src/model/heads.py",
        )
    if found - asked:
        return fail(
            f"trainable={config.trainable!r}, but {len(found - asked)} more tensors learn:"
            f" {some(sorted(found - asked))}",
            "freeze with parameter.requires_grad_(False): `require_grad = False` (no s) sets a new attribute"
            " and freezes nothing, set_trainable in src/model/trainable.py",
        )
    if asked - found:
        return fail(
            f"trainable={config.trainable!r}, but {len(asked - found)} tensors of it are frozen:"
            f" {some(sorted(asked - found))}",
            "set_trainable in src/model/trainable.py",
        )
    missing, strangers = unused(model, make_optimizer(learning, config))
    if missing or strangers:
        names = {id(p): name for name, p in model.named_parameters()}
        lost, idle = (
            some(sorted(names[i] for i in missing)),
            some(sorted(names.get(i, "a stranger") for i in strangers)),
        )
        return fail(
            f"not in the optimizer: {lost or 'none'}; in it, but not learning: {idle or 'none'}",
            "put every parameter of model.learning() into one group: parameter_groups in src/training/optim.py",
        )
    return good(f"trainable={config.trainable!r}: {len(learning)} tensors, {sizes}, each in the optimizer")


def what_moves(case: Case) -> Finding:
    """After real steps the frozen part is the same bit for bit, BatchNorm's statistics too; all that learns
    has moved.
    """
    stepped = case.stepped
    learning = {name for name, p in stepped.model.named_parameters() if p.requires_grad}
    frozen = {name for name, p in stepped.model.named_parameters() if not p.requires_grad} | frozen_buffers(
        case
    )
    if frozen & stepped.moved:
        return fail(
            f"frozen, but moved by a training step: {some(sorted(frozen & stepped.moved))}",
            "requires_grad=False does not stop BatchNorm's statistics, and train() wakes them:"
            " Classifier.train in src/model/classifier.py must put what is frozen back to eval()",
        )
    values = dict(stepped.model.named_parameters())
    # a smaller step would be lost in rounding
    still = {
        name
        for name in learning - stepped.moved
        if stepped.gradients[name] * float(case.config.lr) > 1e-5 * float(values[name].detach().abs().max())
    }
    if still:
        return fail(
            f"has a gradient, but did not move: {some(sorted(still))}",
            "a rate of 0, or not in the optimizer: body_lr, layer_decay, src/training/optim.py",
        )
    return good(
        f"{len(frozen)} frozen tensors and statistics unchanged, {len(learning & stepped.moved)} learning"
        " ones moved"
    )


def frozen_buffers(case: Case) -> set[str]:
    """Buffers of modules that hold parameters of which none learns, and all below them."""
    model, found = case.model, {f"trunk.{name}" for name, _ in case.model.trunk.named_buffers()}
    for name, module in model.named_modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            found |= {f"{name}.{buffer}" for buffer, _ in module.named_buffers()}
    return found


def dead_ends(case: Case) -> Finding:
    """Parameters that a step's gradient does not reach, or reaches as exactly zero."""
    gradients = case.stepped.gradients
    without, zero = (
        {name for name, g in gradients.items() if g < 0},
        {name for name, g in gradients.items() if g == 0},
    )
    if without:
        return fail(
            f"no gradient reaches {some(sorted(without))}",
            "forward does not use it, or a detach(), no_grad() or argmax stands behind it: use that branch,"
            " or remove it",
        )
    if zero:
        return warn(
            f"the gradient is exactly zero for {some(sorted(zero))}",
            "look for a ReLU that is always off, a factor of 0, weights that all begin at 0",
        )
    return good(f"a gradient reaches all {len(gradients)} learning tensors")


def loaded(case: Case) -> Finding:
    """The pretrained weights are in the model: equal to the file where names agree, and unlike a fresh start."""
    config = case.config
    if config.init_from:
        return good(f"taken from the folds of run {config.init_from}")
    if not config.pretrained:
        if config.trainable == "all":
            return good("pretrained=false: everything starts at random, and learns")
        return warn(
            f"pretrained=false, trainable={config.trainable!r}: what is frozen is random and stays so",
            "pretrained=true, or trainable=all",
        )
    own = {
        name.split(".", 1)[1]: p.detach().cpu()
        for name, p in case.model.named_parameters()
        if not name.startswith("head.") and p.ndim > 1
    }
    own = {name: value for name, value in own.items() if name not in new_layers(case.fresh)}
    files = ", ".join(str(file) for file in dict.fromkeys(case.weight_files.values()))
    stored = {
        name: value
        for name, value in stored_tensors(case).items()
        if name in own and value.shape == own[name].shape
    }
    advice = "load_state_dict must take every name: from_timm and make_backbone in src/model/backbone.py"
    differing = {
        name for name, value in stored.items() if not torch.equal(value.to(own[name].dtype), own[name])
    }
    if 2 * len(stored) > len(own) and differing:
        return fail(
            f"{len(differing)} of {len(stored)} tensors differ from {files}: {some(sorted(differing))}",
            advice,
        )
    fresh = {name for name, p in case.fresh.named_parameters() if name in own and torch.equal(p, own[name])}
    if 2 * len(fresh) > len(own):
        return fail(
            f"{len(fresh)} of {len(own)} tensors are those of a fresh start, not of {files}:"
            f" {some(sorted(fresh))}",
            advice,
        )
    others = "" if len(stored) == len(own) else ", the others converted by timm"
    return good(
        f"{len(stored)} of {len(own)} weight tensors are equal to {files}{others}; hash"
        f" {case.job.weights_hash}"
    )


def stored_tensors(case: Case) -> dict[str, Tensor]:
    """What the weights files hold, by the names that it has in the backbone."""
    places = {
        place + "." if place else "": weights.load_state(file) for place, file in case.weight_files.items()
    }
    return {place + name: value for place, state in places.items() for name, value in state.items()}


def pretrained_cfg(case: Case) -> dict:
    """What the backbone was trained with: as your own states it, beside the weights file, else as timm says
    it; {} where nothing does.
    """
    is_own = not hasattr(case.fresh, "timm_name")
    if case.config.pretrained and not (is_own and hasattr(case.fresh, "pretrained_cfg")):
        for file in case.weight_files.values():
            beside = file.with_name("config.json")
            found = json.loads(beside.read_text()).get("pretrained_cfg", {}) if beside.exists() else {}
            if found:
                return found
    return trained_with(case.fresh)


def normalised(case: Case) -> Finding:
    """Black and white as the model's first layer hands them on, against the mean and std that the backbone
    was trained with.
    """
    facts = pretrained_cfg(case)
    if "mean" not in facts:
        return good("the backbone states no mean and std of its own; ImageNet's are used")
    device = case.job.accelerator.device

    def hands_on(pixel: int) -> Tensor:
        return (
            case.model.normalise(torch.full((1, 3, 1, 1), pixel, dtype=torch.uint8, device=device))
            .flatten()
            .cpu()
        )

    mean, std = torch.tensor(facts["mean"]), torch.tensor(facts["std"])
    black, white = hands_on(0), hands_on(255)
    if not torch.allclose(black, -mean / std, atol=1e-3) or not torch.allclose(
        white, (1 - mean) / std, atol=1e-3
    ):
        used = [round(float(x), 3) for x in 1 / (white - black)]
        return fail(
            f"pixels are scaled with std {used}, black becomes {[round(float(x), 3) for x in black]}; "
            f"the backbone was trained with mean {facts['mean']}, std {facts['std']}",
            "read them: normalisation in src/model/backbone.py",
        )
    return good(f"mean {tuple(facts['mean'])}, std {tuple(facts['std'])}, as the backbone was trained")


def size(case: Case) -> Finding:
    """The picture's size against the one of pretraining; the crop is told, since the whole picture is always
    used.
    """
    facts, ours = pretrained_cfg(case), case.config.image_size
    if not case.config.pretrained:
        return good(f"{ours} px; nothing was pretrained at another size")
    if "input_size" not in facts:
        return good(f"{ours} px; the backbone does not state the size that it was pretrained at")
    theirs = facts["input_size"][-1]
    seen = (
        f"{ours} px, pretrained at {theirs}; the whole picture, where pretraining cropped to"
        f" {facts.get('crop_pct', 1)}"
    )
    if not 0.4 <= ours / theirs <= 2.5:
        return warn(
            seen,
            f"image_size near {theirs}: far from it pretrained filters meet objects of a size they have never"
            " seen",
        )
    return good(seen)


MODEL: dict[str, Check] = {
    "learns": what_learns,
    "moves": what_moves,
    "gradients": dead_ends,
    "weights": loaded,
    "normalise": normalised,
    "size": size,
}
