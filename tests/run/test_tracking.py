"""The tracker: log.jsonl is always there, W&B is a mirror that never asks, waits or raises."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from src.run import tracking
from src.run.tracking import Tracker

KEY = "k" * 40  # the form of a real key, and of no use


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    """Whatever account the machine has, these tests neither use nor see it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    tracking.say_once.cache_clear()
    monkeypatch.setattr(tracking, "_online_failed", [])


def make_tracker(folder: Path, mode: str = "off", **changes) -> Tracker:
    facts = {
        "project": "demo",
        "group": "demo-run",
        "name": "demo fold 0",
        "job_type": "fold",
        "config": {"lr": 0.01},
        "tags": ["demo"],
    }
    return Tracker(folder / "fold0" / "log.jsonl", mode=mode, dir=folder, **{**facts, **changes})


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "fold0" / "log.jsonl").read_text().splitlines()]


def run_alone(code: str, folder: Path, **environment) -> subprocess.CompletedProcess:
    """A process of its own with no terminal: W&B reads its environment only once."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), **environment}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


TWO_FOLDS = """
import sys
from pathlib import Path
from src.run import tracking
tracking.INIT_SECONDS = 1
for fold in range(2):
    with tracking.Tracker(Path(f"fold{fold}/log.jsonl"), mode=sys.argv[1] if len(sys.argv) > 1 else "auto", project="demo", group="g",
                       name=f"fold{fold}", job_type="fold", config={"lr": 0.01}, dir=Path("."), tags=["demo"]) as tracker:
        tracker.log({"epoch": 1, "loss": 0.5})
        tracker.finish({"score": 0.9})
