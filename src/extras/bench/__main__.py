"""The kit against a plain loop on the same work, both as processes in turn.  Prints the table of ratios,
writes bench.json

Run: make bench [COMP=name] [ONLY=head,adamp]      parts: head tail full step adamp inference memory growth;
about 35 minutes on 2 quiet cores All happens in a temporary folder. What is too long for a table (5 folds x 9
epochs of the plain loop) is scaled from real epochs: its column says so. This process stays small: a child's
peak memory begins at its parent's. So it imports no torch.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from src.run import hashing, process, provenance
from src.run.errors import CheckFailed
from src.run.files import read_json, write_json

ROOT = hashing.SRC.parent
PACKAGES = ("torch", "timm", "adamp", "openvino")


class Work(NamedTuple):
    """The work: shared by kit and peer. The quick one only proves that each part runs."""

    settings: str = "limit=2000 image_size=160 batch_size=32"
    tail: str = "blocks.5,blocks.6,conv_head,bn2"
    step: str = "backbone=vgg19 pretrained=false trainable=5 image_size=224 batch_size=8"
    folds: int = 5
    epochs: int = 9
    pairs: int = 3
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
    growth_base: str = "limit=500 folds=4 epochs=4 views=2 image_size=96 batch_size=32 augment=light"


QUICK = Work(
    "limit=24 image_size=32 batch_size=8 backbone=test_resnet pretrained=false",
    "layer4",
    "backbone=test_resnet pretrained=false trainable=1 image_size=32 batch_size=4",
    2,
    1,
    1,
    (("test_resnet", 1, 1.0),),
    (("limit", (18, 24)), ("epochs", (1, 2))),
    "limit=24 folds=2 epochs=1 views=2 image_size=32 backbone=test_resnet pretrained=false augment=light",
)


class Row(NamedTuple):
    work: str
    kit: float
    peer: float
    ratio: float
    asked: str
    note: str = ""


class Ran(NamedTuple):
    """A child process: seconds and peak memory (MiB, of the largest of its processes), and what its last line
    told.
    """

    seconds: float
    peak: float
    told: dict


class Bench:
    """The folder where it happens, and what several parts need: each run of the kit and of the peer is made
    once.
    """

    def __init__(self, work: Work, comp: str, inputs: Path, folder: Path) -> None:
        self.work, self.comp, self.inputs, self.folder = work, comp, inputs, folder
        (folder / "weights").symlink_to(ROOT / "weights")
        self.heads: dict[str, list[tuple[dict[str, Ran], Ran]]] = {}

    def call(self, *words: str, changes: str = "", engine: str = "auto", cache: str = "cache") -> Ran:
        environ = {
            "PYTHONPATH": str(ROOT),
            "COMP": self.comp,
            "EXP": "baseline",
            "INPUTS": str(self.inputs),
            "CACHE": cache,
            "SET": changes,
            "MACHINE": f"wandb=off device=cpu sanity=false engine={engine}",
            "HF_HUB_OFFLINE": "1",
        }
        log = self.folder / "log.txt"
        began = time.perf_counter()
        with log.open("w") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=self.folder,
                env=os.environ | environ,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds, lines = time.perf_counter() - began, log.read_text().splitlines() or [""]
        if child.returncode:
            raise CheckFailed("\n".join([f"{' '.join(words)} failed:", *lines[-15:]]))
        return Ran(
            seconds,
            usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
            json.loads(lines[-1]) if lines[-1][:1] == "{" else {},
        )

    def settings(self, learns: str, **changes: object) -> str:
        base = {
            "folds": self.work.folds,
            "epochs": self.work.epochs,
            "views": 1,
            "augment": "none",
            "head_epochs": 0,
            "trainable": learns,
        } | changes
        return " ".join([self.work.settings, *(f"{name}={value}" for name, value in base.items())])

    def kit(
        self, name: str, changes: str, stages: str = "train + predict + submit", **how: str
    ) -> dict[str, Ran]:
        """The stages from nothing (or what is in the cache), as make calls them; those in one process count
        by the first one's name.
        """
        run = place(name)
        spent = {"config": self.call("src.run.configure", run, changes=changes, **how)}
        if not (self.folder / run / "folds.csv").exists():  # config has found equal ones
            spent["split"] = self.call("src.split", run, changes=changes, **how)
        if stages:
            spent[stages.split()[0]] = self.inside(run, stages, changes=changes, **how)
        return spent

    def inside(self, run: str, stages: str, **how: str) -> Ran:
        return self.call("src.extras.bench.inside", "stages", run, *stages.split(), **how)

    def peer(self, name: str, by: str = "plain") -> Ran:
        return self.call("src.extras.bench.peer", place(name), "--by", by)

    def others(self, work: str, name: str, seconds: float, take: Callable[[Ran], float]) -> list[Row]:
        """Rows of the frameworks that are installed, each run once on the work of a run that is there."""
        found = [
            (package, take(self.peer(name, package)))
            for package in ("lightning", "fastai")
            if installed(package)
        ]
        return [
            Row(f"  {work}, {package} as the peer", seconds, peer, peer / seconds, "", "one run")
            for package, peer in found
        ]

    def job(self, ran: Ran) -> float:
        """The peer's seconds for all folds and epochs, scaled from what it did."""
        return ran.told["start"] + self.work.folds * (
            self.work.epochs * median(ran.told["epoch"]) + ran.told["test"]
        )

    def head(self, engine: str) -> list[tuple[dict[str, Ran], Ran]]:
        """Pairs of kit and peer on the head alone, each with an empty cache."""
        if engine not in self.heads:
            pairs = range(self.work.pairs)
            names = [f"head-{engine}-{pair}" for pair in pairs]
            self.heads[engine] = [
                (self.kit(n, self.settings("head"), engine=engine, cache=f"cache-{n}"), self.peer(n))
                for n in names
            ]
        return self.heads[engine]


