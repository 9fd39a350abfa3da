"""A hash of each image's bytes, remembered in the cache folder so that each file is read once."""

import hashlib
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from src.data.images import check_file
from src.run import locks
from src.run.files import atomic, sha256

PROBE = 200  # files that are read one after another first, to see how slow the disk is
SLOW = (
    0.5e-3  # seconds per file, from which on threads help: 100,000 tiny files take 1.7 s without, 5.4 s with
)
SMALL = 2**20  # bytes
# of an image: 56 bytes, where a json's dict took 1.5 kB while it was read
RECORD = np.dtype([("name", "u8"), ("size", "i8"), ("time", "i8"), ("digest", "S32")])


def content_hashes(files: Iterable[Path | str], memory: Path) -> list[str]:
    """A hash of each file's bytes, in order. `memory` remembers them by name, size and modification time."""
    names = [str(file) for file in files]
    facts = look_up(names, memory)
    # each name once, with its place
    new = {names[place]: place for place in np.flatnonzero(facts["digest"] == b"").tolist()}
    digests = dict(zip(new, digests_of([*new])))
    read = [name for name, digest in digests.items() if not digest.startswith("unreadable")]
    learned = facts[[new[name] for name in read]]
    learned["digest"] = [digests[name] for name in read]
    remember(learned, memory)
    known = facts["digest"].astype(str).tolist()
    return [digest or digests[name] for name, digest in zip(names, known)]


def told_apart(contents: list[str], table: pd.DataFrame) -> list[str]:
    """The same for images that a read_image takes out of one file, an array or a table of pixels: what it is
    told of each, its id, stands beside the file's hash.
    """
    is_shared = table["path"].duplicated(keep=False).tolist()
    ids = table["id"].tolist()
    return [f"{one}:{name}" if one and shared else one for one, name, shared in zip(contents, ids, is_shared)]


def look_up(names: Sequence[str], memory: Path) -> np.ndarray:
    """RECORDs (n,) of these files as they are now, the digest empty where `memory` does not know it."""
    facts = np.fromiter(((key_of(name), *size_and_time(name), b"") for name in names), RECORD, len(names))
    known = remembered(memory)
    if not len(known):
        return facts
    same = known[np.searchsorted(known["name"], facts["name"]) % len(known)]
    is_known = facts["size"] >= 0
    for field in ("name", "size", "time"):
        is_known &= same[field] == facts[field]
    facts["digest"][is_known] = same["digest"][is_known]
    return facts


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


def remembered(memory: Path) -> np.ndarray:
    """What is known of earlier times, sorted by name. A damaged file is as good as none: all is read
    again.
    """
    return read_memory(memory, *size_and_time(str(memory)))


@lru_cache(maxsize=1)
def read_memory(memory: Path, size: int, *version: int) -> np.ndarray:
    """Read once per process and version of the file: the stages of a chain ask several times."""
    content = memory.read_bytes() if size >= 0 else b""
    checksum, records = content[:16], content[16:]
    if content and checksum != sha256(records).encode():
        print(f"warning: {memory} is damaged: all images are hashed anew", file=sys.stderr)
        return np.zeros(0, RECORD)
    return np.frombuffer(records, RECORD)


def remember(new: np.ndarray, memory: Path) -> None:
    """Add to what other processes may add to now. Where the disk refuses it, the files are read again the
    next time.
    """
    if not len(new):
        return
    try:
        with locks.lock(memory.with_name(memory.name + ".lock"), wait=True):
            both = np.concatenate([new, remembered(memory)])
            records = both[np.unique(both["name"], return_index=True)[1]].tobytes()
            with atomic(memory) as part:
                part.write_bytes(sha256(records).encode() + records)
    except ValueError as error:
        print(f"warning: {error}", file=sys.stderr)


def key_of(name: str) -> int:
    """64 bits of the file's name, which stand for it: another file's would have to be of the same size and
    time as well.
    """
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


def size_and_time(name: str) -> tuple[int, int]:
    """In bytes and nanoseconds; -1 of what is not there."""
    try:
        status = os.stat(name)
        return status.st_size, status.st_mtime_ns
    except OSError:
        return -1, -1
