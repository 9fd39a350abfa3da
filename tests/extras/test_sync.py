"""make sync sends offline runs and says what it sent. In place of wandb's command a stub, which marks what it
sends as wandb does: no test has a server.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.__main__ import run_commands
from src.extras import sync
from src.run.errors import CheckFailed

STUB = """
import json, sys
from pathlib import Path

assert sys.argv[1] == "sync"
with Path("calls.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[2:]) + "\\n")
for folder in map(Path, sys.argv[2:]):
    if not (folder / "refused").exists():
        (folder / f"run-{folder.name.split('-')[-1]}.wandb.synced").touch()
sys.exit(any((Path(folder) / "refused").exists() for folder in sys.argv[2:]))
"""


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """offline(run, part, id, time): an offline run's folder, as tracking and wandb leave it."""
    (tmp_path / "stub" / "wandb").mkdir(parents=True)
    (tmp_path / "stub" / "wandb" / "__init__.py").touch()
    (tmp_path / "stub" / "wandb" / "__main__.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stub"))
    monkeypatch.chdir(tmp_path)

    def make(run: str, part: str, id: str, time: int) -> Path:
        folder = Path("runs") / run / "wandb" / f"offline-run-20260101_{time:06}-{id}"
        folder.mkdir(parents=True)
        (folder / f"run-{id}.wandb").touch()
        (folder.parent / f"{run}-{part}.id").write_text(id)
        return folder

    return make


def calls() -> list[list[str]]:
    path = Path("calls.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_all_offline_runs_are_sent_once_and_named(offline, capsys):
    folders = [
        offline("a", "fold0", "aaa", 1),
        offline("b", "summary", "ccc", 2),
        offline("a", "fold1", "bbb", 3),
        offline("a", "fold1", "bbb", 4),  # it was stopped, and went on
    ]
    sync.main(["runs"])
    assert calls() == [[str(folder) for folder in folders]], "the oldest first"
    assert capsys.readouterr().out.splitlines()[1:] == [
        "W&B: sent",
        "  a: fold0, fold1 (2 parts)",
        "  b: summary",
    ]
    sync.main(["runs"])
    assert len(calls()) == 1 and "nothing to send in runs" in capsys.readouterr().out


def test_one_run_alone_is_sent(offline, capsys):
    ours = offline("a", "fold0", "aaa", 1)
    offline("b", "fold0", "bbb", 2)
    sync.main(["runs/a"])
    assert calls() == [[str(ours)]] and "  a: fold0" in capsys.readouterr().out


def test_what_could_not_be_sent_is_an_error_that_names_it(offline, capsys):
    offline("a", "fold0", "aaa", 1)
    (offline("b", "fold0", "bbb", 2) / "refused").touch()
    with pytest.raises(CheckFailed, match=r"(?s)code 1 and did not send\n  b: fold0\n.*wandb login"):
        sync.main(["runs"])
    assert "W&B: sent\n  a: fold0\n" in capsys.readouterr().out
    Path("runs/b/wandb/offline-run-20260101_000002-bbb/refused").unlink()
    sync.main(["runs"])
    assert calls()[-1] == ["runs/b/wandb/offline-run-20260101_000002-bbb"]


def test_the_real_command_takes_folders_and_marks_by_the_same_ending():
    """What the stub stands for: wandb's own help and source, where this version has them."""
    shown = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--help"], capture_output=True, text=True
    ).stdout
    assert "sync [OPTIONS] [PATHS]..." in shown and "sequentially in order of start time" in " ".join(
        shown.split()
    )


def test_the_folder_of_all_runs_is_no_command_though_one_has_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_commands(["sync", "runs"])  # make runs is `python -m src runs`
    assert "nothing to send in runs" in capsys.readouterr().out
