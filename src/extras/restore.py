"""Take up a run, finished or not, of a session that ended: a Kaggle notebook's output, attached as a data
set.  <folder>/.../<name>/ -> runs/<name>/

Run: python -m src.extras.restore runs/<name> <folder>
"""

import os
import shutil
import sys
from pathlib import Path

from src.run import locks, process
from src.run.files import naming
from src.run.paths import RunPaths


def restore(paths: RunPaths, source: Path) -> None:
    """Copy the run of that name, whole or not at all. Raises ValueError when it isn't there, or here already."""
    configs = [
        config
        for depth in ("", "*/", "*/*/", "*/*/*/", "*/*/*/*/")
        for config in sorted(source.glob(depth + "config.json"))
    ]
    there = {config.resolve().parent.name: config.parent for config in reversed(configs)}
    if paths.name not in there:
        raise ValueError(
            f"FROM={source} holds no run {paths.name}; it holds {', '.join(sorted(there)) or 'none at all'}"
        )
    if paths.root.exists():
        raise ValueError(f"{paths.root} is here already: move it away, or make clean RUN={paths.name}")
    part = paths.root.with_name(f".{paths.name}.part")
    with locks.lock(part.with_suffix(".lock")) as holder:
        if holder:
            raise ValueError(f"{paths.root} is being restored by {holder}: wait for it")
        shutil.rmtree(part, ignore_errors=True)
        copy_run(there[paths.name], part, paths)


def copy_run(source: Path, part: Path, paths: RunPaths) -> None:
    files = [file for file in source.rglob("*") if file.is_file() and file.suffix not in (".part", ".lock")]
    for file in files:
        copy = part / file.relative_to(source)
        with naming(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            # not its mode: what is attached to a notebook is read-only
            shutil.copyfile(file, copy)
            os.utime(copy, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))  # make compares times
    part.rename(paths.root)
    begun = len(list(paths.root.glob("fold*/state/*.json")))
    print(
        f"{paths.root}: {len(files)} files from {source}, {len(paths.finished())} finished"
        f" folds{', one in training' if begun else ''}; make submit RUN={paths.name} goes on"
    )


def main() -> None:
    if len(sys.argv) != 3 or not sys.argv[2]:
        raise ValueError("usage: make restore FROM=folder RUN=name")
    restore(RunPaths(Path(sys.argv[1])), Path(sys.argv[2]))


if __name__ == "__main__":
    process.main(main)
