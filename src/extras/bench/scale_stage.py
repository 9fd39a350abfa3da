"""Stages of one run in this process, which writes down what it is at, so that its memory can be told apart.

Run: python -m src.extras.bench.scale_stage FILE runs/<name> train      or split, predict, submit, and
     folds: made-up predictions, scored and averaged
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from src.__main__ import exit_code, run_commands
from src.load_run import load_run
from src.run.paths import RunPaths

# (module, function, what it is): what runs between two of them belongs to the one outside
PARTS = (
    ("src.split", "split", "split"),
    ("src.train", "train", "head"),
    ("src.prepare", "decode", "decode"),
    ("src.data.features", "trunk_outputs", "trunk"),
    ("src.train", "evaluate", "evaluate"),
    ("src.predict", "predict", "predict"),
    ("src.submit", "submit", "submit"),
)


def noted(function: Callable, part: str, file: Path) -> Callable:
    """The function, with its part's name in the file while it runs."""

    def run(*args: Any, **how: Any) -> Any:
        before = file.read_text()
        file.write_text(part)
        try:
            return function(*args, **how)
        finally:
            file.write_text(before)

    return run


def run_stage(file: Path, run: str, stage: str) -> None:
    if stage == "folds":
        from src.extras.bench.scale_rows import make_up

        make_up(load_run(RunPaths(Path(run))), file)
        return
    for name, function, part in PARTS:
        if stage == {"src.data.features": "train", "src.prepare": "train"}.get(name, name.rpartition(".")[2]):
            module = import_module(name)
            setattr(module, function, noted(getattr(module, function), part, file))
    run_commands([stage, run])


if __name__ == "__main__":
    note, *words = sys.argv[1:]
    sys.exit(exit_code(lambda: run_stage(Path(note), *words)))
