"""The threads of OpenMP, by which torch computes on a CPU. No torch here: it reads this as it is loaded."""

import os
from collections.abc import MutableMapping

SPIN_COUNT = "10000"  # of libgomp, which torch's wheels for Linux bring
BLOCK_MILLISECONDS = "1"  # of Intel's and LLVM's OpenMP, on macOS and in conda's torch


def limit_spinning(environ: MutableMapping[str, str]) -> None:
    """Let threads that wait for each other spin for a short while only, then sleep, unless the environment
    says how they shall wait.

    They spin for milliseconds otherwise, and take the processor from another process. Measured by
    tests/measure_spinning.py; the figures are in docs/performance.md.
    """
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
        environ.setdefault("KMP_BLOCKTIME", BLOCK_MILLISECONDS)


def share_of_cores(processes: int) -> str:
    """OMP_NUM_THREADS of each of so many processes on this machine."""
    return str(max(1, (os.cpu_count() or 1) // processes))
