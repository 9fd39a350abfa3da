"""Run a command: its errors in one line, its exit code."""

import atexit
import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from src import IS_STAGE
from src.run.errors import CheckFailed, Stopped
from src.run.sources import SRC


def main(stage: Callable[[], object]) -> None:
    """Run a stage's main; the exit code is 0, 2 for bad input, 1 for a failed check, 75 for stopped and
    saved.
    """
    gc.freeze()  # what the imports made stays to the end: no collection looks at it any more
    gc.enable()
    try:
        stage()
        leave()
    except (ValueError, OSError, CheckFailed, Stopped) as error:
        ours = SRC in Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve().parents
        if isinstance(error, ValueError | OSError) and not ours:
            # a library's message says too little by itself
            traceback.print_exc()
        print(f"error: {error}" if isinstance(error, ValueError | OSError) else error, file=sys.stderr)
        sys.exit({CheckFailed: 1, Stopped: 75}.get(type(error), 2))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(75)


def leave() -> None:
    """End a stage's process by what is registered for its end, and no more: taking torch's objects apart one
    by one lasts a quarter of a second.
    """
    others = [
        thread
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    if IS_STAGE and not others:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