def place(name: str) -> str:
    """A folder of its own for each run: beside others it would take over their folds, as "a/b" does those of
    a.
    """
    return name if "/" in name else f"{name}/{name}"


def total(spent: dict[str, Ran]) -> float:
    return sum(ran.seconds for ran in spent.values())


def engines() -> list[str]:
    return ["torch"] + ["openvino"] * bool(
        importlib.util.find_spec("openvino") and (hashing.SRC / "model" / "engine_openvino.py").exists()
    )


def compared(work: str, pairs: list[tuple[float, float]], asked: str, note: str = "") -> Row:
    """(kit's, peer's) seconds of runs in turn: medians, and the median of the ratios."""
    return Row(
        work,
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
        median(b / a for a, b in pairs),
        asked,
        note,
    )


def head(bench: Bench) -> list[Row]:
    rows, scaled = [], "peer scaled from 1 epoch"
    size = f"{bench.work.folds} x {bench.work.epochs}"
    for engine in engines():
        done = bench.head(engine)
        rows.append(
            compared(
                f"head {size}, {engine}, whole processes",
                [(total(kit), bench.job(peer)) for kit, peer in done],
                ">= 60" if engine == "openvino" else ">= 30",
                scaled,
            )
        )
        stages = [kit["train"].seconds for kit, _ in done]
        once = [bench.peer(f"head-{engine}-{pair}", "once").seconds for pair in range(bench.work.pairs)]
        rows.append(
            Row(
                f"  its process that trains and submits over one that passes each image once, {engine}",
                median(stages),
                median(once),
                median(a / b for a, b in zip(stages, once)),
                "<= 1.3",
                "that process: torch, channels_last",
            )
        )
        for what, parts in (
            ("imports, decoding and trunk", ("start", "decode", "trunk")),
            ("decoding and trunk alone", ("decode", "trunk")),
        ):
            inside = [sum(kit["train"].told[part] for part in parts) for kit, _ in done]
            share = median(a / b for a, b in zip(stages, inside))
            rows.append(
                Row(
                    f"  and over its own {what}, {engine}",
                    median(stages),
                    median(inside),
                    share,
                    "<= 1.3" if "start" in parts else "",
                    "",
                )
            )
    for engine in engines():
        first = bench.head(engine)
        where, other = f"head-{engine}", bench.settings("head", lr=5e-3)
        second = [
            bench.kit(f"{where}-{pair}/second", other, engine=engine, cache=f"cache-{where}-{pair}")
            for pair in range(bench.work.pairs)
        ]
        passes, before = (
            sum(kit["train"].told.get("pass_calls", 0) for kit in second),
            median(total(kit) for kit, _ in first),
        )
        share = median(total(kit) / total(one) for kit, (one, _) in zip(second, first))
        spent = median(total(kit) for kit in second)
        rows.append(
            Row(
                f"second experiment, same trunk, {engine}",
                spent,
                before,
                share,
                "<= 0.33",
                f"{passes} trunk passes",
            )
        )
    rows += bench.others(f"head {size}", f"head-{engine}-0", before, bench.job)
    return rows


