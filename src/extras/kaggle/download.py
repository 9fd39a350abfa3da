"""make data COMP=slug: a competition's files from Kaggle, where they are not here yet.  -> inputs/<slug>/

An interrupted download goes on where it was. The archive is unpacked as one that was put there by hand.
"""

import os
import sys
import zipfile
from pathlib import Path

from src import competitions
from src.competition import definition
from src.extras.kaggle.client import Absent, connect, explained
from src.run import locks
from src.run.archives import unpack
from src.run.files import make_folder

UNFINISHED = ".kaggle"  # folder below inputs/ of what is not whole yet


def download(slug: str, inputs: Path) -> None:
    """Bring the files and print what they tell; nothing where they are here, or where nobody is signed in.
    Raises ValueError for what Kaggle refuses.
    """
    archive = inputs / f"{slug}.zip"
    if slug == "demo" or archive.exists() or is_here(slug, inputs):
        return
    try:
        api = connect()
    except Absent as reason:
        print(f"{inputs / slug} is not here. To download it from Kaggle: {reason}")
        return
    part = make_folder(inputs / UNFINISHED)
    with locks.lock(part / f"{slug}.lock", wait=True):
        if not archive.exists():
            print(f"{slug}: downloading from Kaggle; when it is stopped, the same command goes on")
            with explained(slug, "download", api):
                api.competition_download_files(slug, path=str(part), quiet=not sys.stdout.isatty())
            os.replace(whole_archive(part, slug), archive)
    unpack(archive, inputs / slug)
    competition = competitions.load(slug, inputs)
    print(definition.as_python(competition))


def is_here(slug: str, inputs: Path) -> bool:
    """Is there a folder of this name, up to three levels deep, or a place where nothing can be put?"""
    is_found = any(True for pattern in (slug, f"*/{slug}", f"*/*/{slug}") for _ in inputs.glob(pattern))
    return is_found or (inputs.exists() and not os.access(inputs, os.W_OK))


def whole_archive(part: Path, slug: str) -> Path:
    """What the client has downloaded, which checks its size. Raises ValueError where it is no zip."""
    path = next(
        path for path in sorted(part.glob(f"{slug}.*")) if path.suffix not in (".lock", ".kaggle-partial")
    )
    if not zipfile.is_zipfile(path):
        path.unlink()
        raise ValueError(
            f"{slug}: what Kaggle sent is no zip archive: download it by hand from"
            f" https://www.kaggle.com/competitions/{slug}/data, and put it at {part.parent / slug}.zip"
        )
    return path
