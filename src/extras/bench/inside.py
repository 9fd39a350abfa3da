"""What the benchmark measures within a process; its last line is JSON.

Run: python -m src.extras.bench.inside stages runs/<name> train predict     stages, a clock around each part
     python -m src.extras.bench.inside adamp vgg19 3                        the optimizer, 3 pairs of steps
     python -m src.extras.bench.inside step SET 3                           a step on the trunk's cache
     python -m src.extras.bench.inside ceiling runs/<name>                  a step on made-up tensors
     python -m src.extras.bench.inside plain NAME 12                        12 steps of a whole backbone
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

BEGAN = time.perf_counter()
gc.disable()  # while it imports, as src/__main__.py does
import adamp
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src import config, predict, prepare, train_fold, validation
from src.__main__ import exit_code, run_commands
from src.data import features
from src.model.classifier import Classifier, build
from src.run import configure, memory, overrides
from src.run.paths import RunPaths
from src.training.adamp import AdamP
from src.training.optim import make_optimizer

IMPORT_SECONDS = time.perf_counter() - BEGAN
gc.freeze()
gc.enable()
CLOCKS = (
    (prepare, "decode", "decode"),
    (predict, "decode", "decode"),
    (features, "trunk_outputs", "trunk"),
    (features, "run_trunk", "pass"),
    (train_fold, "train_epoch", "steps"),
    (validation.Validation, "after_epoch", "valid"),
    (predict, "predict_test", "test"),
    (predict, "predict_held_out", "held"),
)


def clock(seconds: dict[str, float], module: Any, name: str, label: str) -> None:
    """Wrap a function: sum its seconds, count its calls. Of a generator its own, not those of its reader."""
    function = getattr(module, name)

    def timed(*args, **kwargs):
        began = time.perf_counter()
        seconds[f"{label}_calls"] = seconds.get(f"{label}_calls", 0) + 1
        try:
            return function(*args, **kwargs)
        finally:
            seconds[label] = seconds.get(label, 0.0) + time.perf_counter() - began

    def timed_steps(*args, **kwargs):
        steps = function(*args, **kwargs)
        while True:
            began = time.perf_counter()
            step = next(steps, None)
            if step is None:
                return
            seconds[label] = seconds.get(label, 0.0) + time.perf_counter() - began
            seconds["num_steps"] = seconds.get("num_steps", 0) + 1
            yield step

    setattr(module, name, timed_steps if label == "steps" else timed)


def stages(run: str, words: list[str]) -> dict:
    """Seconds of the imports, of each part, and of the whole process."""
    seconds = {"start": IMPORT_SECONDS}
    for module, function, label in CLOCKS:
        clock(seconds, module, function, label)
    run_commands([*words, run])
    return seconds | {"all": time.perf_counter() - BEGAN}


def in_turn(kit: Callable, peer: Callable, pairs: int) -> dict[str, float]:
    """Medians of the seconds of both and of peer over kit, after one pair that is not counted."""
    seconds = []
    for _ in range(pairs + 1):
        began = time.perf_counter()
        peer()
        between = time.perf_counter()
        kit()
        seconds.append((time.perf_counter() - between, between - began))
    ours, theirs = zip(*seconds[1:])
    ratio = median(b / a for a, b in zip(ours, theirs))
    return {"kit": median(ours), "peer": median(theirs), "ratio": ratio}


def optimizer(backbone: str, pairs: int) -> dict:
    """AdamP's step on a backbone's shapes against the package's; both must make the same bits."""
    with torch.device("meta"):
        shapes = [p.shape for p in timm.create_model(backbone).parameters()]
    torch.manual_seed(0)
    values, grads = ([scale * torch.randn(shape) for shape in shapes] for scale in (0.05, 0.01))

    def make(kind: type) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
        params = [nn.Parameter(value.clone()) for value in values]
        for p, grad in zip(params, grads):
            p.grad = grad
        matrices, vectors = [p for p in params if p.ndim > 1], [p for p in params if p.ndim < 2]
        return params, kind([{"params": matrices, "weight_decay": 0.01}, {"params": vectors}], lr=1e-3)

    (ours, fast), (theirs, package) = make(AdamP), make(adamp.AdamP)
    seconds = in_turn(fast.step, package.step, pairs)
    is_equal = all(torch.equal(a, b) for a, b in zip(ours, theirs))
    assert is_equal, f"AdamP differs from the package on {backbone}"
    return seconds


def one_step(
    model: Classifier, forward: Callable, image: Tensor, target: Tensor, optimizer: torch.optim.Optimizer
) -> None:
    loss = F.cross_entropy(forward(image, torch.zeros(len(image), 0)), target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def make_model(changes: str) -> tuple[Classifier, config.Config]:
    experiment = config.resolve(config.Config(**overrides.parse_set(changes)))
    return build(experiment, 10, is_proven=True).train(), experiment


def tail_step(changes: str, pairs: int) -> dict:
    """A step on the trunk's cached output, against one of the whole model with the package's optimizer."""
    model, experiment = make_model(changes)
    other = make_model(changes)[0].to(memory_format=torch.contiguous_format)
    shape = (experiment.batch_size, 3, experiment.image_size, experiment.image_size)
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    target, features = torch.arange(len(image)) % 10, model.features(image)
    fast = make_optimizer(model.learning(), experiment)
    package = adamp.AdamP([p for p in other.parameters() if p.requires_grad], lr=1e-3)
    scaled = (image.float() / 255 - 0.5) / 0.5  # the peer's loader has normalised it

    def whole(image: Tensor, extra: Tensor) -> Tensor:
        return other.logits(other.trunk(image), extra)

    return in_turn(
        lambda: one_step(model, model.logits, features, target, fast),
        lambda: one_step(other, whole, scaled, target, package),
        pairs,
    )


def ceiling(run: Path, steps: int = 12) -> dict:
    """Seconds of a training step of the run's model on one made-up batch: no loader, no files, no log."""
    experiment = configure.load(RunPaths(run).config).config
    memory.keep_freed()  # as a run does: without it this is no ceiling
    model = build(experiment, 10, is_proven=True).train()
    fast = make_optimizer(model.learning(), experiment)
    shape = (experiment.batch_size, experiment.image_size, experiment.image_size, 3)
    image = torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2)
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        one_step(model, model.forward, image, torch.arange(len(image)) % 10, fast)
        seconds.append(time.perf_counter() - began)
    return {"step": median(seconds[2:])}


def plain(backbone: str, steps: int) -> dict:
    """Seconds of a training step as a plain loop has it: the whole backbone, 32 images of 96 px, AdamW."""
    model = timm.create_model(backbone, num_classes=10)
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-4)
    image, seconds = torch.randn(32, 3, 96, 96), []
    for _ in range(steps):
        began = time.perf_counter()
        F.cross_entropy(model(image), torch.arange(32) % 10).backward()
        adamw.step()
        adamw.zero_grad()
        seconds.append(time.perf_counter() - began)
    return {"step": median(seconds[2:])}


def main() -> None:
    name, *rest = sys.argv[1:]
    if name == "stages":
        result = stages(rest[0], rest[1:])
    elif name == "ceiling":
        result = ceiling(Path(rest[0]))
    else:
        result = {"adamp": optimizer, "step": tail_step, "plain": plain}[name](rest[0], int(rest[1]))
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(exit_code(main))
