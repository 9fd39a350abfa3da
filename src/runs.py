"""The name of every file of a run, once; writing that is whole or not at all; hashes; taking over what
another run has finished.

Run: python -m src.runs retire runs/<name>      moves the folds that other code has made to runs/<name>/old/
     python -m src.runs idle runs               is anything being trained there?
"""

import atexit
import errno
import fcntl
import gc
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from src import IS_STAGE, code

SRC = code.SRC
# in the names of part files: a process number tells nothing elsewhere
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:4]
# of a run: a file may have 255 characters, and what is written beside it has an end of its own; W&B takes 128
LONGEST_NAME = 120
# the number of the first model that learns from all images, -3 of the next: no image has such a fold, so none
# is held out
REFIT = -2
VERSIONS = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "adamp",
    "scikit-learn",
    "pandas",
    "numpy",
    "pillow",
)


class CheckFailed(Exception):
    """A check says no: exit code 1."""


class Stopped(Exception):
    """Stopped on purpose with the state saved, the same command goes on: exit code 75."""


def file(name: str) -> property:
    return property(lambda self: self.root / name)


def fold_name(k: int) -> str:
    return f"fold {k}" if k > REFIT else f"refit {REFIT - k}"


@dataclass(frozen=True)
class FoldPaths:
    """The files of runs/<name>/fold<k>/, and of refit<n>/, which holds nothing out. done.json is written
    last: with it the fold is finished.
    """

    root: Path
    model = file("model.safetensors")
    valid = file("valid.parquet")
    valid_epochs = file("valid_epochs.parquet")
    valid_views = file("valid_views.parquet")
    views_json = file("valid_views.json")
    log = file("log.jsonl")
    state = file("state")  # a folder, there while training runs
    done = file("done.json")
    test = file("test.parquet")
    test_json = file("test.json")


@dataclass(frozen=True)
class RunPaths:
    """The files of runs/<name>/."""

    root: Path
    name = property(lambda self: self.root.name)
    config = file("config.json")
    competition = file("competition.json")
    folds = file("folds.csv")
    oof = file("oof.parquet")
    oof_tta = file("oof_tta.parquet")
    tta = file("tta.json")
    test = file("test.parquet")
    test_json = file("test.json")  # written after it: which models it is the mean of
    score = file("score.json")
    diff = file("code.diff")
    old = file("old")

    def settings(self, stage: str) -> Path:
        """split.json, train.json, predict.json or submit.json: make compares the stage's products with it."""
        return self.root / f"{stage}.json"

    def fold(self, k: int) -> FoldPaths:
        return FoldPaths(self.root / fold_name(k).replace(" ", ""))

    def lock(self, k: int) -> Path:
        """Beside the fold's folder, which may be moved."""
        return self.root / f"{self.fold(k).root.name}.lock"

    def finished(self) -> list[int]:
        """The folds that have a done.json."""
        return sorted(int(done.parent.name[4:]) for done in self.root.glob("fold*/done.json"))

    def predicting(self, refit: int) -> list[int]:
        """The models whose mean the test predictions are: `refit` ones that learned from all images, or those
        of the folds.
        """
        return [REFIT - number for number in range(refit)] or self.finished()

    def scored(self) -> tuple[Path, dict]:
        """The out-of-fold predictions that belong to the test predictions, and their score: the mean over the
        views of tta, where the run has it.
        """
        score, made = read_json(self.score), read_json(self.tta) if self.tta.exists() else {}
        is_current = made and (made["recipe"], made["tta"]) == (
            score["recipe"],
            read_json(self.config)["config"]["tta"],
        )
        path, score = (self.oof_tta, score | made) if is_current else (self.oof, score)
        if "sha256" in score:  # not of a run of earlier code
            check_file(path, score["sha256"])
        return path, score


def check_name(value: str, what: str) -> str:
    """The same value if it can name a folder, a make target and a file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=,-]*", value) or ".." in value:
        raise ValueError(
            f"{what}={value!r} can't be a name: use letters, digits and . _ = , - (a letter or digit first,"
            " no '..')"
        )
    if len(value) > LONGEST_NAME:
        raise ValueError(
            f"{what}={value[:20]}... has {len(value)} characters, a name may have {LONGEST_NAME}: RUN=name"
            " gives a shorter one"
        )
    return value


def check_run_name(value: str, what: str) -> str:
    """The same value if it can name a run. submissions/ holds the run's csv beside ledger.csv and the csv
    files of single folds.
    """
    if check_name(value, what).lower() == "ledger" or re.search(r"\.fold\d+$", value):
        raise ValueError(
            f"{what}={value}: submissions/{value}.csv is the name of another file: choose another {what}"
        )
    return value


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


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[str]:
    """Yields "" if this process has the lock now, else who has it: "process 123 on host". With wait it waits
    instead.

    The kernel takes it back when its process ends, however it ends: a file left behind is no lock. Forked
    workers don't inherit it.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        holder = acquire(file, wait)
        if holder:
            yield holder
            return
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            with naming(path):
                file.truncate(0)
                print(f"process {os.getpid()} on {platform.node()}", end="", file=file, flush=True)
            try:
                yield ""
            finally:
                path.unlink(missing_ok=True)
            return
    # the file that we opened was removed by the one that had it
    with lock(path, wait=wait) as holder:
        yield holder


