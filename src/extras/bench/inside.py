"""What bench measures within a process: stages with clocks around its parts, the optimizer alone, a step, the
model alone on made-up tensors.

Run: python -m src.extras.bench.inside stages runs/<name> train + predict | adamp vgg19 3 | step SET 3 | ceiling
runs/<name>
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

BEGAN = time.perf_counter()
import adamp
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src import chain, config, predict, train_fold
from src.data import features
from src.model.classifier import Classifier, build
from src.run import (
    configure,
    memory,
    overrides,
    process,
)
from src.run.paths import RunPaths
from src.training.adamp import AdamP
from src.training.optim import make_optimizer

found: dict[str, float] = {"start": time.perf_counter() - BEGAN}


def clock(module, name: str, label: str) -> None:
    """Sum the seconds of a function, and count its calls; a generator's own seconds, without those of who
    reads it.
    """
    function = getattr(module, name)

    def add(began: float) -> None:
        found[label] = found.get(label, 0.0) + time.perf_counter() - began

    def whole(*args, **kwargs):
        began = time.perf_counter()
        found[f"{label}_calls"] = found.get(f"{label}_calls", 0) + 1
        try:
            return function(*args, **kwargs)
        finally:
            add(began)

    def pieces(*args, **kwargs):
        steps = function(*args, **kwargs)
        while True:
            began = time.perf_counter()
            step = next(steps, None)
            if step is None:
                return
            add(began)
            yield step

    setattr(module, name, pieces if label == "steps" else whole)


def stages(run: str, words: list[str]) -> dict:
    for module, function, label in (
        (features, "decode", "decode"),
        (features, "trunk_outputs", "trunk"),
        (features, "run_trunk", "pass"),
        (train_fold, "train_steps", "steps"),
        (train_fold, "predict_epoch", "valid"),
        (predict, "predict_test", "test"),
        (predict, "predict_held_out", "held"),
    ):
        clock(module, function, label)
    chain.main(run, chain.read(words))
    return found | {"all": time.perf_counter() - BEGAN}


def in_turn(ours: Callable, theirs: Callable, pairs: int) -> tuple[float, float, float]:
    """Seconds of ours and theirs, and theirs over ours: medians of pairs, after one of each that isn't
    counted.
    """
    spent = []
    for number in range(pairs + 1):
        began = time.perf_counter()
        theirs()
        between = time.perf_counter()
        ours()
        spent += [(time.perf_counter() - between, between - began)] * (number > 0)
    return median(a for a, _ in spent), median(b for _, b in spent), median(b / a for a, b in spent)


def optimizer(backbone: str, pairs: int) -> dict:
    """AdamP's step on a backbone's shapes against the package's; both must have made the same bits of the
    same numbers.
    """
    with torch.device("meta"):
        shapes = [p.shape for p in timm.create_model(backbone).parameters()]
    torch.manual_seed(0)
    values, grads = ([scale * torch.randn(shape) for shape in shapes] for scale in (0.05, 0.01))

    def make(kind: type) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
        params = [nn.Parameter(value.clone()) for value in values]
        for p, grad in zip(params, grads):
            p.grad = grad
        groups = [
            {"params": [p for p in params if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in params if p.ndim < 2]},
        ]
        return params, kind(groups, lr=1e-3)

    (ours, fast), (theirs, package) = make(AdamP), make(adamp.AdamP)
    spent = in_turn(fast.step, package.step, pairs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs)), (
        f"AdamP differs from the package on {backbone}"
    )
    return dict(zip(("kit", "peer", "ratio"), spent))


def one_step(
    model: Classifier, forward: Callable, image: Tensor, target: Tensor, optimizer: torch.optim.Optimizer
) -> None:
    loss = F.cross_entropy(forward(image, torch.zeros(len(image), 0)), target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def make(changes: str) -> tuple[Classifier, config.Config]:
    experiment = config.resolve(config.Config(**overrides.parse_set(changes)))
    return build(experiment, 10, is_proven=True).train(), experiment


def tail_step(changes: str, pairs: int) -> dict:
    """A training step on what the trunk's cache holds, against the whole model, contiguous, with the
    package's optimizer.
    """
    model, experiment = make(changes)
    other = make(changes)[0].to(memory_format=torch.contiguous_format)
    image = torch.randint(
        0, 256, (experiment.batch_size, 3, experiment.image_size, experiment.image_size), dtype=torch.uint8
    )
    target, features = torch.arange(len(image)) % 10, model.features(image)
    fast, package = (
        make_optimizer(model.learning(), experiment),
        adamp.AdamP([p for p in other.parameters() if p.requires_grad], lr=1e-3),
    )
    scaled = (image.float() / 255 - 0.5) / 0.5  # the peer's loader has normalised it

    def plain(image: Tensor, extra: Tensor) -> Tensor:
        return other.logits(other.trunk(image), extra)

    steps = (
        lambda: one_step(model, model.logits, features, target, fast),
        lambda: one_step(other, plain, scaled, target, package),
    )
    return dict(zip(("kit", "peer", "ratio"), in_turn(*steps, pairs)))


def ceiling(run: Path, steps: int = 12) -> dict:
    """Seconds of a training step of the run's model on one made-up batch: no loader, no files, no log."""
    settings = configure.load(RunPaths(run).config)
    memory.keep_freed()  # as a run does: without it this is no ceiling
    model = build(settings.config, 10, is_proven=True).train()
    fast = make_optimizer(model.learning(), settings.config)
    size = settings.config.image_size
    image = torch.randint(0, 256, (settings.config.batch_size, size, size, 3), dtype=torch.uint8).permute(
        0, 3, 1, 2
    )
    spent = []
    for _ in range(steps):
        began = time.perf_counter()
        one_step(model, model.forward, image, torch.arange(len(image)) % 10, fast)
        spent.append(time.perf_counter() - began)
    return {"step": median(spent[2:])}


def main() -> None:
    what, *rest = sys.argv[1:]
    if what in ("adamp", "step"):
        told = {"adamp": optimizer, "step": tail_step}[what](rest[0], int(rest[1]))
    else:
        told = ceiling(Path(rest[0])) if what == "ceiling" else stages(rest[0], rest[1:])
    print(json.dumps(told))


if __name__ == "__main__":
    process.main(main)
