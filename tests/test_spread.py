"""Real processes that train a fold together, over gloo: all is as of one process but the last digits; stops,
kills and full memory in one of them.
"""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import fast, open_run

from src.data.training_table import load_training_table
from src.run import predictions
from src.run.files import read_json
from src.spread import choose
from src.training import state_files

ROOT = Path(__file__).parents[1]


def full(changes: str) -> str:
    """All layers of a network without BatchNorm learn, from pictures that are drawn anew."""
    return fast(f"backbone=test_convnext trainable=all views=0 augment=light epochs=2 folds=2 {changes}")


FULL = full("")
FOLD = "wandb=off workers=0 device=cpu memory=strict spread=fold save_minutes=0"
TOLERANCE = 2e-5  # of losses and probabilities; one process with smaller batches differs by as much
# A patch of one process, read by Python as it starts: name=... of PATCH, which RANK has.
PATCHES = """
import os, signal, sys, time
patch, rank = os.environ.get("PATCH", ""), os.environ.get("RANK")

def in_step(number, action, name="src.train_fold"):
    module = __import__(name, fromlist=["save_or_stop"])
    real, steps = module.save_or_stop, iter(range(1, 10**9))
    def save_or_stop(*args, **how):
        if next(steps) == number:
            action()
        return real(*args, **how)
    module.save_or_stop = save_or_stop

def stop_command():
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(3)  # until it has come back here

if patch == "kill" and rank == "1":
    in_step(2, lambda: os.kill(os.getpid(), signal.SIGKILL))
if patch == "stop" and rank == "0":
    in_step(2, stop_command)
if patch == "stop trunk" and rank == "0":  # the images are decoded in one piece
    in_step(2, stop_command, "src.data.arrays")
if patch == "stop one" and rank is None:
    in_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
if patch == "orphan" and rank == "0":
    in_step(2, lambda: os.kill(os.getppid(), signal.SIGKILL))
if patch == "diverge" and rank == "1":
    from src.training import loop
    loop.mix = lambda image, target, weight, config: (image, target, weight * float("nan"))
if patch == "full" and rank == "1":
    import torch
    from src.model.classifier import Classifier
    def limit(method, most):
        real = getattr(Classifier, method)
        def tight(self, image, *others):
            if len(image) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return real(self, image, *others)
        setattr(Classifier, method, tight)
    limit("features", 8), limit("logits", 3)
"""
slow = pytest.mark.slow


