"""Where a competition's files are, and what lies there: an image or a table that changes makes
stages stale.
"""

import os
from pathlib import Path

from src.run.files import sha256

TABLES = tuple(
    ".csv .tsv .txt .json .jsonl .xml .parquet .xlsx .xls .feather .py .zip .tar .gz .tgz .7z".split()
)
DEEPEST = 12  # folders within folders; more is a link that leads back up


def find_inputs(inputs: Path, comp: str) -> Path:
    """The folder that holds comp/: inputs itself, or one or two levels below it. Raises ValueError for none
    or several.
    """
    try:
        inputs.exists()
    except OSError as error:
        raise ValueError(f"INPUTS={str(inputs)[:50]}...: {error.strerror}") from error
    for pattern in (comp, f"*/{comp}", f"*/*/{comp}"):
        folders = [folder for folder in inputs.glob(pattern) if folder.is_dir() and not is_run(folder)]
        places = sorted(folder.parent for folder in folders)
        if len(places) > 1:
            names = " and in ".join(map(str, places))
            raise ValueError(f"COMP={comp} is in {names}: say which one with INPUTS=folder")
        if places:
            return places[0]
    others = sorted(folder.name for folder in inputs.glob("[!.]*") if folder.is_dir())
    raise ValueError(
        f"COMP={comp}: there is no folder {inputs / comp} (in {inputs} is {', '.join(others) or 'nothing'}):"
        " put the files there, or a link to them"
    )


def is_run(folder: Path) -> bool:
    """A run that is called like its competition, in an attached bundle or session, is not the competition."""
    return (folder / "config.json").exists() and (folder / "folds.csv").exists()


def facts(path: str | Path) -> list[int]:
    """[size, time of the last change] of a file; [] of a link that leads nowhere."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def look(folder: Path) -> tuple[dict[str, list[int]], dict[str, list]]:
    """What lies in the competition's folder: ({table: [size, time]}, {folder: [number of images, hash of
    their names, sizes and times]}).

    What can't change, a read-only file system such as Kaggle's, is not looked through.
    """
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return {}, {"(read-only)": []}
    tables: dict[str, list[int]] = {}
    folders: dict[str, list] = {}
    for path, subfolders, names in os.walk(folder, followlinks=True):
        below = Path(path).relative_to(folder)
        if len(below.parts) > DEEPEST:
            raise ValueError(
                f"{path}: folders are nested more than {DEEPEST} deep: does a link lead back up?"
            )
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        images = []
        for name in sorted(names):
            if name.startswith("."):
                continue
            if name.lower().endswith(TABLES):
                tables[(below / name).as_posix()] = facts(f"{path}/{name}")
            else:
                images.append([name, *facts(f"{path}/{name}")])
        if images:
            folders[below.as_posix()] = [len(images), sha256(images)]
    return tables, folders


def is_for_test(name: str) -> bool:
    """Does a folder of this name hold test images?"""
    return "test" in name.lower() or "eval" in name.lower()
