"""Stages one after another in one process: importing torch and timm takes longer than many a head learns.

Run: python -m src.chain runs/<name> train --fold 0 + predict --fold 0 + submit --fold 0
"""

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from types import ModuleType

from src import competitions
from src.run import configure, process


def import_timm() -> None:
    """timm without the wandb that it loads for a summary nobody here asks of it: a fifth of a second. The
    tracker loads it where it is on.
    """
    if "wandb" not in sys.modules:
        sys.modules["wandb"] = None  # type: ignore[assignment]
        import timm  # noqa: F401

        del sys.modules["wandb"]


def read(words: list[str]) -> list[tuple[ModuleType, list[str]]]:
    """(module, its own words) of each stage."""
    parts = [list(part) for is_plus, part in groupby(words, lambda word: word == "+") if not is_plus]
    return [(import_module(main_of(name)), options) for name, *options in parts]


def main_of(name: str) -> str:
    """The module with the main function: of a package its __main__, as `python -m` has it."""
    full = f"src.{name}" if find_spec(f"src.{name}") else f"src.extras.{name}"
    found = find_spec(full)
    return f"{full}.__main__" if found and found.submodule_search_locations else full


def main(run: str, stages: list[tuple[ModuleType, list[str]]]) -> None:
    loads = competitions.load, configure.load
    competitions.load = cache(competitions.load)  # one look at the files for all of them
    # and at the settings: who edits them meanwhile changes no stage of this chain
    configure.load = cache(configure.load)
    try:
        for module, options in stages:
            sys.argv = [module.__name__, run, *options]
            module.main()
    finally:
        competitions.load, configure.load = loads


if __name__ == "__main__":
    _, run, *words = sys.argv
    import_timm()
    # here, where src/__init__.py keeps the garbage collector out of the imports
    stages = read(words)
    process.main(lambda: main(run, stages))
