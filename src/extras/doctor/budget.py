"""How long and how large: seconds of a step measured, times the steps of all folds, and the peak memory,
against machine.max_hours.
"""

import copy
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from src.config import decoded_size
from src.data.augment import PerImage
from src.data.batches import Batch
from src.data.draws import Draws
from src.data.images import read_square
from src.data.views import training_views
from src.extras import costs
from src.extras.doctor.pictures import transform_of
from src.extras.doctor.setup import Check, Setup
from src.extras.findings import Finding, good, warn
from src.prepare import caches_trunk

KAGGLE_HOURS = 12  # of a session; 9 where the competition's own rules say so


def timed(setup: Setup, function: Callable[[], object]) -> float:
    """Seconds, until the GPU has finished too."""
    began = time.perf_counter()
    function()
    if setup.device.type == "cuda":
        torch.cuda.synchronize(setup.device)
    return time.perf_counter() - began


def seconds_per_image(setup: Setup) -> dict[str, float]:
    """Of decoding, augmenting, the trunk, a step of tail and head, and their forward pass alone."""
    batch, config, competition = setup.sample(), setup.config, setup.competition
    number, transform, cached = len(batch.image), transform_of(setup), setup.features_of(batch)
    table = setup.table.head(8)
    files = [str(setup.settings.folder / path) for path in table["path"]]
    records = table.assign(file=files).to_dict("records")

    def decode() -> None:
        for record in records:
            read_square(record, decoded_size(config), competition.read_image, competition.max_pixels)

    seconds = {"decode": timed(setup, decode) / len(records), "draw": 0.0, "trunk": 0.0}
    if transform:
        images = batch.image[:8].cpu()
        draws = Draws(np.arange(len(images), dtype=np.uint64))
        seconds["draw"] = timed(setup, lambda: transform(images, draws)) / len(images)
    if setup.model.cut_at:
        seconds["trunk"] = timed(setup, lambda: setup.features_of(batch)) / number
    step = step_seconds(setup, cached) / number
    if step * config.batch_size < 2:  # a small batch says little about a large one, whose memory counts too
        rows = torch.arange(config.batch_size).to(setup.device) % number
        parts = {name: getattr(cached, name)[rows] for name in ("image", "target", "weight", "extra")}
        step = step_seconds(setup, cached._replace(**parts)) / config.batch_size
    return seconds | {"step": step, "valid": step / 3}  # a backward pass costs about two forward ones


def step_seconds(setup: Setup, batch: Batch) -> float:
    """The mean of two steps after one that warms up."""
    model = copy.deepcopy(setup.model)
    steps = setup.steps(model, batch, replace(setup.config, epochs=3), setup.forward(model))
    next(steps)
    return float(np.mean([timed(setup, lambda: next(steps)) for _ in range(2)]))


def seconds_of_stages(setup: Setup, seconds: dict[str, float]) -> dict[str, float]:
    """Seconds of each stage of the whole run: all folds, all epochs."""
    is_cached = caches_trunk(setup.run, len(setup.table), setup.model, setup.device.type)
    views = training_views(setup.config, setup.competition, has_trunk=True) if is_cached else {}
    workers = max(min(setup.settings.machine.num_threads, os.cpu_count() or 1), 1)
    draw, step, valid, trunk = (seconds[name] for name in ("draw", "step", "valid", "trunk"))
    if not views:  # the trunk and the drawing are part of each step
        if isinstance(transform_of(setup), PerImage):  # in processes, beside the steps
            draw = max(draw / workers - step - trunk, 0)
        step, valid = step + trunk + draw, valid + trunk
    work = costs.Work(
        images=len(setup.table),
        held_out=int((setup.table["fold"] >= 0).sum()),
        folds=len(setup.folds),
        epochs=setup.config.epochs,
        views=len(views),
        drawn=max(len(views) - 1, 0),
    )
    decode = seconds["decode"] / workers
    rates = costs.Rates(decode=decode, trunk=trunk, drawn=trunk + draw, step=step, valid=valid)
    return costs.of_stages(costs.parts(work, rates))


def peak_memory(device: torch.device) -> tuple[str, float]:
    """The most that was used, as a text, and its share of what there is."""
    if device.type == "cuda":
        peak, total = (
            torch.cuda.max_memory_allocated(device),
            torch.cuda.get_device_properties(device).total_memory,
        )
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak, total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, costs.memory_limit()
    return f"{peak / 2**30:.1f} of {total / 2**30:.0f} GiB", peak / total


def budget(setup: Setup) -> Finding:
    """The time of all folds at most (what is in the cache already costs nothing), and the memory so far."""
    seconds = seconds_per_image(setup)
    stages, limit = seconds_of_stages(setup, seconds), setup.settings.machine.max_hours
    total = sum(stages.values())
    memory, share = peak_memory(setup.device)
    largest = ", ".join(
        f"{name} {costs.about(value)}" for name, value in stages.items() if value > 0.01 * total
    )
    step = 1000 * seconds["step"] * setup.config.batch_size
    seen = f"about {costs.about(total)} for all folds ({largest}; {step:.0f} ms a step), memory {memory}"
    cheaper = (
        "fewer epochs, a smaller image_size, a smaller trainable so that the trunk is cached, or FOLD=0 alone"
    )
    if 0 < limit < total / 3600:
        return warn(
            f"{seen}; max_hours={limit:g}",
            f"it will stop and save before; the same command goes on later. To finish in one go: {cheaper}",
        )
    if total > 3600 * KAGGLE_HOURS and not limit:
        return warn(
            seen,
            f'a Kaggle session ends after {KAGGLE_HOURS} h: MACHINE="max_hours=11.5" stops and saves before;'
            f" cheaper: {cheaper}",
        )
    if share > 0.9:
        return warn(
            seen, "a smaller batch_size or image_size; on a GPU a batch that does not fit is halved by itself"
        )
    return good(seen)


BUDGET: dict[str, Check] = {"budget": budget}
