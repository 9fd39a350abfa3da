"""The work that is measured, and how: each run of the kit or of the peer is a process of its own.

The process that starts them imports no torch: the peak memory of a child begins at that of its parent.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from src.run import sources
from src.run.errors import CheckFailed

ROOT = sources.SRC.parent


class Work(NamedTuple):
    """The same for the kit and its peer."""

    settings: str = "limit=2000 image_size=160 batch_size=32"
    tail: str = "blocks.5,blocks.6,conv_head,bn2"
    step: str = "backbone=vgg19 pretrained=false trainable=5 image_size=224 batch_size=8"
    demo: str = ""  # of the demo
    folds: int = 5
    epochs: int = 9
    pairs: int = 3  # the kit and the peer are run in turn, so often
    # of AdamP: backbone, pairs of steps, the speed-up asked for
    optimizers: tuple[tuple[str, int, float], ...] = (
        ("tf_efficientnet_lite0", 15, 1.3),
        ("convnext_tiny", 9, 2.8),
        ("vgg19", 3, 7.0),
    )
    growth: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("limit", (500, 1000, 2000)),
        ("folds", (2, 4, 8)),
        ("epochs", (2, 4, 8)),
        ("views", (1, 2, 4)),
    )
    # augmentations, pixels, cores
    feed: tuple[tuple, tuple, tuple] = (
        ("none", "light", "medium", "strong", "randaugment"),
        (224, 288),
        (1, 2),
    )
    growth_base: str = "limit=500 folds=4 epochs=4 views=2 image_size=96 batch_size=32 augment=light"


# proves that each part runs, and nothing about speed
QUICK = Work(
    settings="limit=24 image_size=32 batch_size=8 backbone=test_resnet pretrained=false",
    tail="layer4",
    step="backbone=test_resnet pretrained=false trainable=1 image_size=32 batch_size=4",
    demo="limit=24 image_size=32 backbone=test_resnet pretrained=false epochs=1 trainable=1",
    folds=2,
    epochs=1,
    pairs=1,
    optimizers=(("test_resnet", 1, 1.0),),
    growth=(("limit", (18, 24)), ("epochs", (1, 2))),
    feed=(("medium",), (32,), (1,)),
    growth_base="limit=24 folds=2 epochs=1 views=2 image_size=32 backbone=test_resnet "
    "pretrained=false augment=light",
)


class Row(NamedTuple):
    """A line of the table. ratio: peer over kit where a minimum is required, kit over peer for a maximum."""

    work: str
    kit: float
    peer: float
    ratio: float
    required: str
    note: str = ""


class Process(NamedTuple):
    """A finished process: seconds, peak memory (MiB, of its largest part), the JSON of its last line."""

    seconds: float
    peak: float
    result: dict


Stages = dict[str, Process]  # by name; those that share a process, by the name of the first


class Bench:
    """Runs the kit and its peers in a temporary folder; the runs of several parts are made only once."""

    def __init__(self, work: Work, comp: str, inputs: Path, folder: Path) -> None:
        self.work, self.comp, self.inputs, self.folder = work, comp, inputs, folder
        (folder / "weights").symlink_to(ROOT / "weights")
        self.head_pairs: dict[str, list[tuple[Stages, Process]]] = {}

    def call(
        self, *words: str, changes: str = "", engine: str = "auto", cache: str = "cache", demo: bool = False
    ) -> Process:
        """Run `python -m words`. Raises CheckFailed with the end of its output when it fails."""
        environ = {
            "PYTHONPATH": str(ROOT),
            "COMP": "demo" if demo else self.comp,
            "EXP": "demo" if demo else "baseline",
            "INPUTS": str(self.inputs),
            "CACHE": cache,
            "SET": changes,
            "MACHINE": f"wandb=off device=cpu sanity=false engine={engine}",
            "HF_HUB_OFFLINE": "1",
        }
        log, command = self.folder / "log.txt", [sys.executable, "-m", *words]
        began = time.perf_counter()
        with log.open("w") as out:
            child = subprocess.Popen(
                command, cwd=self.folder, env=os.environ | environ, stdout=out, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        lines = log.read_text().splitlines() or [""]
        if child.returncode:
            raise CheckFailed("\n".join([f"{' '.join(words)} failed:", *lines[-15:]]))
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        return Process(seconds, peak, json.loads(lines[-1]) if lines[-1].startswith("{") else {})

    def settings(self, trainable: str, **changes: object) -> str:
        """The SET of a run that learns so."""
        work = self.work
        base = {"folds": work.folds, "epochs": work.epochs, "views": 1, "augment": "none", "head_epochs": 0}
        pairs = base | {"trainable": trainable} | changes
        return " ".join([work.settings, *(f"{name}={value}" for name, value in pairs.items())])

    def kit(self, name: str, changes: str, stages: str = "train predict submit", **options: Any) -> Stages:
        """The kit's stages as make calls them, from nothing or from what is in the cache."""
        run = folder_of(name)
        done = {"config": self.call("src", "configure", run, changes=changes, **options)}
        if not (self.folder / run / "folds.csv").exists():
            done["split"] = self.call("src", "split", run, changes=changes, **options)
        if stages:
            done[stages.split()[0]] = self.stages(run, stages, changes=changes, **options)
        return done

    def stages(self, run: str, stages: str, **options: Any) -> Process:
        """Several stages in one process, with a clock around each part."""
        return self.call("src.extras.bench.inside", "stages", run, *stages.split(), **options)

    def peer(self, name: str, kind: str = "plain") -> Process:
        """One fold of this run by a loop of another kind."""
        return self.call("src.extras.bench.peer", folder_of(name), "--by", kind)

    def frameworks(
        self, work: str, name: str, kit: float, seconds_of: Callable[[Process], float]
    ) -> list[Row]:
        """Rows of Lightning and fastai where they are installed, each run once on the work of this run."""
        rows = []
        for package in ("lightning", "fastai"):
            if installed(package):
                peer = seconds_of(self.peer(name, package))
                rows.append(Row(f"  {work}, {package} as the peer", kit, peer, peer / kit, "", "one run"))
        return rows

    def all_folds(self, peer: Process) -> float:
        """The peer's seconds for all folds and epochs, scaled from what it did."""
        epochs = self.work.epochs * median(peer.result["epoch"])
        return peer.result["start"] + self.work.folds * (epochs + peer.result["test"])

    def heads(self, engine: str) -> list[tuple[Stages, Process]]:
        """Pairs of kit and peer where the head alone learns, each with an empty cache."""
        if engine not in self.head_pairs:
            changes = self.settings("head")
            self.head_pairs[engine] = [
                (self.kit(name, changes, engine=engine, cache=f"cache-{name}"), self.peer(name))
                for name in (f"head-{engine}-{pair}" for pair in range(self.work.pairs))
            ]
        return self.head_pairs[engine]


def folder_of(name: str) -> str:
    """A folder for each run, where it finds no other run to reuse; the run "a/b" is to reuse what a has."""
    return name if "/" in name else f"{name}/{name}"


def total(stages: Stages) -> float:
    """Seconds of all their processes."""
    return sum(process.seconds for process in stages.values())


def installed(package: str) -> str:
    """Its version, or nothing."""
    return version(package) if importlib.util.find_spec(package) else ""


def engines() -> list[str]:
    """What can run the trunk here."""
    has_openvino = installed("openvino") and (sources.SRC / "model" / "engine_openvino.py").exists()
    return ["torch", "openvino"] if has_openvino else ["torch"]
