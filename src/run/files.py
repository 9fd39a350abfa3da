"""Files that are written whole or not at all, and read only if they are what was written; hashes."""

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# in the names of part files: a process number tells nothing elsewhere
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:4]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a file of this writer's own to write to; it is renamed to `path` if all went well, else removed:
    a file that exists is finished.

    Raises ValueError where the disk refuses it.
    """
    part = part_of(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(path.parent)
        try:
            yield part
            with part.open("rb+") as file:
                # or a power cut leaves the name with nothing behind it
                os.fsync(file.fileno())
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
        if match := re.search(r"\.([0-9a-f]{4})-(\d+)-[0-9a-f]{6}\.part$", part.name):
            is_over = (
                not is_alive(int(match[2])) if match[1] == HOST else time.time() - modified(part) > 24 * 3600
            )
            if is_over and part.is_file():
                part.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and is another user's
        pass
    return True


def modified(path: Path) -> float:
    """When; now for a file that has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Where the disk refuses to take the file, the error names it."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and "os error" not in str(error):  # so safetensors says it
            raise
        there = next(folder for folder in path.parents if folder.exists())
        if not there.is_dir():
            raise ValueError(f"{there} is a file, and a folder must be there: move it away") from error
        need = (
            f"; it needs more than the {shutil.disk_usage(there).free:,} bytes that are free there"
            if "No space left" in str(error)
            else ""
        )
        raise ValueError(
            f"{path} can't be written: {error}{need}. What was finished before is whole"
        ) from error


def make_folder(folder: Path) -> Path:
    """The folder, made if it isn't there. Raises ValueError where the disk refuses it."""
    with naming(folder / "any file"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_text(text: str, path: Path) -> None:
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(obj: Any, path: Path, *, indent: int | None = 2) -> None:
    """Write it as json; a dict gets its own checksum, so that read_json sees a damage."""
    if isinstance(obj, dict):
        # as it will be read: keys are texts
        plain = json.loads(json.dumps({key: value for key, value in obj.items() if key != "checksum"}))
        obj = {**plain, "checksum": sha256(plain)}
    write_text(json.dumps(obj, indent=indent, ensure_ascii=False) + "\n", path)


def read_json(path: Path, *keys: str) -> Any:
    """What write_json was given, with these keys where some are named. Raises Damaged for anything else."""
    try:
        obj = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Damaged(path, str(error)) from error
    # none: written by earlier code, or by hand
    if isinstance(obj, dict) and obj.pop("checksum", None) not in (None, sha256(obj)):
        raise Damaged(path, "its checksum is another")
    if keys and not (isinstance(obj, dict) and obj.keys() >= set(keys)):
        raise Damaged(path, f"it has no {', '.join(keys)}")
    return obj


class Damaged(ValueError):
    """A file is not what was written: it is cut, a bit of it has flipped, or it was edited by hand."""

    def __init__(self, path: Path, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"{path} is damaged ({why}): {repair(path)}")


def repair(path: Path) -> str:
    """What to type when this file is damaged."""
    folder, run = path.parent, path.parent.parent.name
    if path.name == "config.json":
        return "remove it and give the whole command once more, with COMP, EXP and SET"
    if folder.name == "submissions":
        return (
            f"remove it, and make submit RUN={path.name.partition('.fold')[0].removesuffix('.json')} FORCE=1"
            " writes it again"
        )
    if path.name in ("competition.json", "folds.csv"):
        return f"remove it, and make split RUN={folder.name} FORCE=1 writes it again"
    if re.fullmatch(r"(fold|refit)\d+", folder.name) and path.stem not in ("test", "valid_views"):
        return f"remove the folder {folder}, and make train RUN={run} FORCE=1 trains it again"
    if re.fullmatch(r"(fold|refit)\d+", folder.name):
        return f"remove it, and make train RUN={run} FORCE=1 predicts it again"
    return "remove it, and the same command with FORCE=1 writes it again"


def check_file(path: Path, sha: str) -> Path:
    """The same path. Raises Damaged when its content is not what that hash was made of."""
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
        content = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def file_sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def link_or_copy(source: Path, target: Path) -> None:
    with atomic(target) as part:
        part.unlink(missing_ok=True)
        # these are only ever replaced; a log is appended to
        if source.suffix in (".safetensors", ".parquet"):
            try:
                return os.link(source, part)
            # another file system, or one without links
            except OSError:
                pass
        shutil.copyfile(source, part)