def acquire(file: IO, wait: bool) -> str:
    """Nothing when the lock is ours, else who has it."""
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            if not wait:
                return holder
            print(f"waiting for {holder}, which has {file.name}", flush=True)
            fcntl.lockf(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"{file.name}: this file system has no locks: don't start a run twice", file=sys.stderr)
    return ""


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


def check_fold(fold: FoldPaths, *names: str) -> dict:
    """What done.json says. Raises Damaged when one of its files, or of those named, is not what was written."""
    done = read_json(fold.done)
    for name in names or done["files"]:
        if sha := done["files"].get(name):
            check_file(fold.root / name, sha)
    return done


def check_folds(path: Path) -> Path:
    """The same path of a folds.csv. Raises Damaged when it is not what split wrote, as competition.json
    beside it says.
    """
    competition = path.with_name("competition.json")
    sha = read_json(competition).get("folds_sha256") if competition.exists() else ""
    return check_file(path, sha) if sha else path  # none: of earlier code


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


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}


def as_text(value: Any) -> str:
    """A setting's value as SET takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def changed_code(done: dict) -> list[str]:
    """ "src/fit/losses.py: focal" of each piece of code that was edited or removed since it trained the fold
    of this done.json.
    """
    return code.edited(done.get("code", {}))


def git(*args: str) -> str:
    """What git says in the kit's folder; "" without git, repository or commit."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=SRC.parent, capture_output=True, text=True, errors="replace", check=True
        )
        return done.stdout.rstrip("\n")
    except (OSError, subprocess.CalledProcessError):
        return ""


def commit() -> str:
    """The short commit, with "-dirty" where src differs from it, or "no git"."""
    head = git("rev-parse", "--short", "HEAD")
    return (head + "-dirty" if git("status", "--porcelain", "--", "src") else head) or "no git"


def diff() -> str:
    """What src holds beyond the commit: edits, then whole files that git does not know."""
    new = [
        name
        for name in git("ls-files", "--others", "--exclude-standard", "--", "src").splitlines()
        if name.endswith(".py")
    ]
    return "\n".join(
        [
            git("diff", "HEAD", "--", "src"),
            *(f"new file {name}\n{(SRC.parent / name).read_text()}" for name in new),
        ]
    ).strip()


def origin(fold: FoldPaths) -> dict:
    """What made a fold: what its done.json says or, while it is in training, its newest state; {} where there
    is neither.
    """
    if fold.done.exists():
        return dict(read_json(fold.done))
    for path in sorted(fold.state.glob("*.json"))[-1:]:
        try:
            return dict(read_json(path))
        # a torn state; whoever takes it up will say so
        except (ValueError, TypeError):
            break
    return {}


def retire(fold: FoldPaths, recipe_hash: str) -> Path:
    """Move a fold to old/<recipe hash>/, beside what was moved there before: nothing finished is lost."""
    place, number = fold.root.parent / "old" / recipe_hash, 1
    # the same recipe by other code: <recipe hash>-2, -3 ...
    while (place / fold.root.name).exists():
        number += 1
        place = place.with_name(f"{recipe_hash}-{number}")
    place.mkdir(parents=True, exist_ok=True)
    return fold.root.rename(place / fold.root.name)


def adopt_fold(paths: RunPaths, k: int, recipe_hash: str, comp: str) -> str:
    """Take over fold k from a run of the same COMP if its recipe is this one and its code has not changed;
    that run's name, or "".
    """
    ours = paths.fold(k)

    def take(other: RunPaths) -> bool:
        theirs = other.fold(k)
        done = read_json(theirs.done) if theirs.done.exists() else {}
        if done.get("recipe") != recipe_hash or read_json(other.config)["comp"] != comp:
            return False
        if changed := changed_code(done):
            print(
                f"{fold_name(k)}: not taken over from run {other.name}: {', '.join(changed)} changed since it"
                " was trained"
            )
            return False
        check_fold(theirs)
        predicted = [
            file.name
            for file in (theirs.test, theirs.test_json, theirs.valid_views, theirs.views_json)
            if file.exists()
        ]
        # predict itself looks whether its files are whole
        for name in [*done["files"], *predicted]:
            link_or_copy(theirs.root / name, ours.root / name)
        write_json({**done, "from": other.name}, ours.done)
        return True

    return take_over(paths, take)


