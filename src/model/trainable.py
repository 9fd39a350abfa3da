"""Which layers learn: "head", "all", the last N groups, or patterns of parameter names. Setting it means
setting requires_grad.

What your own module adds to a pretrained one has no pretrained value to keep, so it always learns, as the
head does.
"""

from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import zip_longest

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
    names = [name for name, _ in backbone.named_parameters()]  # shared parameters have one name
    if inside := timm_inside(backbone):
        branches = [
            [[f"{place}.{name}" for name in group] for group in reversed(groups(model))]
            for place, model in inside.items()
        ]
        rows = [sum(row, []) for row in zip_longest(*branches, fillvalue=[])]  # aligned at their ends
        return [[name for name in row if name in names] for row in reversed(rows)]
    by_child: dict[str, list[str]] = {}
    for name in names:
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
    is_alike = hasattr(module, "group_matcher") and hasattr(module, "pretrained_cfg")
    return is_alike or hasattr(module, "timm_name")


def stated_groups(backbone: nn.Module) -> list[list[str]]:
    """The groups that an own module states, each by the beginnings of its parameters' names. Raises
    ValueError for a beginning that fits none, and for a parameter in two groups.
    """
    names = [name for name, _ in backbone.named_parameters()]
    stated = backbone.layer_groups() if callable(backbone.layer_groups) else backbone.layer_groups
    title = f"layer_groups of {type(backbone).__name__}"
    parts = [part for group in stated for part in group]
    if empty := [part for part in parts if not any(is_below(name, part) for name in names)]:
        children = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
        raise ValueError(f"{title}: no parameter is called {', '.join(empty)}; there are {children}")
    layers = [[name for name in names if any(is_below(name, part) for part in group)] for group in stated]
    if twice := [name for name in names if sum(name in layer for layer in layers) > 1]:
        raise ValueError(f"{title}: {', '.join(twice[:3])} stands in two groups")
    return layers


def is_below(name: str, part: str) -> bool:
    """Is this parameter the part of the module itself, or one inside it?"""
    return name == part or name.startswith(part + ".")


def new_layers(backbone: nn.Module) -> set[str]:
    """The parameters in no layer group, such as an own layer behind a timm model: they have no pretrained
    value, so they learn like the head.
    """
    return {name for name, _ in backbone.named_parameters()}.difference(*groups(backbone))


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
        return new.union(*layers[len(layers) - trainable :])
    chosen, problems = set(new), []
    for pattern in (trainable,) if isinstance(trainable, str) else trainable:
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
    """Set requires_grad of every parameter of the backbone, then check it: a typo such as require_grad
    changes nothing.
    """
    chosen = choose(backbone, trainable)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in chosen)
    learning = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert learning == chosen, "requires_grad did not take"
