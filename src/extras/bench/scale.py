"""How memory, open files and seconds of each stage grow with the number of images: made-up competitions of
several sizes through all stages.  -> a table, scale.json

Run: make bench ONLY=scale [SIZES=2000,20000]      a quiet machine, 12 minutes for all three sizes
     python -m src.extras.bench.scale_plot scale.json docs/images/scale.svg
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from src.extras.bench.scale_data import COMPETITIONS
from src.extras.bench.work import ROOT
from src.run import provenance
from src.run.errors import CheckFailed
from src.run.files import write_json

SIZES = (2_000, 20_000, 200_000)
TIMES = {
    "images": 1,
    "rows": 10,
}  # rows for each image: two million at the largest size; half of all are tested
INTERVAL = 0.02  # seconds between two looks at a process
EXPERIMENTS = {
    "images": "trainable=head epochs=3 folds=2 image_size=32 batch_size=128",
    "rows": "pretrained=false trainable=head image_size=32",  # nothing is trained
}
# proves that each stage runs
QUICK = {
    "images": "backbone=test_resnet pretrained=false trainable=head epochs=1 folds=2 image_size=16",
    "rows": EXPERIMENTS["rows"],
}
STAGES = {"images": ("split", "train", "predict", "submit"), "rows": ("split", "folds", "submit")}


class Part(NamedTuple):
    """What a part of a stage took: seconds, those of all processor cores, the most memory in MiB, the most
    open files.
    """

    kind: str
    size: int
    part: str
    seconds: float = 0.0
    processor: float = 0.0
    resident: float = 0.0  # with the pages of mapped files
    anonymous: float = 0.0  # without them: what can't be read again
    files: int = 0


def use_of(process: int) -> tuple[float, float, float, int]:
    """Its seconds of processor so far, resident and anonymous memory in MiB, and open files."""
    folder = Path(f"/proc/{process}")
    fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    resident, anonymous = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
    times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]  # of user and system
    seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return seconds, resident, anonymous, len(os.listdir(folder / "fd"))


def watched(child: subprocess.Popen, note: Path, kind: str, size: int) -> dict[str, Part]:
    """The parts of a process by name, looked at until it ends. note: where it writes down what it is at."""
    parts: dict[str, Part] = {}
    last, spent = time.perf_counter(), 0.0
    while child.poll() is None:
        time.sleep(INTERVAL)
        try:
            processor, resident, anonymous, files = use_of(child.pid)
            name = note.read_text() or "start"
        except (OSError, KeyError):  # it has just ended
            continue
        now = time.perf_counter()
        part = parts.get(name, Part(kind, size, name))
        parts[name] = part._replace(
            seconds=part.seconds + now - last,
            processor=part.processor + processor - spent,
            resident=max(part.resident, resident),
            anonymous=max(part.anonymous, anonymous),
            files=max(part.files, files),
        )
        last, spent = now, processor
    return parts


def measure(kind: str, size: int, folder: Path, settings: str) -> Iterator[Part]:
    """The parts of all stages on a competition of this size, each stage a process. Raises CheckFailed."""
    comp, run, note = f"{kind}-{size}", f"runs/{kind}-{size}", folder / "note.txt"
    COMPETITIONS[kind](folder / "inputs" / comp, size - size // 2, size // 2)
    environ = os.environ | {
        "PYTHONPATH": str(ROOT),
        "COMP": comp,
        "EXP": "head",
        "INPUTS": "inputs",
        "CACHE": "cache",
        "SET": settings,
        "MACHINE": "wandb=off device=cpu sanity=false",
        "HF_HUB_OFFLINE": "1",
    }
    for stage in ("configure", *STAGES[kind]):
        words = ["src.extras.bench.scale_stage", str(note), run, stage]
        note.write_text("start")
        with (folder / "log.txt").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", *words], cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT
            )
            parts = watched(child, note, kind, size)
        if child.returncode:
            end = (folder / "log.txt").read_text().splitlines()[-15:]
            raise CheckFailed("\n".join([f"{stage} of {comp} failed:", *end]))
        yield from (parts[name] for name in parts if name != "start")


def table_of(parts: list[Part]) -> str:
    """In Markdown, a table per kind, a line per part: seconds (of all cores), the most memory without and
    with mapped files, open files.
    """
    sizes = {kind: sorted({part.size for part in parts if part.kind == kind}) for kind in COMPETITIONS}
    lines = []
    for kind in COMPETITIONS:
        heads = [f"{size:,}" for size in sizes[kind]]
        lines += ["", f"| {kind} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        names = dict.fromkeys(part.part for part in parts if part.kind == kind)
        for name in names:
            of_size = {part.size: part for part in parts if (part.kind, part.part) == (kind, name)}
            lines.append(f"| {name} | " + " | ".join(cell(of_size.get(size)) for size in sizes[kind]) + " |")
    return "\n".join(lines)


def cell(part: Part | None) -> str:
    if part is None:
        return "-"
    memory = f"{part.anonymous:,.0f} of {part.resident:,.0f} MiB"
    return f"{part.seconds:.1f} s ({part.processor:.1f}), {memory}, {part.files} files"


def main(sizes: Sequence[int], settings: dict[str, str]) -> None:
    """Measure all sizes, print the table and write scale.json. settings: SET by kind of competition. Raises
    ValueError where the system does not tell.
    """
    if sys.platform != "linux":
        raise ValueError("ONLY=scale reads /proc, which Linux alone has")
    parts: list[Part] = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weights").symlink_to(ROOT / "weights")
        for kind in COMPETITIONS:
            for size in sizes:
                for part in measure(kind, TIMES[kind] * size, Path(folder), settings[kind]):
                    print(f"{kind} {part.size:,} {part.part}: {cell(part)}", flush=True)
                    parts.append(part)
    print(table_of(parts))
    result = {"commit": provenance.commit(), "cores": os.cpu_count(), "settings": settings}
    write_json(result | {"parts": [part._asdict() for part in parts]}, Path("scale.json"))
