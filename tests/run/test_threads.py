"""How long the threads of OpenMP spin is said before torch is loaded, and never over what the user says."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.run.gpus import environment_of
from src.run.threads import BLOCK_MILLISECONDS, SPIN_COUNT, limit_spinning

ROOT = Path(__file__).resolve().parents[2]
OURS = {"GOMP_SPINCOUNT": SPIN_COUNT, "KMP_BLOCKTIME": BLOCK_MILLISECONDS}


@pytest.mark.parametrize(
    "given, result",
    [
        ({}, OURS),
        ({"GOMP_SPINCOUNT": "7"}, OURS | {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "passive"}, {"OMP_WAIT_POLICY": "passive"}),
    ],
)
def test_what_the_environment_says_stays(given, result):
    environ = dict(given)
    limit_spinning(environ)
    assert environ == result


def test_it_is_said_before_a_command_loads_torch(tmp_path):
    code = """
import os, sys
from src import __main__ as podium
def torch_is_loaded(name):
    assert "torch" not in sys.modules and "GOMP_SPINCOUNT" in os.environ
    sys.exit(3)
podium.import_module = torch_is_loaded
podium.main(["train", "runs/none"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("cores, processes, threads", [(8, 2, "4"), (2, 2, "1"), (2, 4, "1")])
def test_processes_side_by_side_share_the_processor(monkeypatch, cores, processes, threads):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    own = environment_of("1", processes)
    assert (own["OMP_NUM_THREADS"], own["CUDA_VISIBLE_DEVICES"]) == (threads, "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment_of("0", processes)["OMP_NUM_THREADS"] == "3"