def tail(bench: Bench) -> list[Row]:
    """Two epochs of one fold each, and what is done once; 5 x 9 of both from that."""
    work, found, four = bench.work, [], []
    for pair in range(work.pairs):
        name = f"tail-{pair}"
        spent = bench.kit(
            name,
            bench.settings(work.tail, epochs=2 if work.epochs > 1 else 1),
            stages="",
            cache=f"cache-{name}",
        )
        ran = bench.inside(place(name), "train + predict")
        told, epochs = ran.told, work.folds * (2 if work.epochs > 1 else 1)
        repeated = told["steps"] + told["valid"]
        once = total(spent) + ran.seconds - repeated
        job = once + repeated / epochs * work.folds * work.epochs
        peer = bench.job(bench.peer(name))
        found.append((job, peer))
        four.append((job + 3 * told.get("trunk", 0), peer))
    size = f"tail {work.folds} x {work.epochs}"
    one = compared(f"{size}, views=1", found, ">= 3.6", "both scaled from real epochs")
    return [
        one,
        compared(f"{size}, views=4", four, "", "3 more passes of the trunk added"),
        *bench.others(size, "tail-0", one.kit, bench.job),
    ]


def full(bench: Bench) -> list[Row]:
    found, shares, peers = [], [], []
    for pair in range(bench.work.pairs):
        name = f"full-{pair}"
        spent = bench.kit(name, bench.settings("all", epochs=1, augment="none"), stages="")
        ceiling = bench.call("src.extras.bench.inside", "ceiling", place(name)).told["step"]
        ran = bench.inside(place(name), "train + predict")
        peer = bench.peer(name)
        folds, steps = bench.work.folds, peer.told["steps"]
        repeated = ran.told["steps"] + ran.told["valid"]
        # all processes of the kit, but one fold instead of five; the test images on both sides
        found.append(
            (
                total(spent) + ran.seconds - (repeated + ran.told["test"]) * (folds - 1) / folds,
                peer_whole(peer),
            )
        )
        shares.append(ceiling * steps * folds / ran.told["steps"])
        peers.append((ceiling * steps, peer.told["training"][0]))
    share, ours, theirs = median(shares), median(a for a, _ in peers), median(b for _, b in peers)
    whole = compared(
        "full, one epoch of one fold, whole process",
        found,
        ">= 1.5",
        "kit: the mean of its folds, decoding and start whole",
    )
    return [
        whole,
        *bench.others("full", "full-0", whole.kit, peer_whole),
        Row(
            "  training part over the model alone on made-up tensors",
            ours / share,
            ours,
            share,
            ">= 0.9",
            "share of the ceiling",
        ),
        Row("  the peer's share of that ceiling", theirs, ours, ours / theirs, "", ""),
    ]


def peer_whole(peer: Ran) -> float:
    """The peer's process for one fold and epoch; Lightning and fastai as they report it, without the
    validation that follows.
    """
    return peer.told["start"] + peer.told["epoch"][0] + peer.told["test"]


def step(bench: Bench) -> list[Row]:
    told = bench.call("src.extras.bench.inside", "step", bench.work.step, str(bench.work.pairs)).told
    backbone = bench.work.step.split()[0].partition("=")[2]
    return [
        Row(
            f"step, {backbone} from its last block on",
            told["kit"],
            told["peer"],
            told["ratio"],
            ">= 2.5",
            "per step",
        )
    ]


def adamp(bench: Bench) -> list[Row]:
    rows = []
    for backbone, pairs, asked in bench.work.optimizers:
        told = bench.call("src.extras.bench.inside", "adamp", backbone, str(pairs)).told
        rows.append(
            Row(
                f"AdamP step, {backbone}",
                told["kit"],
                told["peer"],
                told["ratio"],
                f">= {asked:g}",
                "bit-equal, asserted",
            )
        )
    return rows


def inference(bench: Bench) -> list[Row]:
    """All folds' models on two views of the test images; the peer passes each image through each model and
    view.
    """
    rows = []
    for engine in engines()[-1:]:
        bench.head(engine)
        inside, whole = [], []
        for pair in range(bench.work.pairs):
            name = f"head-{engine}-{pair}"
            how = {"engine": engine, "cache": f"cache-inference-{pair}"}
            spent = bench.kit(name, bench.settings("head", tta="hflip"), stages="predict", **how)["predict"]
            _, peer = bench.head(engine)[pair]
            passes = 2 * bench.work.folds * peer.told["test"]
            inside.append((spent.told["all"] - spent.told["start"] - spent.told["held"], passes))
            whole.append((spent.seconds - spent.told["held"], peer.told["start"] + passes))
        note = "peer scaled from 1 model and view; held-out views, which it has none of, taken out"
        rows += [
            compared(
                f"inference {bench.work.folds} folds x 2 views, {engine}, in the process",
                inside,
                ">= 8",
                note,
            ),
            compared("  whole process", whole, ">= 5", note),
        ]
    return rows


