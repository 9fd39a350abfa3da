"""Python, with the same arguments, that gets SIGTERM when the process that has started it ends, however that
ends: a training saves its state then. Linux only; elsewhere it trains on, and its locks say so.

Run: python leash.py <process> -m src train runs/<name> --fold 0
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of prctl(2); it outlives execv


def main(parent: int, arguments: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it has ended before that
            sys.exit(75)
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
