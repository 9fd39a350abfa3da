"""The kit against a plain loop on the same work, both as processes in turn.  -> a table of ratios, bench.json

Run: make bench [COMP=name] [ONLY=head,adamp]      parts: head tail full step demo adamp inference memory
growth feed; by itself alone: scale (SIZES=2000,20000)

It takes about 35 minutes on 2 quiet cores, all in a temporary folder. What is too long for a table (5 folds
x 9 epochs of the plain loop) is scaled from real epochs; the column `note` says so.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

from src.extras.bench import scale
from src.extras.bench.parts import PARTS
from src.extras.bench.work import QUICK, Bench, Row, Work, installed
from src.run import provenance
from src.run.files import write_json

PACKAGES = ("torch", "timm", "adamp", "openvino")


def table_of(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        f"| {'work':64} | {'kit':>9} | {'peer':>9} | {'ratio':>6} | {'required':>8} | note |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        numbers = f"{r.kit:9.3f} | {r.peer:9.3f} | {r.ratio:6.2f}"
        lines.append(f"| {r.work:64} | {numbers} | {r.required:>8} | {r.note} |")
    return "\n".join(lines)


def measure(names: list[str], work: Work, comp: str, inputs: Path) -> list[Row]:
    """The rows of these parts, each printed as soon as it is there."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(work, comp, inputs, Path(folder))
        for name in names:
            new = PARTS[name](bench)
            rows += new
            print("\n".join(f"{r.work.strip()}: {r.ratio:.2f} {r.required}" for r in new), flush=True)
    return rows


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m src bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    quick = parser.parse_args(arguments).quick
    if os.environ.get("ONLY") == "scale":
        sizes = [int(size) for size in os.environ.get("SIZES", "").split(",") if size]
        scale.main(sizes or scale.SIZES, scale.QUICK if quick else scale.EXPERIMENTS)
        return
    inputs = Path(os.environ.get("INPUTS") or "inputs").resolve()
    comp = os.environ.get("COMP") or ("clothing" if (inputs / "clothing").is_dir() else "demo")
    names = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(PARTS)
    if unknown := sorted(set(names) - set(PARTS)):
        raise ValueError(f"ONLY={','.join(unknown)}: the parts are {', '.join(PARTS)}, and scale alone")
    if not (inputs / comp).is_dir():
        raise ValueError(f"COMP={comp}: there is no folder {inputs / comp}")
    began, load = time.perf_counter(), os.getloadavg()[0]
    rows = measure(names, QUICK if quick else Work(), comp, inputs)
    seconds, commit = time.perf_counter() - began, provenance.commit()
    print(f"\n{table_of(rows)}\n\nseconds, {comp}, {os.cpu_count()} cores, commit {commit}, {seconds:.0f} s")
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load_before": load,
    }
    result = {
        "comp": comp,
        "quick": quick,
        "commit": commit,
        "machine": machine,
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in PACKAGES},
        "rows": [row._asdict() for row in rows],
    }
    write_json(result, Path("bench.json"))
