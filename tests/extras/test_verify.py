"""make verify and make restore on the real stages of a tiny competition."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import fast, open_run

from src import config
from src.extras import restore, verify
from src.run import configure, predictions
from src.run.clock import Clock
from src.run.errors import CheckFailed, Stopped
from src.run.files import read_json, write_json
from src.run.paths import RunPaths


def said(bench, paths, capsys, *, fails: bool = False) -> str:
    """What verify prints of a run."""
    capsys.readouterr()
    if fails:
        with pytest.raises(CheckFailed):
            verify.verify(open_run(paths))
    else:
        verify.verify(open_run(paths))
    return capsys.readouterr().out


def test_verify_finds_what_was_touched_and_tells_what_is_other_by_now(bench, capsys):
    paths = bench.run(fast("folds=2 epochs=1"))
    assert said(bench, paths, capsys).splitlines() == [f"  equal    {name}" for name in verify.CHECKS] + [
        "runs/tiny-run is as it was written"
    ]

    score = read_json(paths.score)
    write_json(
        score | {"oof": 0.99, "commit": "0123456", "versions": score["versions"] | {"torch": "1.0"}},
        paths.score,
    )
    printed = said(bench, paths, capsys, fails=True)
    assert (
        "DIFFERS  score: OOF was 0.99, is 0." in printed
        and "by now   commit 0123456 -> " in printed
        and "by now   torch 1.0 -> " in printed
    )
    write_json(score, paths.score)

    valid = predictions.read(paths.fold(1).valid)
    predictions.write(valid.iloc[:, ::-1].set_axis(valid.columns, axis=1), paths.fold(1).valid)
    printed = said(bench, paths, capsys, fails=True)
    assert (
        "DIFFERS  files: fold1/valid.parquet was " in printed
        and f"DIFFERS  oof.parquet: {len(valid)} of 36 ids" in printed
    )
    predictions.write(valid, paths.fold(1).valid)

    csv = bench.folder / "submissions/tiny-run.csv"
    answer = pd.read_csv(csv)
    answer["colour"] = np.roll(answer["colour"], 1)
    answer.to_csv(csv, index=False)
    csv.write_bytes(csv.read_bytes() + b"\xff")  # no text any more
    paths.fold(0).test.unlink()
    printed = said(bench, paths, capsys, fails=True)
    assert (
        "DIFFERS  submission: submissions/tiny-run.csv has other values in " in printed
        and "DIFFERS  files: fold0/test.parquet was " in printed
    )
    assert "DIFFERS  test.parquet: runs/tiny-run/fold0/test.parquet is damaged (" in printed


def test_verify_compares_settings_and_data_with_what_is_here_now(bench, capsys, monkeypatch):
    paths = bench.run(fast("folds=2 epochs=1"))
    monkeypatch.setattr(
        configure, "parse_set", lambda text, of=config.Config: {"lr": 0.5} if of is config.Config else {}
    )
    shutil.copy("inputs/tiny/train/tr001.png", "inputs/tiny/train/tr000.png")
    printed = said(bench, paths, capsys)
    assert (
        "by now   setting lr: " in printed
        and "by now   the training images have other contents" in printed
        and "as it was written" in printed
    )


def test_only_a_finished_run_is_verified(bench):
    paths = bench.configure()
    with pytest.raises(ValueError, match="only a finished run"):
        verify.verify(open_run(paths))


def test_a_run_of_a_session_that_ended_is_taken_up_with_its_state(bench, monkeypatch, capsys):
    bench.run(fast("epochs=2"), "whole")
    expected = [(RunPaths(bench.folder / "runs/whole").fold(k).model.read_bytes()) for k in range(3)]
    shutil.move("runs/whole", "elsewhere")

    paths = bench.configure(fast("epochs=2"), "x", machine="wandb=off workers=0 device=cpu save_minutes=0")
    bench.stage("split", paths)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(
            Clock,
            "why_stop",
            lambda clock: "max_hours" if list(paths.root.glob("fold1/state/00001*.json")) else "",
        )
        bench.stage("train", paths)
    shutil.copytree("runs", "attached/notebook/podium/runs"), shutil.rmtree("runs")
    for file in (bench.folder / "attached").rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)  # as what is attached to a notebook

    restore.restore(paths, Path("attached"))
    assert "1 finished folds, one in training" in capsys.readouterr().out
    bench.configure(fast("epochs=2"), "x")
    for stage in ("train", "predict", "submit"):
        bench.stage(stage, paths)
    assert [
        paths.fold(k).model.read_bytes() for k in range(3)
    ] == expected and "fold1 goes on after" in capsys.readouterr().out
    with pytest.raises(ValueError, match="is here already"):
        restore.restore(paths, Path("attached"))
    with pytest.raises(ValueError, match="holds no run y; it holds x"):
        restore.restore(RunPaths(Path("runs/y")), Path("attached"))
    for folder in (bench.folder / "attached", *(bench.folder / "attached").rglob("*")):
        folder.chmod(0o755)
