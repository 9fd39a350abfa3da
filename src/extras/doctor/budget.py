"""How long and how large: seconds of a step measured, times the steps of all folds, and the peak memory,
against machine.max_hours.
"""

import copy
import os
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from src.data import features
from src.data.batches import Batch
from src.data.images import read_square
from src.extras.doctor.case import Case, Check
from src.extras.doctor.pictures import transform_of
from src.extras.findings import Finding, good, warn

KAGGLE_HOURS = 12  # of a session; 9 where the competition's own rules say so


def timed(function, device: torch.device) -> float:
    """Seconds, with all that the GPU still had to do."""
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def is_cached(case: Case) -> bool:
    """Will the trunk's output stand in a cache? As train decides it."""
    views = features.training_views(case.job.competition, case.settings, has_trunk=bool(case.model.cut_at))
    return "" not in views and features.pays_to_cache(
        case.model, case.settings, len(case.job.table), len(views), case.config.epochs * case.config.folds
    )


def seconds(case: Case) -> dict[str, float]:
    """Per image: decoding, an augmented picture, the trunk, a step of the tail and head, and their forward
    pass alone.
    """
    batch, job = case.sample(), case.job
    device, number = job.accelerator.device, len(batch.image)
    table, size, reader = job.table.head(8), case.config.image_size, job.competition.read_image
    records = table.assign(file=[str(case.settings.folder / path) for path in table["path"]]).to_dict(
        "records"
    )
    transform, features = transform_of(case), case.features_of(batch)
    found = {
        "decode": (
            timed(
                lambda: [read_square(record, size, reader, job.competition.max_pixels) for record in records],
                device,
            )
            / len(records)
        ),
        "draw": (
            timed(lambda: [transform(image) for image in batch.image[:8].cpu()], device) / 8
            if transform
            else 0.0
        ),
        "trunk": timed(lambda: case.features_of(batch), device) / number if case.model.cut_at else 0.0,
    }
    found["step"] = step_seconds(case, features) / number
    # small ones say little of a large one, whose memory counts too
    if found["step"] * case.config.batch_size < 2:
        several = torch.arange(case.config.batch_size, device=device) % number
        whole = features._replace(
            **{name: getattr(features, name)[several] for name in ("image", "target", "weight", "extra")}
        )
        found["step"] = step_seconds(case, whole) / case.config.batch_size
    found["valid"] = found["step"] / 3  # a backward pass costs about two forward ones
    return found


def step_seconds(case: Case, batch: Batch) -> float:
    """The mean of two steps after one that warms up."""
    model = copy.deepcopy(case.model)
    steps = case.steps(model, batch, replace(case.config, epochs=3), case.forward(model))
    next(steps)
    return float(np.mean([timed(lambda: next(steps), case.job.accelerator.device) for _ in range(2)]))


def hours(case: Case, cost: dict[str, float]) -> dict[str, float]:
    """Hours of each part of the whole run: all folds, all epochs."""
    config, images = case.config, len(case.job.table)
    folds = len({k for k in case.job.table["fold"] if k >= 0})
    # in one epoch of each fold
    learned, held_out = (
        folds * images - (case.job.table["fold"] >= 0).sum(),
        (case.job.table["fold"] >= 0).sum(),
    )
    helpers = max(min(case.settings.machine.workers, os.cpu_count() or 1), 1)
    passes = config.epochs * (learned * cost["step"] + held_out * cost["valid"])
    if is_cached(case):
        trunk = (
            images
            * len(features.training_views(case.job.competition, case.settings, has_trunk=True))
            * cost["trunk"]
        )
        drawing = images * max(config.views - 1, 0) * cost["draw"]
    else:
        trunk = config.epochs * (learned + held_out) * cost["trunk"]
        # the loader works beside the steps
        drawing = max(config.epochs * learned * cost["draw"] / helpers - passes, 0)
    parts = {
        "decoding": images * cost["decode"] / helpers,
        "trunk": trunk,
        "steps": passes,
        "drawing": drawing,
    }
    return {name: float(value) / 3600 for name, value in parts.items()}


def peak_memory(device: torch.device) -> tuple[str, float]:
    """What was used at most, and its share of what there is."""
    if device.type == "cuda":
        peak, there = (
            torch.cuda.max_memory_allocated(device),
            torch.cuda.get_device_properties(device).total_memory,
        )
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        there = memory_limit()
    return f"{peak / 2**30:.1f} of {there / 2**30:.0f} GiB", peak / there


def memory_limit() -> int:
    """Of the machine, or of the container where that is less."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    said = limit.read_text().strip() if limit.exists() else "max"
    return min(there, int(said)) if said.isdigit() else there


def spelled(time_hours: float) -> str:
    return (
        f"{time_hours:.1f} h"
        if time_hours >= 1
        else f"{60 * time_hours:.1f} min"
        if time_hours >= 1 / 60
        else f"{3600 * time_hours:.0f} s"
    )


def budget(case: Case) -> Finding:
    """All folds' time at most (what is in the cache already costs nothing), and the memory so far."""
    cost = seconds(case)
    parts, limit = hours(case, cost), case.settings.machine.max_hours
    total, (memory, share) = sum(parts.values()), peak_memory(case.job.accelerator.device)
    told = ", ".join(f"{name} {spelled(value)}" for name, value in parts.items() if value > 0.01 * total)
    seen = (
        f"about {spelled(total)} for all folds ({told}; {1000 * cost['step'] * case.config.batch_size:.0f} ms"
        f" a step), memory {memory}"
    )
    cheaper = (
        "fewer epochs, a smaller image_size, less that learns (trainable) so that the trunk is cached, or"
        " FOLD=0 alone"
    )
    if 0 < limit < total:
        return warn(
            f"{seen}; max_hours={limit:g}",
            f"it will stop and save before; the same command goes on later. To be done in one go: {cheaper}",
        )
    if total > KAGGLE_HOURS and not limit:
        return warn(
            seen,
            f'a Kaggle session ends after {KAGGLE_HOURS} h: MACHINE="max_hours=11.5" stops and saves before;'
            f" cheaper: {cheaper}",
        )
    if share > 0.9:
        return warn(
            seen,
            "a smaller batch_size, or image_size; a batch that does not fit on a GPU is halved by itself",
        )
    return good(seen)


BUDGET: dict[str, Check] = {"budget": budget}
