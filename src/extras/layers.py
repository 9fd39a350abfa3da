"""Print the backbone's layer groups by number: what trainable=N means.

Run: python -m src layers runs/<name>        make layers
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from src import config
from src.model.backbone import make_backbone
from src.model.trainable import choose, groups, new_layers, timm_inside
from src.run import configure
from src.run.paths import RunPaths

NEW = (
    "  new: what your own module adds to the pretrained ones; it learns with "
    "every trainable, as the head does"
)


def layers(experiment: config.Config) -> str:
    """One line per group, the last first: parameters, and whether it learns here. Needs no weights."""
    backbone = make_backbone(replace(experiment, pretrained=False, weights=""))
    sizes = {name: p.numel() for name, p in backbone.named_parameters()}
    learning, places = choose(backbone, experiment.trainable), timm_inside(backbone)
    added = new_layers(backbone)
    new = [name for name in sizes if name in added]
    rows = {"new": new} if new else {}
    rows |= {str(number): group for number, group in enumerate(reversed(groups(backbone)), start=1)}
    title = f"{experiment.backbone}, trainable={experiment.trainable!r}"
    lines = [
        f"{title}; the head always learns (trainable=head is N=0)",
        "    N    parameters    learning, N  layers",
    ]
    total = 0
    for number, group in rows.items():
        size = sum(sizes[name] for name in group)
        total += size
        parts = ", ".join(dict.fromkeys(part_of(name, places) for name in group))
        num_learning = sum(name in learning for name in group)
        mark = f"{num_learning} of {len(group)} tensors learn" if num_learning else ""
        if num_learning == len(group):
            mark = "learns"
        lines.append(f"{number:>5}  {size:>12,}  {total:>13,}  {parts[:60]:60}  {mark}".rstrip())
    return "\n".join([*lines, NEW] if new else lines)


def part_of(name: str, places: Iterable[str]) -> str:
    """A parameter's layer, named as in trainable: blocks.6 of blocks.6.0.conv.weight, also inside body."""
    place = next((f"{place}." for place in places if name.startswith(f"{place}.")), "")
    words = name.removeprefix(place).split(".")
    is_numbered = len(words) > 2 and words[1].isdigit()
    return place + ".".join(words[:2] if is_numbered else words[:1])


def main(arguments: list[str]) -> None:
    print(layers(configure.load(RunPaths(Path(arguments[0])).config).config))