def adopt_split(paths: RunPaths) -> str:
    """Take over folds.csv and competition.json from a run whose split.json is equal; that run's name, or ""."""
    mine = read_json(paths.settings("split"))

    def take(other: RunPaths) -> bool:
        theirs = other.settings("split")
        if (
            not all(file.exists() for file in (theirs, other.folds, other.competition))
            or read_json(theirs) != mine
        ):
            return False
        check_folds(other.folds)
        # copies, for make looks at their times, and links would share them
        for file in (other.competition, other.folds):
            with atomic(paths.root / file.name) as part:
                shutil.copyfile(file, part)
        return True

    return take_over(paths, take)


def take_over(paths: RunPaths, take: Callable[[RunPaths], bool]) -> str:
    """The first other run that `take` takes something over from, or "". One whose files are damaged is passed
    over.
    """
    for other in siblings(paths):
        try:
            if take(other):
                return other.name
        except (ValueError, OSError) as error:
            print(f"nothing is taken over from run {other.name}: {error}", file=sys.stderr)
    return ""


def siblings(paths: RunPaths) -> list[RunPaths]:
    """The other runs; those whose config.json is damaged are passed over."""
    folders = sorted(config.parent for config in paths.root.parent.glob("*/config.json"))
    return [
        RunPaths(folder)
        for folder in folders
        if folder.name != paths.name and folder.name[0] != "." and is_sound(folder / "config.json")
    ]


def is_sound(path: Path) -> bool:
    try:
        return isinstance(read_json(path), dict)
    except (ValueError, OSError) as error:
        print(f"nothing is taken over from run {path.parent.name}: {error}", file=sys.stderr)
        return False


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


def main(stage: Callable[[], object]) -> None:
    """Run a stage's main; the exit code is 0, 2 for bad input, 1 for a failed check, 75 for stopped and
    saved.
    """
    gc.freeze()  # what the imports made stays to the end: no collection looks at it any more
    gc.enable()
    try:
        stage()
        leave()
    except (ValueError, OSError, CheckFailed, Stopped) as error:
        ours = SRC in Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve().parents
        if isinstance(error, ValueError | OSError) and not ours:
            # a library's message says too little by itself
            traceback.print_exc()
        print(f"error: {error}" if isinstance(error, ValueError | OSError) else error, file=sys.stderr)
        sys.exit({CheckFailed: 1, Stopped: 75}.get(type(error), 2))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(75)


def leave() -> None:
    """End a stage's process by what is registered for its end, and no more: taking torch's objects apart one
    by one lasts a quarter of a second.
    """
    others = [
        thread
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    if IS_STAGE and not others:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def check_idle(folder: Path) -> None:
    """Raises ValueError while a process trains a run that is, or lies in, this folder."""
    for path in [*folder.glob("*.lock"), *folder.glob("*/*.lock")]:
        with lock(path) as holder:
            if holder:
                raise ValueError(
                    f"{path.parent} is being trained by {holder}: nothing is removed; wait for it, or end it"
                    " first"
                )


def act() -> None:
    actions = {"retire": lambda folder: retire_changed(RunPaths(folder)), "idle": check_idle}
    if len(sys.argv) != 3 or sys.argv[1] not in actions:
        raise ValueError("usage: python -m src.runs retire|idle runs/<name>")
    actions[sys.argv[1]](Path(sys.argv[2]))


def retire_changed(paths: RunPaths) -> None:
    numbers = [int(folder.name[4:]) for folder in sorted(paths.root.glob("fold*")) if folder.is_dir()]
    for k in [
        *sorted(numbers),
        *(REFIT - int(folder.name[5:]) for folder in sorted(paths.root.glob("refit*")) if folder.is_dir()),
    ]:
        with lock(paths.lock(k)) as holder:
            made = origin(paths.fold(k))
            if holder:
                print(f"retrain: {fold_name(k)} is being trained by {holder} and stays")
            elif changed := changed_code(made):
                place = retire(paths.fold(k), made["recipe"])
                print(f"retrain: {', '.join(changed)} changed; {fold_name(k)} is kept in {place}")
                # or after a kill, make would take the run for finished
                if paths.score.exists():
                    paths.score.rename(place.with_name(paths.score.name))
            else:
                print(f"retrain: {fold_name(k)} was trained by this very code and stays")


if __name__ == "__main__":
    main(act)
