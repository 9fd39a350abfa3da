"""Print the backbone's layer groups by number: what trainable=N means.

Run: python -m src.layers runs/<name>
"""
import sys
from pathlib import Path

from src import config, runs
from src.model.backbone import make_backbone
from src.model.trainable import choose, groups
from src.runs import RunPaths


def layers(experiment: config.Config) -> str:
    """One line per group, the last ones first, with its parameters and whether it learns in this experiment."""
    backbone = make_backbone(experiment)
    sizes = {name: p.numel() for name, p in backbone.named_parameters()}
    chosen, lines, total = choose(backbone, experiment.trainable), [], 0
    for number, group in enumerate(reversed(groups(backbone)), start=1):
        size = sum(sizes[name] for name in group)
        total += size
        parts = sorted({".".join(name.split(".")[:2]) if name.split(".")[1].isdigit() else name.split(".")[0] for name in group})
        learns = sum(name in chosen for name in group)
        mark = "learns" if learns == len(group) else f"{learns} of {len(group)} tensors learn" if learns else ""
        lines.append(f"{number:5}  {size:>12,}  {total:>13,}  {', '.join(parts)[:60]:60}  {mark}")
    return (f"{experiment.backbone}, trainable={experiment.trainable!r}; the head always learns (trainable=head is N=0)\n"
            f"    N    parameters    learning, N  layers\n" + "\n".join(lines))


def main() -> None:
    print(layers(config.load(RunPaths(Path(sys.argv[1])).config).config))


if __name__ == "__main__":
    runs.main(main)