def memory(bench: Bench) -> list[Row]:
    kit, peer = bench.head("torch")[0]
    highest = max(ran.peak for ran in kit.values())
    held = [
        read_json(path)["memory"]["rss_mib"]
        for path in sorted((bench.folder / place("head-torch-0")).glob("fold*/done.json"))
    ]
    after = held[min(1, len(held) - 1)]
    return [
        Row(
            "peak memory, MiB", highest, peer.peak, peer.peak / highest, ">= 1", "the largest process of each"
        ),
        Row(
            "process memory after the last fold over after the second, MiB",
            held[-1],
            after,
            held[-1] / after,
            "<= 1.03",
            "",
        ),
    ]


def growth(bench: Bench) -> list[Row]:
    """Seconds within the train stage against the model of DESIGN 10: once + t V N + a K E N, fitted to all
    sizes together by least squares.
    """
    points, labels = [], []
    base = dict(pair.split("=") for pair in bench.work.growth_base.split())
    for name, sizes in bench.work.growth:
        for size in sizes:
            changes = base | {name: str(size), "trainable": bench.work.tail}
            run = f"grow-{name}-{size}"
            text = " ".join(f"{key}={value}" for key, value in changes.items())
            told = bench.kit(run, text, stages="train + predict", cache=f"cache-{run}")["train"].told
            n, k, e, v = (int(changes[key]) for key in ("limit", "folds", "epochs", "views"))
            # of K folds, K - 1 are trained on
            points.append((1, v * n, (k - 1) * e * n, told["all"] - told["start"]))
            labels.append(f"growth: {name}={size}")
    *columns, spent = np.array(points, dtype=float).T
    weights = np.linalg.lstsq(np.stack(columns, axis=1), spent, rcond=None)[0]
    expected = np.stack(columns, axis=1) @ weights
    note = f"fitted: {weights[0]:.1f} s + {weights[1] * 1e3:.1f} ms V N + {weights[2] * 1e3:.2f} ms (K-1) E N"
    return [
        Row(label, a, b, a / b, "", note if i == 0 else "")
        for i, (label, a, b) in enumerate(zip(labels, spent.tolist(), expected.tolist()))
    ]


PARTS = {f.__name__: f for f in (head, tail, full, step, adamp, inference, memory, growth)}


def show(rows: list[Row]) -> str:
    """The table. ratio: peer over kit where a floor is asked, kit over the other column where a ceiling is."""
    lines = [
        f"| {'work':64} | {'kit':>9} | {'peer':>9} | {'ratio':>6} | {'asked':>7} | note |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(
        lines
        + [
            f"| {r.work:64} | {r.kit:9.3f} | {r.peer:9.3f} | {r.ratio:6.2f} | {r.asked:>7} | {r.note} |"
            for r in rows
        ]
    )


def installed(package: str) -> str:
    return version(package) if importlib.util.find_spec(package) else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m src.extras.bench", description="The kit against a plain loop, as ratios."
    )
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    quick = parser.parse_args().quick
    inputs = Path(os.environ.get("INPUTS") or "inputs").resolve()
    comp = os.environ.get("COMP") or ("clothing" if (inputs / "clothing").is_dir() else "demo")
    asked = [part for part in os.environ.get("ONLY", "").split(",") if part] or list(PARTS)
    if unknown := sorted(set(asked) - set(PARTS)):
        raise ValueError(f"ONLY={','.join(unknown)}: the parts are {', '.join(PARTS)}")
    if not (inputs / comp).is_dir():
        raise ValueError(f"COMP={comp}: there is no folder {inputs / comp}")
    rows, began, load = [], time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(QUICK if quick else Work(), comp, inputs, Path(folder))
        for part in asked:
            found = PARTS[part](bench)
            rows += found
            print("\n".join(f"{r.work.strip()}: {r.ratio:.2f} {r.asked}" for r in found), flush=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load_before": load,
    }
    print(
        f"\n{show(rows)}\n\nseconds, {comp}, {os.cpu_count()} cores, commit {provenance.commit()},"
        f" {time.perf_counter() - began:.0f} s in all"
    )
    write_json(
        {
            "comp": comp,
            "quick": quick,
            "commit": provenance.commit(),
            "machine": machine,
            "python": platform.python_version(),
            "versions": {name: installed(name) for name in PACKAGES},
            "rows": [r._asdict() for r in rows],
        },
        Path("bench.json"),
    )


if __name__ == "__main__":
    process.main(main)