"""


def test_every_line_is_on_disk_when_log_returns(tmp_path):
    with make_tracker(tmp_path) as tracker:
        tracker.log({"epoch": 1, "loss": 0.25, "note": "first"})
        assert read(tmp_path) == [{"epoch": 1, "loss": 0.25, "note": "first"}]
        tracker.log({"epoch": np.int64(2), "loss": np.float32(0.5), "score": float("nan")})
        tracker.finish({"score": 0.9})
    assert read(tmp_path)[1] == {"epoch": 2, "loss": 0.5, "score": None}  # nan is not JSON


def test_a_log_goes_on_where_a_killed_process_left_half_a_line(tmp_path):
    (tmp_path / "fold0").mkdir()
    (tmp_path / "fold0" / "log.jsonl").write_text('{"epoch": 1}\n{"epo')
    with make_tracker(tmp_path) as tracker:
        tracker.log({"epoch": 2})
    assert read(tmp_path) == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize(
    "value",
    [torch.tensor(0.5), torch.zeros(3), np.zeros(3), [0.5], {"loss": 0.5}],
    ids=["loss", "tensor", "array", "list", "dict"],
)
def test_tensors_and_containers_are_refused(tmp_path, value):  # what is logged must not hold a model
    tracker = make_tracker(tmp_path)
    with pytest.raises(TypeError, match=r"loss \(.*item\(\)"):
        tracker.log({"loss": value})
    with pytest.raises(TypeError, match="loss"):
        tracker.finish({"loss": value})
    assert not tracker.path.exists()


def test_off_imports_no_wandb(tmp_path):
    code = (
        "import sys; sys.argv.append('off')\n"
        + TWO_FOLDS
        + "\nassert not any(name.split('.')[0] == 'wandb' for name in sys.modules)"
    )
    done = run_alone(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold0", "fold1"]


def test_an_offline_run_can_be_read_back(tmp_path):
    with make_tracker(tmp_path, "offline") as tracker:
        tracker.log({"epoch": 1, "loss": 0.5, "score": 0.75})
        tracker.log({"epoch": 2, "loss": 0.25, "score": 0.875})
        tracker.finish({"mean": 0.875, "spread": 0.0})
    (run_folder,) = (tmp_path / "wandb").glob("offline-run-*")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run_folder)]
    lines = subprocess.run(
        inspect, capture_output=True, text=True, check=True, timeout=1200
    ).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    summary = {
        key: value
        for record in records
        if record["type"] == "summary"
        for key, value in record["summary"]["update"].items()
    }
    assert (run["project"], run["run_group"], run["display_name"], run["job_type"]) == (
        "demo",
        "demo-run",
        "demo fold 0",
        "fold",
    )
    assert run["tags"] == ["demo"] and run["config"]["update"]["lr"] == 0.01
    assert [(item["epoch"], item["loss"], item["score"]) for item in history] == [
        (1, 0.5, 0.75),
        (2, 0.25, 0.875),
    ]
    assert (summary["mean"], summary["spread"], summary["score"]) == (0.875, 0.0, 0.875)
    assert records[-1]["exit"]["exit_code"] == 0


def test_without_a_key_and_a_terminal_auto_is_offline_with_one_line(tmp_path):
    done = run_alone(TWO_FOLDS, tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert len(done.stdout.splitlines()) == 1 and "no key" in done.stdout and "offline" in done.stdout
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_the_command_that_sends_it_later_stands_there_whole(tmp_path):
    done = run_alone(TWO_FOLDS.replace('Path(".")', 'Path("my runs/x")'), tmp_path)
    command = done.stdout.split("`")[-2]
    expanded = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command}"], cwd=tmp_path, capture_output=True, text=True
    ).stdout.splitlines()
    *program, first, second = expanded
    assert program == [sys.executable, "-m", "wandb", "sync"] and all(
        (tmp_path / folder).is_dir() for folder in (first, second)
    )


def test_online_without_a_key_does_not_prompt_either(tmp_path):
    done = run_alone("import sys; sys.argv.append('online')\n" + TWO_FOLDS, tmp_path)
    assert done.returncode == 0 and "no key" in done.stdout and len(done.stdout.splitlines()) == 1


def test_the_usual_variable_switches_it_off(tmp_path):
    done = run_alone(TWO_FOLDS, tmp_path, WANDB_MODE="disabled")
    assert (done.returncode, done.stdout) == (0, "") and not (tmp_path / "wandb").exists()


@pytest.mark.parametrize("stored", ["environment", "netrc", "malformed"])
def test_a_server_that_never_answers_costs_one_short_wait_and_no_fold(tmp_path, stored):
    """Also: the key, wherever it is stored, is in none of the files written and in nothing printed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing: a firewall
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
        keys = {
            "environment": {"WANDB_API_KEY": KEY},
            "netrc": {"NETRC": str(tmp_path / "netrc")},
            "malformed": {"WANDB_API_KEY": "abc"},
        }
        done = run_alone(TWO_FOLDS, tmp_path, WANDB_BASE_URL=f"http://{host}", **keys[stored])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 and "offline" in done.stdout
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2  # both folds
    assert len(list(tmp_path.glob("wandb/run-*"))) <= 1  # and only the first has tried
    assert [json.loads((tmp_path / f"fold{fold}/log.jsonl").read_text()) for fold in range(2)] == [
        {"epoch": 1, "loss": 0.5}
    ] * 2
    (tmp_path / "netrc").unlink()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in written) and KEY not in done.stdout + done.stderr


def test_a_failing_mirror_is_one_line_and_the_log_goes_on(tmp_path, capsys):
    class Broken:
        def log(self, values, step):
            raise OSError("disk quota")

    with make_tracker(tmp_path) as tracker:
        tracker.run = Broken()
        tracker.log({"epoch": 1})
        tracker.log({"epoch": 2})
    assert read(tmp_path) == [{"epoch": 1}, {"epoch": 2}]
    assert capsys.readouterr().out.count("disk quota") == 1


def test_an_exception_in_the_fold_is_not_swallowed(tmp_path):
    with pytest.raises(ZeroDivisionError), make_tracker(tmp_path) as tracker:
        tracker.log({"loss": 1 / 0})
