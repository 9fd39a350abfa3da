"""A hash of each image's bytes, remembered in the cache folder so that each file is read once."""

import hashlib
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from src.data.images import check_file
from src.run import locks
from src.run.files import read_json, write_json

PROBE = 200  # files that are read one after another first, to see how slow the disk is
SLOW = (
    0.5e-3  # seconds per file, from which on threads help: 100,000 tiny files take 1.7 s without, 5.4 s with
)
SMALL = 2**20  # bytes


def content_hashes(files: Iterable[Path | str], memory: Path) -> list[str]:
    """A hash of each file's bytes, in order. `memory` (json) remembers them by size and modification time."""
    known = remembered(memory)
    names = [str(file) for file in files]
    facts = {name: size_and_time(name) for name in names}
    new = [name for name, its in facts.items() if not its or known.get(name, [])[:2] != its]
    digests = dict(zip(new, digests_of(new)))
    read = {name: digest for name, digest in digests.items() if not digest.startswith("unreadable")}
    remember({name: [*facts[name], digest] for name, digest in read.items()}, memory)
    return [digests.get(name) or known[name][2] for name in names]


def digests_of(names: list[str]) -> list[str]:
    """The digests of the files, by threads where reading is slow, as from a network."""
    began = time.perf_counter()
    digests = [digest(name) for name in names[:PROBE]]
    rest = names[PROBE:]
    if time.perf_counter() - began < SLOW * len(digests):
        return digests + [digest(name) for name in rest]
    with ThreadPoolExecutor(4) as pool:
        return [*digests, *pool.map(digest, rest)]


def digest(name: str) -> str:
    try:
        check_file(name)
        with open(name, "rb", buffering=0) as file:
            start = file.read(SMALL)
            if len(start) < SMALL:  # file_digest fills a buffer of 256 KB first, which doubles its time
                return hashlib.sha256(start).hexdigest()[:32]
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except (OSError, ValueError):
        return f"unreadable {name}"  # decode says so, with all others of its kind


def remembered(memory: Path) -> dict:
    """What is known of earlier times. A damaged file is as good as none: all is read again."""
    return read_memory(memory, *size_and_time(str(memory)))


@lru_cache(maxsize=1)
def read_memory(memory: Path, *version: int) -> dict:
    """Read once per process and version of the file: the stages of a chain ask several times, and of 100,000
    images it has 12 MB.
    """
    try:
        return dict(read_json(memory)) if version else {}
    except (ValueError, TypeError, FileNotFoundError):
        print(f"warning: {memory} is damaged: all images are hashed anew", file=sys.stderr)
        return {}


def remember(new: dict[str, list], memory: Path) -> None:
    """Add to what other processes may add to now. Where the disk refuses it, the files are read again the
    next time.
    """
    if not new:
        return
    try:
        with locks.lock(memory.with_name(memory.name + ".lock"), wait=True):
            write_json(remembered(memory) | new, memory, indent=None)
    except ValueError as error:
        print(f"warning: {error}", file=sys.stderr)


def size_and_time(name: str) -> list[int]:
    try:
        status = os.stat(name)
        return [status.st_size, status.st_mtime_ns]
    except OSError:
        return []
