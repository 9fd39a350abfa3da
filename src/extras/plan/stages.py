"""From counted work and measured rates to seconds, memory and disk of each stage, on one machine or several.
Pure arithmetic: the same numbers give the same plan.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from src.data.images import PIECE
from src.extras.costs import STAGES, Rates, Work, parts

KEPT_STATES = 2  # of a fold in training: src/training/state_files.py
BUS = 12e9  # bytes a second between the GPUs of a machine: half of what PCIe 4.0 x16 carries
LIGHT = 0.2e9  # bytes of a process without torch
ENOUGH = 0.7  # of the memory: arrays below this share are read from the disk once


class Sizes(NamedTuple):
    """Bytes of one piece."""

    row: float = 0.0  # of a table
    file: float = 0.0  # of an image
    prediction: float = 0.0  # of an image: kept after each epoch
    decoded: float = 0.0  # pixels of an image
    output: float = 0.0  # of the trunk for an image
    weights: float = 0.0  # of the model
    learned: float = 0.0  # of what learns; its gradients take as much
    optimizer: float = 0.0
    saved: float = 0.0  # for the backward pass of all images of a batch
    forward: float = 0.0  # of what the trunk's layers put out, for all images that pass it at once
    process: float = 0.0  # of the process before any of that


class Machines(NamedTuple):
    """What computes. All devices are taken to be like the one that was measured."""

    machines: int = 1
    devices: int = 1  # of each machine
    disk: float = 500e6  # bytes a second, of each machine
    network: float = 10e9 / 8  # bytes a second, of each machine
    memory: float = math.inf  # bytes, of each machine

    @property
    def all_devices(self) -> int:
        return self.machines * self.devices


class Stage(NamedTuple):
    """compute, disk, network: seconds. Disks are read and written beside the computing, the network is waited
    for.
    """

    name: str
    compute: float
    disk: float = 0.0
    network: float = 0.0
    memory: float = 0.0  # bytes, at most
    room: float = 0.0  # bytes on the disk
    done: float = 0.0  # the share that is there already

    @property
    def seconds(self) -> float:
        return max(self.compute, self.disk) + self.network

    @property
    def left(self) -> float:
        return self.seconds * (1 - self.done)


class Training(NamedTuple):
    """One way to share the training out; seconds."""

    spread: str  # folds or fold
    compute: float
    disk: float
    network: float

    @property
    def seconds(self) -> float:
        return max(self.compute, self.disk) + self.network


def trainings(work: Work, rates: Rates, sizes: Sizes, machines: Machines, step_size: int) -> list[Training]:
    """Whole folds side by side, and each fold over all devices, which divide the images of a step.

    Every machine fetches once what the others have decoded, or computed by the trunk; what does not stay in
    its memory is read in every epoch. A step of several devices waits for the sum of their gradients: a ring
    sends 2 (D - 1) / D of their bytes through the slowest link (Patarasuk and Yuan 2009).
    """
    seconds, devices, number = parts(work, rates), machines.all_devices, machines.machines
    made = room(work, sizes)
    arrays = made["trunk"] or made["decode"] or work.images * sizes.file
    fetching = arrays * (number - 1) / number / machines.network
    is_read_again = arrays > ENOUGH * machines.memory
    reading = arrays * (work.models * work.epochs if is_read_again else 1) / machines.disk
    rounds = math.ceil(work.models / devices)
    together = (seconds["folds"] + seconds["epochs"]) * rounds / work.models
    link = machines.network if number > 1 else BUS
    gradients = 2 * (devices - 1) / devices * sizes.learned / link
    num_steps = math.ceil(work.epochs * work.learned / step_size)
    return [
        Training("folds", together, reading / min(number, work.models), fetching),
        Training(
            "fold",
            seconds["folds"] + seconds["epochs"] / devices,
            reading / number,
            fetching + num_steps * gradients,
        ),
    ]


def memory(work: Work, sizes: Sizes) -> dict[str, float]:
    """Bytes of a process in each stage, at most."""
    rows = (work.images + work.test) * sizes.row
    base, light = sizes.process + rows, LIGHT + 4 * rows
    forward = base + sizes.weights + sizes.forward
    step = base + sizes.weights + 2 * sizes.learned + sizes.optimizer + sizes.saved
    predictions = work.epochs * work.held_out * sizes.prediction  # of all folds
    return dict.fromkeys(STAGES, base) | {
        "split": light,
        "decode": base + PIECE * sizes.decoded,
        "trunk": forward,
        "train": step + predictions / work.folds,
        "evaluate": base + predictions,
        "predict": forward + 2 * work.test * sizes.prediction,
        "submit": light,
    }


def room(work: Work, sizes: Sizes, at_once: int = 1) -> dict[str, float]:
    """Bytes that each stage leaves on the disk; at_once: folds that are in training, with their states."""
    states = KEPT_STATES * min(at_once, work.models) * (sizes.learned + sizes.optimizer)
    test_views = work.is_test_cached * work.test_views
    return {
        "split": 2 * (work.images + work.test) * sizes.row,
        "decode": work.is_decoded * work.images * sizes.decoded,
        "trunk": work.images * work.views * sizes.output,
        "train": work.models * sizes.learned + states + work.epochs * work.held_out * sizes.prediction,
        "predict": work.predicting * work.test * sizes.prediction
        + work.test * (work.is_test_decoded * sizes.decoded + test_views * sizes.output),
    }


def moved(work: Work, sizes: Sizes, machines: Machines) -> dict[str, float]:
    """Bytes through the disk of each machine, but those of the training."""
    files, made = work.images * sizes.file, room(work, sizes)
    return {
        "split": files,
        "decode": (files + made["decode"]) / machines.machines,
        "trunk": bool(work.views) * (made["decode"] + made["trunk"]) / machines.machines,
        "predict": (2 * work.test * sizes.file + made["predict"]) / machines.machines,
    }


def stages(
    work: Work,
    rates: Rates,
    sizes: Sizes,
    machines: Machines,
    *,
    step_size: int = 32,
    done: Mapping[str, float] | None = None,
) -> list[Stage]:
    """The stages of a run. step_size: images of a step of the optimizer; done: part of
    costs.parts -> the share that is there already. Images lie where all machines see them.
    """
    devices, number, is_done = machines.all_devices, machines.machines, done or {}
    seconds = parts(work, rates)
    shared = {"decode": number, "test decode": number, "trunk": devices, "test trunk": devices}
    shared["test models"] = min(devices, work.predicting)
    seconds |= {part: seconds[part] / among for part, among in shared.items()}
    training = min(trainings(work, rates, sizes, machines, step_size), key=lambda way: way.seconds)
    seconds |= {"folds": training.compute, "epochs": 0.0}
    fetched = {"split": work.images, "decode": work.images / number, "predict": work.test / number}
    taken, highest = room(work, sizes, at_once=devices), memory(work, sizes)
    disk = {name: size / machines.disk for name, size in moved(work, sizes, machines).items()}
    network = {name: (number > 1) * num * sizes.file / machines.network for name, num in fetched.items()}
    disk["train"], network["train"] = training.disk, training.network
    return [
        Stage(
            name,
            compute=(compute := sum(seconds[part] for part in names)),
            disk=disk.get(name, 0.0),
            network=network.get(name, 0.0),
            memory=highest[name],
            room=taken.get(name, 0.0),
            done=sum(seconds[part] * is_done.get(part, 0.0) for part in names) / max(compute, 1e-12),
        )
        for name, names in STAGES.items()
    ]


def total(stages: list[Stage]) -> float:
    """Seconds of all stages, from nothing."""
    return sum(stage.seconds for stage in stages)


def left(stages: list[Stage]) -> float:
    """Seconds of what is not there yet."""
    return sum(stage.left for stage in stages)
