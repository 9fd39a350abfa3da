"""Which layers learn: "head", "all", the last N groups, or patterns of parameter names. Setting it means
setting requires_grad.

What your own module adds to a pretrained one has nothing to keep, so it always learns, as the head does.
"""

from collections import Counter
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn


def groups(backbone: nn.Module) -> list[list[str]]:
    """Parameter names by layer group, from the image to the output: as the module states them in
    layer_groups, timm's own coarse groups, those of the timm models inside, several side by side, or the
    children of other modules.
    """
    if hasattr(backbone, "layer_groups"):
        return stated_groups(backbone)
    if hasattr(backbone, "group_matcher"):
        from timm.models import group_parameters

        by_number = group_parameters(backbone, backbone.group_matcher(coarse=True))
        return [by_number[number] for number in sorted(by_number)]
    if inside := timm_inside(backbone):
        names = {name for name, _ in backbone.named_parameters()}  # shared ones have one name
        branches = [
            [[f"{place}.{name}" for name in group] for group in groups(model)]
            for place, model in inside.items()
        ]
        longest = max(map(len, branches))
        # the last groups stand side by side
        aligned = [[[] for _ in range(longest - len(branch))] + branch for branch in branches]
        return [[name for group in row for name in group if name in names] for row in zip(*aligned)]
    by_child: dict[str, list[str]] = {}
    for name, _ in backbone.named_parameters():
        by_child.setdefault(name.split(".")[0], []).append(name)
    return list(by_child.values())


def timm_inside(backbone: nn.Module) -> dict[str, nn.Module]:
    """The outermost timm models in an own module, by their place."""
    inside: dict[str, nn.Module] = {}
    for place, module in backbone.named_modules():
        if place and is_timm(module) and not any(place.startswith(outer + ".") for outer in inside):
            inside[place] = module
    return inside


def is_timm(module: nn.Module) -> bool:
    return hasattr(module, "timm_name") or (
        hasattr(module, "group_matcher") and hasattr(module, "pretrained_cfg")
    )


def stated_groups(backbone: nn.Module) -> list[list[str]]:
    """The groups that an own module states, each by the beginnings of its parameters' names. Raises
    ValueError for one that begins none.
    """
    names = [name for name, _ in backbone.named_parameters()]
    stated: Any = backbone.layer_groups() if callable(backbone.layer_groups) else backbone.layer_groups
    whole = [[name for name in names if any(is_below(name, part) for part in group)] for group in stated]
    if empty := [
        part for group in stated for part in group if not any(is_below(name, part) for name in names)
    ]:
        there = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
        raise ValueError(
            f"layer_groups of {type(backbone).__name__}: no parameter is called {', '.join(empty)}; there are"
            f" {there}"
        )
    if twice := [
        name for name, count in Counter(name for group in whole for name in group).items() if count > 1
    ]:
        raise ValueError(
            f"layer_groups of {type(backbone).__name__}: {', '.join(twice[:3])} stands in two groups"
        )
    return whole


def is_below(name: str, part: str) -> bool:
    """Is this parameter the part of the module itself, or one inside it?"""
    return name == part or name.startswith(part + ".")


def new_layers(backbone: nn.Module) -> set[str]:
    """The parameters that stand in no layer group, such as an own layer behind a timm model: no pretrained
    value, so they learn like the head.
    """
    grouped = {name for group in groups(backbone) for name in group}
    return {name for name, _ in backbone.named_parameters() if name not in grouped}


def choose(backbone: nn.Module, trainable: int | str | tuple[str, ...]) -> set[str]:
    """The names of the backbone's parameters that shall learn. Raises ValueError for a number too large or a
    pattern that matches nothing.
    """
    names, new = [name for name, _ in backbone.named_parameters()], new_layers(backbone)
    if trainable == "head":
        return new
    if trainable == "all":
        return set(names)
    if isinstance(trainable, int):
        layers = groups(backbone)
        if trainable > len(layers):
            raise ValueError(
                f"trainable={trainable}, but this backbone has {len(layers)} layer groups: `make layers`"
                " lists them, or trainable=all"
            )
        return new | {name for group in layers[len(layers) - trainable :] for name in group}
    patterns = (trainable,) if isinstance(trainable, str) else trainable
    chosen, problems = set(new), []
    for pattern in patterns:
        matched = {n for n in names if is_below(n, pattern) or fnmatchcase(n, pattern)} if pattern else set()
        chosen |= matched
        if not matched:
            parts = {".".join(n.split(".")[:depth]) for n in names for depth in range(1, 5)}
            near = get_close_matches(pattern, parts, n=3) or sorted({n.split(".")[0] for n in names})
            problems.append(
                f"trainable pattern {pattern!r} matches no parameter; near it: {', '.join(near)}; all: `make"
                " layers`"
            )
    if problems:
        raise ValueError("\n".join(problems))
    return chosen


def set_trainable(backbone: nn.Module, trainable: int | str | tuple[str, ...]) -> None:
    """Set requires_grad of every parameter of the backbone, then look whether it is so: a typo such as
    require_grad changes nothing (FIELD B13).
    """
    chosen = choose(backbone, trainable)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in chosen)
    assert chosen == {name for name, p in backbone.named_parameters() if p.requires_grad}, (
        "requires_grad did not take"
    )
