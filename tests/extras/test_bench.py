"""The benchmark runs, on tiny work, to its table and file; what it says of speed is no test."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.extras.bench.command import table_of
from src.extras.bench.parts import PARTS, compare_pairs
from src.extras.bench.work import Row
from src.run.files import read_json

ROOT = Path(__file__).resolve().parents[2]


def quick(bench, *, only: str, **environ: str) -> subprocess.CompletedProcess:
    bench.monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, value in {"ONLY": only, "COMP": "tiny", "INPUTS": "inputs", **environ}.items():
        bench.monkeypatch.setenv(name, value)
    return subprocess.run(
        [sys.executable, "-m", "src", "bench", "--quick"],
        cwd=bench.folder,
        capture_output=True,
        text=True,
    )


def test_parts_that_are_asked_for_run_to_a_table_and_leave_nothing_but_bench_json(bench):
    before = set(bench.folder.rglob("*"))
    done = quick(bench, only="step,adamp")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in set(bench.folder.rglob("*")) - before} == {"bench.json"}
    saved = read_json(bench.folder / "bench.json")
    assert [row["work"].split(",")[0] for row in saved["rows"]] == ["step", "AdamP step"]
    assert all(row["ratio"] > 0 for row in saved["rows"]) and saved["versions"]["torch"] and saved["commit"]


@pytest.mark.slow
def test_every_part_runs(bench):
    done = quick(bench, only="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 trunk passes" in done.stdout


def test_an_unknown_part_is_refused_with_the_choices(bench):
    done = quick(bench, only="haed")
    assert done.returncode == 2 and "ONLY=haed: the parts are " + ", ".join(PARTS) in done.stderr


def test_a_ratio_is_the_median_of_pairs_and_not_of_all_runs():
    row = compare_pairs("work", [(1.0, 2.0), (10.0, 40.0), (2.0, 6.0)], ">= 2")
    assert row == Row("work", 2.0, 6.0, 3.0, ">= 2") and "|   3.00 |" in table_of([row])
