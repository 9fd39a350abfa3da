"""Files that are written whole or not at all, and read only if they are what was written; hashes."""

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# in the names of part files, because a process number means nothing on another machine
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:4]
DAY = 24 * 3600


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a file of this writer's own to write to; it is renamed to `path` if all went well, else removed:
    a file that exists is finished. Raises ValueError where the disk refuses it.
    """
    part = part_of(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(path.parent)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())  # or a power cut leaves the name with nothing behind it
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where to write what will be `path`: beside it, under a name that no other writer has."""
    return path.with_name(f"{path.name}.{HOST}-{os.getpid()}-{os.urandom(3).hex()}.part")


def remove_dead(folder: Path) -> None:
    """Remove what killed writers have left half written: at once where the process was of this machine, after
    a day where it was of another.
    """
    for part in folder.glob("*.part"):
        match = re.search(r"\.([0-9a-f]{4})-(\d+)-[0-9a-f]{6}\.part$", part.name)
        if not match or not part.is_file():
            continue
        is_ours = match[1] == HOST
        if is_ours and not is_alive(int(match[2])) or not is_ours and age(part) > DAY:
            part.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Does a process of this machine run?"""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def age(path: Path) -> float:
    """Seconds since it was written; 0 for a file that has just gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raises ValueError with the file's name where the disk refuses it."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and "os error" not in str(error):  # as safetensors writes
            raise
        folder = next(folder for folder in path.parents if folder.exists())
        if not folder.is_dir():
            raise ValueError(f"{folder} is a file, and a folder must be there: move it away") from error
        need = ""
        if "No space left" in str(error):
            free = shutil.disk_usage(folder).free
            need = f"; it needs more than the {free:,} bytes that are free there"
        raise ValueError(
            f"{path} can't be written: {error}{need}. What was finished before is whole"
        ) from error


def make_folder(folder: Path) -> Path:
    """The folder, made if it isn't there. Raises ValueError where the disk refuses it."""
    with naming(folder / "any file"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_text(text: str, path: Path) -> None:
    """Write it whole or not at all."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(obj: Any, path: Path, *, indent: int | None = 2) -> None:
    """Write it as json, numpy's numbers and arrays as Python's; a dict gets its own checksum, so that
    read_json notices damage.
    """
    obj = json.loads(json.dumps(obj, default=as_python))  # as it will be read: keys are strings
    if isinstance(obj, dict):
        obj.pop("checksum", None)
        obj["checksum"] = sha256(obj)
    write_text(json.dumps(obj, indent=indent, ensure_ascii=False) + "\n", path)


def as_python(value: Any) -> Any:
    """A number or array of numpy for json. Raises TypeError for what json can't hold."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"a {type(value).__name__} can't be written as json: {value!r}")
    return value.tolist()


def read_json(path: Path, *keys: str) -> Any:
    """What write_json was given, with these keys where some are named. Raises Damaged for anything else."""
    try:
        obj = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Damaged(path, str(error)) from error
    # no checksum: written by earlier code, or by hand
    if isinstance(obj, dict) and obj.pop("checksum", None) not in (None, sha256(obj)):
        raise Damaged(path, "its checksum differs")
    if keys and not (isinstance(obj, dict) and obj.keys() >= set(keys)):
        raise Damaged(path, f"it has no {', '.join(keys)}")
    return obj


class Damaged(ValueError):
    """A file is not what was written: it was cut, a bit of it has flipped, or it was edited by hand."""

    def __init__(self, path: Path, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"{path} is damaged ({why}): {repair(path)}")


def repair(path: Path) -> str:
    """What to type when this file is damaged."""
    folder, run = path.parent, path.parent.parent.name
    if path.name == "config.json":
        return "remove it and give the whole command once more, with COMP, EXP and SET"
    if folder.name == "submissions":
        name = path.name.partition(".fold")[0].removesuffix(".json")
        return f"remove it, and make submit RUN={name} FORCE=1 writes it again"
    if path.name in ("competition.json", "folds.csv"):
        return f"remove it, and make split RUN={folder.name} FORCE=1 writes it again"
    is_of_fold = re.fullmatch(r"(fold|refit)\d+", folder.name)
    if is_of_fold and path.stem in ("test", "valid_views"):
        return f"remove it, and make train RUN={run} FORCE=1 predicts it again"
    if is_of_fold:
        return f"remove the folder {folder}, and make train RUN={run} FORCE=1 trains it again"
    return "remove it, and the same command with FORCE=1 writes it again"


def check_file(path: Path, sha: str) -> Path:
    """The same path. Raises Damaged when its content does not have this hash."""
    if not path.exists():
        raise Damaged(path, "it is missing")
    if file_sha(path) != sha:
        raise Damaged(path, "its content is not what was written")
    return path


def sha256(content: Any) -> str:
    """16 hex digits: of bytes as they are, of anything else as canonical json (the order of keys does not
    matter).
    """
    if not isinstance(content, bytes):
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=as_python)
        content = text.encode()
    return hashlib.sha256(content).hexdigest()[:16]


def file_sha(path: Path) -> str:
    """16 hex digits of the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source` where nothing is ever appended to it and the disk has links, else
    a copy.
    """
    with atomic(target) as part:
        part.unlink(missing_ok=True)
        if source.suffix in (".safetensors", ".parquet"):  # only ever replaced; a log is appended to
            with suppress(OSError):  # another file system, or one without links
                os.link(source, part)
                return
        shutil.copyfile(source, part)
