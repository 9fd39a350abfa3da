"""What 1.2 million and 100 million images take: computed, nothing is measured.

Run: python -m src.extras.plan.scale        the table in docs/performance.md
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from src.config import resolve
from src.data.cache_gain import count_work
from src.data.features import tried_images
from src.experiments import EXPERIMENTS
from src.extras.costs import Rates, Work, about
from src.extras.plan.choices import EXPERIMENT_OF
from src.extras.plan.report import gigabytes
from src.extras.plan.stages import Machines, Sizes, Stage, stages, total
from src.model.classifier import build

CLASSES = 1000
# operations a second of a T4 in half precision, of networks with depthwise convolutions: src/experiments.py
OPERATIONS = 5e12
LAUNCH = 2e-3  # seconds that a step takes at least: the GPU is told each of its operations
CORES = 16
DECODE = 4e-3  # seconds of one core for an image of 110 kB, the mean of ImageNet's
DRAW = 2e-4  # seconds of the GPU for an augmented picture
FILE, ROW = 110e3, 500.0  # bytes
HASH = 4e8  # bytes a second of SHA-256
MACHINE = Machines(disk=500e6, network=10e9 / 8, memory=64e9)


def make(kind: str) -> tuple[Work, Rates, Sizes, int]:
    """The work for one image, the trunk cached where there is one; a T4's rates; the batch size."""
    config = replace(resolve(EXPERIMENTS[EXPERIMENT_OF[kind]]()), pretrained=False)
    model = build(config, CLASSES, is_proven=True)
    images = tried_images(model, config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images, torch.zeros(len(images), 0))
    of_all, of_trunk, output = counter.get_total_flops() / len(images), 0.0, 0
    if model.cut_at:
        features, per_image = count_work(model.trunk, model.normalise(images))
        of_trunk, output = per_image.operations, 2 * features[0].numel()  # in half precision
    learned = 4.0 * sum(p.numel() for _, p, _ in model.learning())
    of_tail = (of_all - of_trunk) / OPERATIONS
    is_fresh = not model.cut_at and config.augment != "none"
    rates = Rates(
        start=60,
        row=2e-5,
        read=FILE / HASH / 4,  # four threads
        decode=DECODE / CORES,
        trunk=of_trunk / OPERATIONS,
        drawn=of_trunk / OPERATIONS + DRAW,
        fold=5,
        step=max(3 * of_tail, LAUNCH / config.batch_size) + is_fresh * DRAW,
        valid=of_tail,
        score_row=1e-5,
        test=of_tail,
    )
    sizes = Sizes(
        row=ROW,
        file=FILE,
        decoded=config.image_size**2 * 3,
        output=output,
        learned=learned,
        optimizer=2 * learned,
        prediction=4 * CLASSES,
        process=4e9,
    )
    views = config.views if config.augment != "none" else 1
    work = Work(
        1, 1, config.folds, config.epochs, views=views if model.cut_at else 0, drawn=max(views - 1, 0)
    )
    return work, rates, sizes, config.batch_size


def without_cache(work: Work, rates: Rates) -> tuple[Work, Rates]:
    """The same with the trunk in each step, and fresh augmentation."""
    draw = DRAW if work.drawn else 0.0
    step, valid = rates.step + rates.trunk + draw, rates.valid + rates.trunk
    return work._replace(views=0, drawn=0), rates._replace(step=step, valid=valid)


def rows(numbers: tuple[int, ...], kinds: tuple[str, ...], machines: tuple[int, ...]) -> Iterator[str]:
    """A line of the table each, by the quicker of both ways; each machine has a whole batch of a step."""
    made = {kind: make(kind) for kind in kinds}
    for number in numbers:
        for kind in kinds:
            work, rates, sizes, batch_size = made[kind]
            work = work._replace(
                images=number, held_out=number, test=number // 10, is_test_cached=work.views > 0
            )
            for count in machines:
                several = MACHINE._replace(machines=count)
                ways = {
                    "each step" if not one.views else "cached": stages(
                        one, its, sizes, several, step_size=batch_size * count
                    )
                    for one, its in ((work, rates), without_cache(work, rates))
                }
                name, quicker = min(ways.items(), key=lambda way: total(way[1]))
                yield line(number, kind, count, name if work.views else "none", quicker)


def line(number: int, kind: str, machines: int, trunk: str, its: list[Stage]) -> str:
    whole = total(its)
    longest = max(its, key=lambda stage: stage.seconds)
    network = sum(stage.network for stage in its)
    waiting = sum(max(stage.disk - stage.compute, 0) for stage in its)
    taken = gigabytes(sum(stage.room for stage in its))
    highest = gigabytes(max(stage.memory for stage in its))
    return (
        f"| {number:,} | {kind} | {machines} | {trunk} | {about(whole)} | {waiting / whole:.0%} |"
        f" {network / whole:.0%} | {longest.name} | {highest} | {taken} |"
    )


def table() -> str:
    columns = "images|learns|machines|trunk|time|of it disk|network|longest|memory|on each disk".split("|")
    lines = rows((1_200_000, 100_000_000), tuple(EXPERIMENT_OF), (1, 8, 64))
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])


if __name__ == "__main__":
    print(table())
