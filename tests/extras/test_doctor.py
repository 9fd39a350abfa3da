"""The doctor as it is called, and on competitions of other forms than the tiny one. The faults it finds:
test_doctor_faults.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import layouts
import pytest
from conftest import fast, open_run

from src.__main__ import run_commands
from src.extras.doctor import command as doctor
from src.extras.findings import fail, good, report, warn
from src.run.paths import RunPaths
from src.training import losses

ROOT = Path(__file__).resolve().parents[2]


def call(*words: str) -> None:
    run_commands(["doctor", "runs/tiny-run", *words])


def ready(bench, settings: str = ""):
    paths = bench.configure(fast(settings))
    bench.stage("split", paths)
    return paths


def test_quick_prints_a_line_per_check_and_writes_nothing_into_the_run(bench, monkeypatch, capsys):
    paths = ready(bench)
    before = sorted(paths.root.rglob("*"))
    capsys.readouterr()
    call("--quick")
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:4] in ("pass", "warn", "FAIL")]
    assert [line[6:20].strip() for line in lines] == list(doctor.NEEDED | doctor.QUICK)
    assert sorted(paths.root.rglob("*")) == before


def test_before_a_training_only_what_is_not_in_order_is_told(bench, monkeypatch, capsys):
    ready(bench, "lr=9")
    capsys.readouterr()
    call("--quick", "--quiet")
    said = capsys.readouterr().out.splitlines()
    assert (
        said[-1].startswith("doctor: ")
        and "0 failed" in said[-1]
        and not [line for line in said if line.startswith("pass")]
    )


def test_json_is_all_that_goes_to_stdout(bench, monkeypatch, capsys):
    ready(bench)
    capsys.readouterr()
    call("--quick", "--json")
    findings = json.loads(capsys.readouterr().out)
    assert {finding["check"] for finding in findings} == set(doctor.NEEDED | doctor.QUICK)
    assert all(finding["level"] in ("pass", "warn") and finding["seen"] for finding in findings)


def test_the_exit_code_is_1_for_a_failed_check_and_2_for_a_run_that_is_not_there(bench):
    ready(bench, "loss=nothing")
    for run, code, said in (("runs/tiny-run", 1, "choose from"), ("runs/none", 2, "does not exist")):
        done = subprocess.run(
            [sys.executable, "-m", "src", "doctor", run, "--quick"],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == code and said in done.stdout + done.stderr, done.stderr


def test_one_mistake_is_told_once_and_stops_what_needs_it(bench):
    paths = ready(bench, "head=nothing")
    findings = list(doctor.examine(open_run(paths), doctor.FULL))
    assert [(f.level, f.check) for f in findings] == [
        ("pass", "folds"),
        ("pass", "settings"),
        ("FAIL", "shapes"),
    ]
    assert "choose from" in findings[-1].seen


def test_an_image_that_can_not_be_read_is_named_or_left_out_as_asked(bench):
    for i in range(0, 36, 2):
        Path(f"inputs/tiny/train/tr{i:03}.png").write_bytes(b"no picture %d" % i)
    paths = ready(bench)
    last = list(doctor.examine(open_run(paths), {}))[-1]
    assert (
        (last.level, last.check) == ("FAIL", "shapes")
        and "can't be read" in last.seen
        and "bad_images=drop" in last.seen
    )
    paths = ready(bench, "bad_images=drop folds=2")
    assert [finding for finding in doctor.examine(open_run(paths), {}) if finding.level != "pass"] == []


def broken_loss(logits, targets):
    return logits.no_such_method(targets)


def test_code_of_ones_own_that_breaks_is_named_with_its_line(bench, monkeypatch):
    monkeypatch.setitem(losses.LOSSES, "mine", broken_loss)
    paths = ready(bench, "loss=mine")
    findings = list(doctor.examine(open_run(paths), doctor.QUICK))
    failed = [finding for finding in findings if finding.level == "FAIL"]
    assert [finding.check for finding in failed] == ["moves"], "the same message is not repeated"
    assert "no_such_method" in failed[0].seen and "look at src/" in failed[0].change


@pytest.mark.parametrize(
    "layout, comp, task",
    [
        (layouts.plant_pathology_2021, "plants", "multilabel"),
        (layouts.rsna, "rsna-breast-cancer-detection", "binary"),
        (layouts.plant_pathology_2020, "leaves", "multiclass"),
        (layouts.melanoma, "siim-isic-melanoma-classification", "binary"),
    ],
)
def test_a_competition_of_another_form_fails_no_check(bench, layout, comp, task):
    """Several labels, several images per row, a column per class, a probability and groups."""
    layout(bench.folder / "inputs" / comp)
    paths = bench.configure(fast("folds=2 trainable=all"), "other", comp=comp)
    bench.stage("split", paths)
    findings = list(doctor.examine(open_run(paths), doctor.QUICK))
    assert [finding for finding in findings if finding.level != "pass"] == []
    assert task in next(finding.seen for finding in findings if finding.check == "settings")


def test_values_far_from_zero_begin_where_others_do(bench, monkeypatch):
    layouts.pawpularity(bench.folder / "inputs" / "tiny2")
    for name, value in {
        "COMP": "tiny2",
        "EXP": "baseline",
        "SET": fast("folds=2 trainable=all"),
        "MACHINE": "wandb=off workers=0 device=cpu",
    }.items():
        monkeypatch.setenv(name, value)
    run_commands(["configure", "runs/other"])
    paths = RunPaths(Path("runs/other"))
    bench.stage("split", paths)
    findings = {finding.check: finding for finding in doctor.examine(open_run(paths), doctor.QUICK)}
    assert (
        findings["first loss"].level == "pass"
        and [finding for finding in findings.values() if finding.level == "FAIL"] == []
    )


def test_the_last_line_counts_what_passed_and_does_not_sound_like_so_many_problems(capsys):
    report([good("a"), good("b"), warn("c", "d")], "doctor", quiet=True)
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("doctor: 3 checks: 2 passed, 0 failed, 1 warning, ")
    )


def test_a_check_that_is_skipped_neither_prints_nor_fails(capsys):
    report([good("a", check="one"), fail("b", "c", "first loss")], "doctor", skip="-labels,first loss")
    assert capsys.readouterr().out.splitlines()[-1].startswith("doctor: 1 checks: 1 passed, 0 failed")
