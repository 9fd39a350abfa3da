"""CLUSTER= on a real Ray cluster of two nodes, both on this machine: a stop, a killed worker, a lost node, and
files that are byte-equal to those of a serial run.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import fast
from ray_nodes import PYTHON, Command, Node, environment, in_training, is_training, log_of, two_nodes

pytestmark = [
    pytest.mark.slow,  # minutes: each task imports torch
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a node has started"),
]


@pytest.fixture
def cluster() -> Iterator[list[Node]]:
    """Two nodes; a worker of the second can be killed, and the whole of it."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder, two_nodes(Path(folder)) as both:
        yield both


def make_runs(bench, epochs: int, *names: str) -> None:
    for name in names:
        lr = 0.01 if name == names[0] else 0.02
        settings = fast(f"trainable=1 epochs={epochs} folds=5 batch_size=4 augment=none lr={lr}")
        machine = "wandb=off workers=0 device=cpu memory=strict sanity=false"
        bench.stage("split", bench.configure(settings, name, machine=machine))


def test_two_runs_of_five_folds_survive_a_stop_a_killed_worker_and_a_lost_node(bench, cluster):
    make_runs(bench, 20, "a", "b")
    shutil.copytree("runs", "serial", ignore=shutil.ignore_patterns(".cache"))
    words = ["cluster", "runs/a", "runs/b", "--on", cluster[0].address]

    stopped = Command(*words)
    stopped.wait_for(in_training)
    stopped.process.send_signal(signal.SIGINT)
    assert stopped.end() == 75, stopped.text
    assert "all units on the cluster have stopped; the same command goes on" in stopped.text
    saved = [fold for fold in Path("runs").glob("*/fold[0-9]") if any(fold.glob("state/*.json"))]
    assert saved and all("is saved after" in log_of(fold) for fold in saved)
    assert not any(is_training(process) for node in cluster for process in node.processes())

    again = Command(*words)
    again.wait_for(in_training)
    killed, worker = in_training()[0]
    os.kill(worker, signal.SIGKILL)
    again.wait_for(lambda: "attempt 2" in log_of(killed))
    again.wait_for(lambda: in_training(cluster[1].mark))
    lost, _ = in_training(cluster[1].mark)[0]
    cluster[1].kill()
    assert again.end() == 0, again.text
    assert all("goes on after" in log_of(fold) for fold in (saved[0], killed, lost))
    assert again.text.count("the one before was lost") >= 2 and "FAILED" not in again.text

    Path("runs").rename("clustered")
    Path("serial").rename("runs")
    for name in ("a", "b"):
        subprocess.run([*PYTHON, "train", "predict", f"runs/{name}"], env=environment(), check=True)
    for file in ("oof.parquet", "test.parquet", *(f"fold{k}/model.safetensors" for k in range(5))):
        for name in ("a", "b"):
            assert Path(f"clustered/{name}/{file}").read_bytes() == Path(f"runs/{name}/{file}").read_bytes()


def test_a_sweep_trains_its_trials_on_the_cluster(bench, cluster):
    make_runs(bench, 2, "a")
    code = (
        "import sys; from src.experiments import SWEEPS, Range; from src.__main__ import main\n"
        "SWEEPS['tiny'] = lambda: {'lr': Range(1e-3, 0.1, is_log=True), 'drop_rate': Range(0.0, 0.5)}\n"
        f"sys.exit(main(['sweep', 'runs/a', '--space', 'tiny', '--trials', '3', '--on', '{cluster[0].address}']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = pd.read_csv("runs/a-sweep/trials.csv")
    assert list(trials["ended"]) == ["whole"] * 3
    assert all(Path(f"runs/{name}/score.json").exists() for name in trials["run"])
    assert done.stderr.count(" prepare: begins on ") == 1, "the trials share images and trunk"
