"""A whole run on W&B, written offline by the real stages and read back with wandb's own reader."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import fast, open_run

from src import competitions
from src.competition.facts import Competition
from src.extras import wandb_summary
from src.run import tracking
from src.run.clock import Clock
from src.run.errors import Stopped
from src.run.files import read_json

OFFLINE = "wandb=offline workers=0 device=cpu memory=strict"


def read_back(folder: Path) -> dict:
    """An offline run: what `run`, `history`, `summary`, `metric`, `artifact` and `files` records say."""
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(
        inspect, capture_output=True, text=True, check=True, timeout=600
    ).stdout.splitlines()
    records = [json.loads(line) for line in lines]

    def of(kind: str) -> list[dict]:
        return [record[kind] for record in records if record["type"] == kind]

    summary: dict = {}
    for update in of("summary"):
        summary |= update.get("update", {})
    return {
        "run": of("run")[0],
        "history": [record["item"] for record in of("history")],
        "summary": summary,
        "metrics": of("metric"),
        "artifacts": of("artifact"),
        "files": [file["path"] for record in of("files") for file in record["files"]],
        "exit": of("exit"),
    }


def table_of(record: dict, name: str) -> dict:
    """A table as it would be sent: an artifact of its own, with its images."""
    (artifact,) = (made for made in record["artifacts"] if made["name"].endswith(f"-{name}"))
    files = {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
    (path,) = (file for file in files if file.endswith(".table.json"))
    return json.loads(files[path].read_text()) | {"files": files}


def summarise(paths) -> None:
    wandb_summary.command(open_run(paths), argparse.Namespace())


@pytest.mark.slow  # reads back four runs, 3 s each
def test_a_whole_run_is_on_wandb(bench):
    paths = bench.run(machine=OFFLINE)
    (paths.root / "report.html").write_text("<p>the report</p>")
    summarise(paths)
    runs = {}
    for folder in sorted(paths.root.glob("wandb/offline-run-*")):
        record = read_back(folder)
        runs[record["run"]["display_name"]] = record
    assert sorted(runs) == ["tiny-run-fold0", "tiny-run-fold1", "tiny-run-fold2", "tiny-run-summary"]
    score = read_json(paths.score)
    for name, record in runs.items():
        run = record["run"]
        assert (run["project"], run["run_group"]) == ("podium-tiny", "tiny-run")
        assert run["tags"] == ["baseline", "test_resnet", "trainable=1"]
        assert "make submit COMP=tiny EXP=baseline" in run["notes"] and record["exit"][0]["exit_code"] == 0
        config = run["config"]["update"]
        assert config["lr"] == score_setting(paths, "lr") and config["comp"] == "tiny" and config["tta"] == ""
        assert all(not isinstance(value, list | dict) for key, value in config.items() if key != "_wandb")
        assert config["part"] == name.removeprefix("tiny-run-")
    for k in range(3):
        fold = runs[f"tiny-run-fold{k}"]
        assert fold["run"]["job_type"] == "fold"
        assert [(item["epoch"], item["_step"]) for item in fold["history"]] == [(1, 1), (2, 2)]
        logged = [json.loads(line) for line in paths.fold(k).log.read_text().splitlines()]
        for item, line in zip(fold["history"], logged, strict=True):
            assert {key: item[key] for key in line} == line and item["images_per_second"] > 0
            assert "body_lr" in item and "images_per_second" not in line
        assert {"glob_name": "*", "step_metric": "epoch"}.items() <= fold["metrics"][1].items()
        assert fold["summary"]["macro_f1"] == read_json(paths.fold(k).done)["score"]
    check_summary(runs["tiny-run-summary"], paths, score)


def score_setting(paths, name: str):
    return read_json(paths.config)["config"][name]


def check_summary(record: dict, paths, score: dict) -> None:
    assert record["run"]["job_type"] == "summary"
    figures = record["summary"]
    assert (figures["oof"], figures["mean"], figures["spread"]) == (
        score["oof"],
        score["mean"],
        score["spread"],
    )
    assert [figures[f"fold{k}"] for k in range(3)] == [*score["folds"].values()]
    assert figures["accuracy"] == score["also"]["accuracy"] and figures["recipe"] == score["recipe"]
    classes = table_of(record, "per_class")
    assert classes["columns"] == ["class", "images", "precision", "recall", "f1"]
    assert [line[:2] for line in classes["data"]] == [["blue", 12], ["green", 12], ["red", 12]]
    mean_f1 = sum(line[4] for line in classes["data"]) / 3
    assert mean_f1 == pytest.approx(score["oof"]), "the metric is the mean of the column f1"
    wrong = table_of(record, "mistakes")
    ids, errors = [line[0] for line in wrong["data"]], [line[4] for line in wrong["data"]]
    assert errors == sorted(errors, reverse=True) and len(ids) == 32
    oof, folds = pd.read_parquet(paths.oof), pd.read_csv(paths.folds, dtype=str).set_index("id")
    first = wrong["data"][0]
    assert first[4] == pytest.approx(1 - oof.loc[ids[0], folds.loc[ids[0], "colour"]], abs=1e-6)
    assert first[2] == folds.loc[ids[0], "colour"] and first[3] == oof.loc[ids[0]].idxmax()
    assert first[1]["_type"] == "image-file" and first[1]["width"] == wandb_summary.PIXELS
    assert wrong["files"][first[1]["path"]].read_bytes().startswith(b"\x89PNG")
    cells = table_of(record, "confusion_matrix_table")["data"]
    right = sum(count for true, predicted, count in cells if true == predicted)
    assert sum(count for *_, count in cells) == 36 and right / 36 == pytest.approx(score["also"]["accuracy"])
    assert "report.html" in record["files"]
    made = {artifact["name"]: artifact for artifact in record["artifacts"]}
    weights, predicted = made["weights"], made["predictions"]
    assert (weights["type"], sorted(weights["aliases"])) == ("model", ["best", "latest", "tiny-run"])
    contents = {entry["path"]: entry for entry in weights["manifest"]["contents"]}
    assert [*contents] == [f"fold{k}/model.safetensors" for k in range(3)]
    assert Path(contents["fold0/model.safetensors"]["local_path"]) == paths.fold(0).model.resolve()
    names = {entry["path"] for entry in predicted["manifest"]["contents"]}
    assert names >= {"oof.parquet", "test.parquet", "score.json", "folds.csv", "tiny-run.csv"}


@pytest.mark.slow
def test_a_fold_that_goes_on_goes_on_with_its_wandb_run(bench, monkeypatch):
    paths = bench.configure(fast("epochs=3"), machine=OFFLINE)
    bench.stage("split", paths)
    log = paths.fold(0).log
    with monkeypatch.context() as patch:  # after the first epoch
        patch.setattr(Clock, "why_stop", lambda clock: "SIGTERM" if log.exists() and log.read_text() else "")
        with pytest.raises(Stopped):
            bench.stage("train", paths, only=[0])
    (folder,) = paths.root.glob("wandb/offline-run-*")
    parts = [read_back(folder)]
    shutil.rmtree(folder)  # W&B names folders by the second, and no real process goes on within one
    bench.stage("train", paths, only=[0])
    parts += [read_back(folder) for folder in paths.root.glob("wandb/offline-run-*")]
    assert len(parts) == 2 and len({part["run"]["run_id"] for part in parts}) == 1
    assert [[item["_step"] for item in part["history"]] for part in parts] == [[1], [2, 3]]


def test_a_fold_that_begins_anew_has_a_new_run_on_wandb(tmp_path):
    ids = [tracking.kept_id(tmp_path, "x-fold0", is_new=is_new) for is_new in (True, False, False, True)]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert tracking.kept_id(tmp_path, "x-fold1", is_new=False) not in ids


def test_off_and_an_unfinished_run_send_nothing(bench, monkeypatch):
    begun: list = []
    monkeypatch.setattr(wandb_summary, "make_tracker", lambda *args, **kwargs: begun.append(args))
    paths = bench.configure(machine=OFFLINE)
    bench.stage("split", paths)
    summarise(paths)  # no score yet
    summarise(bench.run())
    assert begun == []


def test_what_fails_on_wandbs_side_is_one_line(bench, capsys, monkeypatch):
    paths = bench.run()
    bench.configure(machine=OFFLINE)

    def fail(*args):
        raise OSError("disk quota")

    monkeypatch.setattr(wandb_summary, "fill", fail)
    tracking.say_once.cache_clear()
    summarise(paths)
    assert capsys.readouterr().out.count("W&B stopped (OSError: disk quota)") == 1


@pytest.mark.parametrize("task", ["multilabel", "regression", "ordinal"])
def test_other_tasks_have_their_tables_too(bench, task, monkeypatch):
    """The tables themselves, without a W&B run."""
    frame = pd.read_csv(bench.inputs / "train.csv")
    labels = {
        "multilabel": ["blue", "green", "red", "blue red", "green red", "blue green"],
        "regression": [0.5, 10.25, 3.125],
        "ordinal": [0, 1, 2],
    }[task]
    frame = frame.assign(colour=[labels[i % len(labels)] for i in range(len(frame))])
    frame.to_csv(bench.inputs / "train.csv", index=False)
    sample = pd.read_csv(bench.inputs / "sample_submission.csv").assign(colour=labels[0])
    sample.to_csv(bench.inputs / "sample_submission.csv", index=False)
    if task == "ordinal":
        monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(task="ordinal"))
    run = open_run(paths := bench.run(fast("epochs=1")))
    import wandb

    held = wandb_summary.held_out(run, pd.read_parquet(paths.oof))
    table = wandb_summary.mistakes(run, held, wandb)
    assert len(table.data) == 32 and table.data[0][4] >= table.data[-1][4] >= 0
    assert str(table.data[0][2]) in {str(label) for label in labels}
    lines = wandb_summary.per_class(run, held, wandb)
    assert len(lines.data) == {"multilabel": 3, "regression": 1, "ordinal": 3}[task]
    assert (wandb_summary.codes(run, held) is None) == (task != "ordinal")
