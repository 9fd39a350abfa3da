"""The benchmark runs, on tiny work, to its table and file; what it says of speed is no test."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from src.extras.bench import scale, scale_plot
from src.extras.bench.command import table_of
from src.extras.bench.parts import PARTS, compare_pairs
from src.extras.bench.scale import Part
from src.extras.bench.work import Row
from src.run.files import read_json, write_json

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


# ---- growth by size ----

PARTS_OF_SCALE = [
    Part("images", size, part, seconds, seconds, 900.0, 500.0 + size / 1000, 9)
    for size in (2_000, 20_000)
    for part, seconds in (("split", size / 1e4), ("decode", size / 1e3))
]


def test_growth_is_shown_as_a_table_and_a_plot(tmp_path):
    table = scale.table_of(PARTS_OF_SCALE)
    assert "| images | 2,000 | 20,000 |" in table
    assert (
        "| decode | 2.0 s (2.0), 502 of 900 MiB, 9 files | 20.0 s (20.0), 520 of 900 MiB, 9 files |" in table
    )
    write_json({"parts": [part._asdict() for part in PARTS_OF_SCALE]}, tmp_path / "scale.json")
    scale_plot.main(str(tmp_path / "scale.json"), str(tmp_path / "scale.svg"))
    words = " ".join(ElementTree.parse(tmp_path / "scale.svg").getroot().itertext())
    assert "images: seconds of all cores" in words and "20,000" in words and "decode" in words


def test_a_process_is_watched_part_by_part(tmp_path):
    note, code = tmp_path / "note.txt", "a = 0"
    for part in ("one", "two"):
        code += f"\nopen({str(note)!r}, 'w').write({part!r}); a = bytearray(50_000_000); s(0.3)"
    note.write_text("start")
    child = subprocess.Popen([sys.executable, "-c", f"from time import sleep as s\n{code}"])
    parts = scale.watched(child, note, "images", 1)
    assert {"one", "two"} <= {*parts} and all(parts[name].anonymous > 40 for name in ("one", "two"))
    assert parts["one"].resident > parts["one"].anonymous and parts["one"].seconds > 0.1


@pytest.mark.slow
def test_made_up_competitions_go_through_all_stages(bench):
    done = quick(bench, only="scale", SIZES="40,60")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = read_json(bench.folder / "scale.json")["parts"]
    names = {(part["kind"], part["size"], part["part"]) for part in parts}
    assert {("images", 60, part) for part in ("split", "decode", "head", "predict", "submit")} <= names
    assert {("rows", 600, part) for part in ("split", "table", "evaluate", "mean", "submit")} <= names
