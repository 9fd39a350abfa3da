"""Folds side by side: a process per GPU. One fold over several is in launch.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from src.run import memory
from src.run.errors import Stopped
from src.run.threads import share_of_cores


def check(gpus: int, device: str) -> None:
    """Raises ValueError for more GPUs than there are."""
    if device != "cpu" and torch.cuda.device_count() < gpus:
        raise ValueError(
            f"GPUS={gpus}: torch finds {torch.cuda.device_count()} CUDA devices here: leave GPUS out, and one"
            " process"
            f' trains the folds one after another; MACHINE="device=cpu" lets {gpus} processes share the'
            " processor"
        )


def environment_of(visible_device: str, gpus: int) -> dict[str, str]:
    """Of a process: one GPU, and its share of the processor, where OMP_NUM_THREADS does not say otherwise."""
    own = {"CUDA_VISIBLE_DEVICES": visible_device, "TQDM_DISABLE": "1"}
    return {"OMP_NUM_THREADS": share_of_cores(gpus)} | os.environ | own


def make_room() -> None:
    """Give back what the quick checks before, in this process, have left on the GPU."""
    if torch.cuda.is_initialized():
        memory.baseline("cuda")


def share_out(run: Path, gpus: int, words: Sequence[str] = ()) -> None:
    """Run a process per GPU, each taking unfinished folds until none is left. They need not talk: a fold's
    lock says that it is taken. words: more of the command. Raises Stopped; exits with the code of one that
    failed.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = visible if len(visible) >= gpus else [str(number) for number in range(gpus)]
    children: list[subprocess.Popen] = []
    signals: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        signals.append(number)
        for child in children:
            child.send_signal(signal.SIGTERM)

    handlers = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    for visible_device in devices[:gpus]:
        environment = environment_of(visible_device, gpus)
        command = [sys.executable, "-m", "src", "train", str(run), "--share", *words]
        # in a session of its own, or Ctrl-C would reach it twice
        children.append(subprocess.Popen(command, env=environment, start_new_session=True))
    codes = [child.wait() for child in children]
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if signals or Stopped.EXIT_CODE in codes:
        raise Stopped("all processes have stopped; the same command goes on")
    if max(codes) > 0:
        sys.exit(max(codes))  # it has said why; what a killed one left is finished by this process
