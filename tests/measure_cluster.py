"""What a Ray cluster costs and saves, on two nodes of this machine: a task that does nothing, a fold as a task
against the same command without Ray, and 2 runs x 5 folds against a serial run, also where a worker and then a
node are killed; their files must be byte-equal.

Run: PYTHONPATH=.:tests python tests/measure_cluster.py     on an idle machine with two processors; four minutes
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from conftest import make_competition
from ray_nodes import PYTHON, TOKEN, Command, Node, environment, in_training, two_nodes

SETTINGS = "backbone=test_resnet pretrained=false trainable=1 image_size=32 folds=5 batch_size=4 augment=none"
EPOCHS = 30
FILES = ["oof.parquet", "test.parquet", *(f"fold{k}/model.safetensors" for k in range(5))]
EMPTY_TASKS = """
import statistics, sys, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
nothing = ray.remote(num_cpus=1)(lambda: None)
seconds = []
for _ in range(101):
    began = time.perf_counter()
    ray.get(nothing.remote())
    seconds.append(time.perf_counter() - began)
first, *others = seconds
print(f"a task that does nothing: the first of a node {first:.2f} s, then a median of {statistics.median(others):.4f} s, the slowest of 100 {max(others):.4f} s")
"""


def make_runs(names: list[str]) -> None:
    """Runs of the tiny competition with their folds; each differs in lr."""
    asked = {"COMP": "tiny", "EXP": "baseline", "INPUTS": "inputs"}
    asked["MACHINE"] = "wandb=off workers=0 device=cpu sanity=false"
    for number, name in enumerate(names, start=1):
        asked["SET"] = f"{SETTINGS} epochs={EPOCHS} lr={number / 100}"
        for stage in ("configure", "split"):
            run(stage, f"runs/{name}", more=asked)


def run(*words: str, more: dict[str, str] | None = None) -> None:
    subprocess.run([*PYTHON, *words], env=environment() | (more or {}), check=True, stdout=subprocess.DEVNULL)


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure_units(address: str) -> None:
    """Five folds one after another, as commands and as tasks."""
    make_runs(["plain", "tasks"])
    run("train", "runs/plain", "--prepare")
    commands = [
        seconds_of(lambda: run("train", "runs/plain", "--fold", str(fold)))  # noqa: B023
        for fold in range(5)
    ]
    command = Command("cluster", "runs/tasks", "--on", address, "--limit", "1")
    assert command.end() == 0, command.text
    lines = [line.split() for line in command.text.splitlines() if line.startswith("tasks fold")]
    stamps = [line.split() for line in command.text.splitlines() if " tasks fold" in line]
    begun = [clock(words[0]) for words in stamps if words[3] == "begins"]
    tasks = [later - sooner for sooner, later in zip(begun, begun[1:])]
    print(
        f"a fold: as a command {statistics.median(commands):.1f} s, as a task from one begin to the next"
        f" {statistics.median(tasks):.1f} s (whole seconds of the log), by the table"
        f" {statistics.median(float(line[3]) for line in lines):.0f} s; in all {sum(commands):.1f} s and"
        f" {sum(tasks) / len(tasks) * 5:.1f} s for five"
    )


def clock(text: str) -> int:
    """Seconds of the day, of 12:34:56."""
    hours, minutes, seconds = map(int, text.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def train_all(address: str, kill: Callable[[Command], None]) -> float:
    """Seconds of two runs on the cluster, with something killed meanwhile."""
    began = time.perf_counter()
    command = Command("cluster", "runs/a", "runs/b", "--on", address)
    kill(command)
    assert command.end() == 0, command.text
    print(command.text[command.text.rindex("\n\n") :].strip(), flush=True)
    return time.perf_counter() - began


def kill_both(node: Node) -> Callable[[Command], None]:
    """A worker, and once its fold goes on, a whole node."""

    def kill(command: Command) -> None:
        command.wait_for(in_training)
        os.kill(in_training()[0][1], signal.SIGKILL)
        command.wait_for(lambda: "the one before was lost" in command.text)
        command.wait_for(lambda: in_training(node.mark))
        node.kill()

    return kill


def compare(name: str) -> None:
    same = [
        Path(f"serial/{run}/{file}").read_bytes() == Path(f"{name}/{run}/{file}").read_bytes()
        for run in "ab"
        for file in FILES
    ]
    print(f"{name}: {sum(same)} of {len(same)} files equal the serial run's byte for byte", flush=True)


def main() -> None:
    make_competition(Path("inputs/tiny"), 60)
    make_runs(["a", "b"])
    shutil.copytree("runs", "begun")
    serial = seconds_of(lambda: [run("train", "predict", f"runs/{name}") for name in "ab"])
    Path("runs").rename("serial")
    print(f"2 runs x 5 folds, serial, one processor: {serial:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="ray") as folder, two_nodes(Path(folder)) as nodes:
        address = nodes[0].address
        empty = [sys.executable, "-c", EMPTY_TASKS, address]
        subprocess.run(empty, env=environment() | TOKEN, check=True)
        shutil.copytree("begun", "runs")
        print(f"on two nodes: {train_all(address, lambda command: None):.0f} s", flush=True)
        Path("runs").rename("clustered")
        compare("clustered")
        measure_units(address)
        shutil.rmtree("runs")
        shutil.copytree("begun", "runs")
        print(f"a worker and then a node killed: {train_all(address, kill_both(nodes[1])):.0f} s", flush=True)
        Path("runs").rename("killed")
        compare("killed")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        main()