@pytest.fixture
def together(bench, monkeypatch):
    """together(run, 2, patch="kill"): the train stage by two processes; returns how it ended."""
    patches = bench.folder / "patches"
    patches.mkdir()
    (patches / "sitecustomize.py").write_text(PATCHES)
    monkeypatch.setenv("PYTHONPATH", f"{patches}:{ROOT}")

    def train(name: str, number: int, *words: str, patch: str = "") -> subprocess.CompletedProcess:
        monkeypatch.setenv("PATCH", patch)
        command = [sys.executable, "-m", "src", "train", f"runs/{name}", "--gpus", str(number), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    return train


def begin(bench, settings: str, name: str, machine: str = FOLD, **how):
    paths = bench.configure(settings, name, machine=machine, **how)
    bench.stage("split", paths)
    return paths


def by_one(bench, settings: str, only: list[int] | None = None):
    """The run of one process, out of the way, so that no other takes its folds over."""
    paths = begin(bench, settings, "one")
    bench.stage("train", paths, only=only)
    shutil.move("runs/one", "elsewhere")
    return type(paths)(Path("elsewhere"))


def log_of(paths, fold: int) -> pd.DataFrame:
    return pd.read_json(paths.fold(fold).log, lines=True)


def assert_alike(one, other, folds: list[int]) -> None:
    """The same curve, and the same predictions, each image once."""
    for k in folds:
        frames = [predictions.read(paths.fold(k).valid) for paths in (one, other)]
        assert frames[0].index.equals(frames[1].index) and frames[0].index.is_unique
        assert np.allclose(*frames, atol=TOLERANCE)
        logs = [log_of(paths, k) for paths in (one, other)]
        assert len(logs[0]) == len(logs[1]) and np.allclose(*logs, atol=TOLERANCE)


@slow
@pytest.mark.parametrize(
    "settings, number",
    [
        ("refit=1", 2),
        ("batch_size=5 accumulate=2 sam=0.05 clip_grad=1 ema=0.8 sampler=balanced patience=1 epochs=3", 3),
    ],
)
def test_processes_train_a_fold_as_one_does(bench, together, settings, number):
    """Eighteen images in steps of eight, or of ten in parts of four, four and two."""
    settings = full(settings)
    one = by_one(bench, settings)
    paths = begin(bench, settings, "all")
    done = together("all", number)
    assert done.returncode == 0 and not done.stderr.count("Traceback"), done.stdout + done.stderr
    assert f"GPUS={number}: each fold over all processes (spread=fold)" in done.stdout
    assert done.stdout.count("fold 0  epoch") == 1 and "OOF macro_f1" in done.stdout
    assert_alike(one, paths, [0, 1])
    assert np.allclose(predictions.read(one.oof), predictions.read(paths.oof), atol=TOLERANCE)
    assert read_json(paths.fold(1).done)["processes"] == number
    assert not (paths.root / "fold0/state").exists() and not [*paths.root.glob("*.lock")]
    if "refit" in settings:
        assert np.allclose(log_of(one, -2), log_of(paths, -2), atol=TOLERANCE)


@slow
def test_the_caches_are_filled_in_parts_with_the_bytes_of_one_process(bench, together):
    settings = fast("backbone=test_convnext views=2 augment=light folds=2 epochs=6")
    one = by_one(bench, settings)
    paths = begin(bench, settings, "all", cache="other")
    done = together("all", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_alike(one, paths, [0, 1])
    arrays = {path.name: path.read_bytes() for path in Path("runs/.cache").rglob("*.npy")}
    assert (
        arrays == {path.name: path.read_bytes() for path in Path("other").rglob("*.npy")} and len(arrays) == 3
    )


@slow
def test_a_cache_that_two_processes_began_is_filled_by_one_with_the_same_bytes(bench, together):
    settings = fast("backbone=test_convnext trainable=1 folds=2 epochs=6")
    by_one(bench, settings, only=[0])
    paths = begin(bench, settings, "all", cache="other")
    done = together("all", 2, patch="stop trunk")
    assert done.returncode == 75 and "is saved after 32 of 36 images" in done.stderr, (
        done.stdout + done.stderr
    )
    bench.stage("train", paths, only=[0])
    arrays = {path.name: path.read_bytes() for path in Path("runs/.cache").rglob("*.npy")}
    assert (
        arrays == {path.name: path.read_bytes() for path in Path("other").rglob("*.npy")} and len(arrays) == 5
    )


@slow
def test_a_fold_goes_on_with_another_number_of_processes(bench, together):
    one = by_one(bench, FULL, only=[0])
    paths = begin(bench, FULL, "all")
    done = together("all", 2, "--fold", "0", patch="stop")
    assert done.returncode == 75 and "Traceback" not in done.stderr, done.stdout + done.stderr
    assert "SIGTERM: fold 0 is saved after 0 epochs and 4 steps" in done.stderr
    state = state_files.load(paths.fold(0).state)
    assert (state["batch_size"], state["processes"], state["sizes"]) == (4, 2, [4, 4, 4, 4])
    bench.stage("train", paths, only=[0])
    assert_alike(one, paths, [0])
    shutil.move("runs/all", "done")  # and a state of one process by two
    fewer = begin(bench, FULL, "fewer")
    assert together("fewer", 1, "--fold", "0", patch="stop one").returncode == 75
    assert state_files.load(fewer.fold(0).state)["sizes"] == [8, 8]
    done = together("fewer", 2, "--fold", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fold0 began with 1 processes and goes on with 2: the last digits will be others" in done.stdout
    assert "fold0 goes on after 0 epochs and 4 steps" in done.stdout
    assert_alike(one, fewer, [0])


@slow
def test_where_one_is_killed_the_command_says_so_in_a_line_and_the_next_goes_on(bench, together):
    one = by_one(bench, FULL, only=[0])
    paths = begin(bench, FULL, "all")
    done = together("all", 2, "--fold", "0", patch="kill")
    said = done.stderr.splitlines()
    assert done.returncode == 1 and said == [
        "process 2 of 2 was killed (SIGKILL, most often for want of memory): the same command goes on with"
        " fold 0 after 0 epochs and 2 steps"
    ], done.stdout + done.stderr
    done = together("all", 2, "--fold", "0", patch="orphan")
    assert done.returncode == -9
    done = together("all", 2, "--fold", "0")
    while "is being trained by" in done.stderr:  # what was left alone ends after its step
        done = together("all", 2, "--fold", "0")
    assert done.returncode == 0 and "fold0 goes on after" in done.stdout, done.stdout + done.stderr
    assert_alike(one, paths, [0])


@slow
def test_where_memory_runs_out_in_one_all_halve_their_batches_and_say_it_once(bench, together):
    settings = fast("backbone=test_convnext trainable=1 folds=2 epochs=6")
    one = by_one(bench, settings, only=[0])
    paths = begin(bench, settings, "all", cache="other")
    done = together("all", 2, "--fold", "0", patch="full")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "out of memory: the trunk goes on with a batch of 8",
        "out of memory: fold 0 goes on with a batch of 2, accumulated to 8",
        "out of memory: the validation of fold 0 goes on with a batch of 2",
    ):
        assert done.stderr.count(line) == 1, done.stderr
    assert read_json(paths.fold(0).done)["batch_size"] == 2
    assert_alike(one, paths, [0])


@slow
def test_an_error_of_one_process_is_shown_and_ends_all(bench, together):
    begin(bench, FULL, "all")
    done = together("all", 2, "--fold", "0", patch="diverge")
    assert done.returncode == 2 and done.stderr.count("error: ") == 1, done.stdout + done.stderr
    assert "error: fold 0: the loss is not finite in epoch 0, batch 1; images [" in done.stderr


@slow
def test_two_machines_train_a_fold_together(bench, together):
    """Two commands here, in one folder, as on two machines that share it."""
    one = by_one(bench, FULL, only=[0])
    paths = begin(bench, FULL, "all")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = ["--gpus", "1", f"--torchrun=--nnodes 2 --rdzv-endpoint localhost:{port}", "--fold", "0"]
    command = [sys.executable, "-m", "src", "train", "runs/all", *words]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(out.count("fold 0  epoch") for out, _ in said) == [0, 1]
    assert read_json(paths.fold(0).done)["processes"] == 2
    assert_alike(one, paths, [0])


@pytest.mark.parametrize(
    "settings, num_left, expected",
    [
        ("trainable=all views=0", 3, "folds"),
        ("trainable=all views=0", 1, "fold"),
        ("trainable=1 epochs=9", 1, "folds"),
    ],
)
def test_folds_go_side_by_side_where_each_has_one_or_the_trunk_is_cached(
    bench, capsys, settings, num_left, expected
):
    paths = begin(bench, fast(settings), "x", machine="wandb=off device=cpu")
    table = load_training_table(open_run(paths), "")
    capsys.readouterr()
    how, reason = choose(table, num_left, 2, "")
    assert how == expected and reason and capsys.readouterr().out == ""
    assert choose(table, num_left, 2, "--nnodes 2")[0] == "fold"


def test_one_can_say_which_and_folds_are_not_for_several_machines(bench):
    paths = begin(bench, fast(""), "x", machine="wandb=off device=cpu spread=folds")
    table = load_training_table(open_run(paths), "")
    assert choose(table, 1, 8, "") == ("folds", "spread=folds")
    with pytest.raises(
        ValueError, match="TORCHRUN is for spread=fold, a fold over all processes: leave it out"
    ):
        choose(table, 1, 8, "--nnodes 2")
