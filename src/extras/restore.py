"""Continue a run of a session that has ended, finished or not: the output of a Kaggle notebook, attached as a
data set.  <folder>/.../<name>/ -> runs/<name>/

Run: python -m src restore runs/<name> <folder>        make restore FROM=folder RUN=name
"""

import os
import shutil
from pathlib import Path

from src.run import locks
from src.run.files import naming
from src.run.paths import RunPaths

DEPTHS = ("*/*/*/*/", "*/*/*/", "*/*/", "*/", "")  # of a run below the folder; of one name the last counts


def restore(paths: RunPaths, source: Path) -> None:
    """Copy the run of that name, whole or not at all. ValueError if it isn't there, or here already."""
    configs = [
        config for depth in DEPTHS for config in sorted(source.glob(f"{depth}config.json"), reverse=True)
    ]
    runs = {config.resolve().parent.name: config.parent for config in configs}
    if paths.name not in runs:
        names = ", ".join(sorted(runs)) or "none at all"
        raise ValueError(f"FROM={source} holds no run {paths.name}; it holds {names}")
    if paths.root.exists():
        raise ValueError(f"{paths.root} is here already: move it away, or make clean RUN={paths.name}")
    part = paths.root.with_name(f".{paths.name}.part")
    with locks.lock(part.with_suffix(".lock")) as holder:
        if holder:
            raise ValueError(f"{paths.root} is being restored by {holder}: wait for it")
        shutil.rmtree(part, ignore_errors=True)
        num_files = copy_run(runs[paths.name], part)
        part.rename(paths.root)
    print(
        f"{paths.root}: {num_files} files from {runs[paths.name]}, {progress(paths)}; to "
        f"continue: make submit RUN={paths.name}"
    )


def copy_run(source: Path, target: Path) -> int:
    """Copy the files of a run, and count them."""
    files = [file for file in source.rglob("*") if file.is_file() and file.suffix not in (".part", ".lock")]
    for file in files:
        copy = target / file.relative_to(source)
        with naming(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)  # not its mode: what is attached to a notebook is read-only
            os.utime(copy, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))  # make compares times
    return len(files)


def progress(paths: RunPaths) -> str:
    has_state = any(paths.root.glob("fold*/state/*.json"))
    return f"{len(paths.finished())} finished folds" + (", one in training" if has_state else "")


def main(arguments: list[str]) -> None:
    if len(arguments) != 2 or not arguments[1]:
        raise ValueError("usage: make restore FROM=folder RUN=name")
    restore(RunPaths(Path(arguments[0])), Path(arguments[1]))
