"""Which layers learn: "head", "all", the last N groups, or patterns of parameter names. Setting it means setting requires_grad."""
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn


def groups(backbone: nn.Module) -> list[list[str]]:
    """Parameter names by layer group, from the image to the output: timm's own coarse groups, or the children of other modules."""
    if hasattr(backbone, "group_matcher"):
        from timm.models import group_parameters

        found = group_parameters(backbone, backbone.group_matcher(coarse=True))
        return [found[number] for number in sorted(found)]
    by_child: dict[str, list[str]] = {}
    for name, _ in backbone.named_parameters():
        by_child.setdefault(name.split(".")[0], []).append(name)
    return list(by_child.values())


def choose(backbone: nn.Module, trainable: int | str | tuple[str, ...]) -> set[str]:
    """The names of the backbone's parameters that shall learn. Raises ValueError for a number too large or a pattern that matches nothing."""
    names = [name for name, _ in backbone.named_parameters()]
    if trainable == "head":
        return set()
    if trainable == "all":
        return set(names)
    if isinstance(trainable, int):
        layers = groups(backbone)
        if trainable > len(layers):
            raise ValueError(f"trainable={trainable}, but this backbone has {len(layers)} layer groups: `make layers` lists them, or trainable=all")
        return {name for group in layers[len(layers) - trainable:] for name in group}
    patterns = (trainable,) if isinstance(trainable, str) else trainable
    chosen, problems = set(), []
    for pattern in patterns:
        matched = {n for n in names if n == pattern or n.startswith(pattern + ".") or fnmatchcase(n, pattern)} if pattern else set()
        chosen |= matched
        if not matched:
            parts = {".".join(n.split(".")[:depth]) for n in names for depth in range(1, 5)}
            near = get_close_matches(pattern, parts, n=3) or sorted({n.split(".")[0] for n in names})
            problems.append(f"trainable pattern {pattern!r} matches no parameter; near it: {', '.join(near)}; all: `make layers`")
    if problems:
        raise ValueError("\n".join(problems))
    return chosen


def set_trainable(backbone: nn.Module, trainable: int | str | tuple[str, ...]) -> None:
    """Set requires_grad of every parameter of the backbone, then look whether it is so: a typo such as require_grad changes nothing (FIELD B13)."""
    chosen = choose(backbone, trainable)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in chosen)
    assert chosen == {name for name, p in backbone.named_parameters() if p.requires_grad}, "requires_grad did not take"
