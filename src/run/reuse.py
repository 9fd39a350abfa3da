"""What is finished already: is it whole, what made it, and can another run take it over?"""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

from src.run import hashing
from src.run.files import atomic, check_file, link_or_copy, read_json, write_json
from src.run.locks import lock
from src.run.paths import FoldPaths, RunPaths, fold_name


def check_fold(fold: FoldPaths, *names: str) -> dict:
    """The content of done.json. Raises Damaged when one of the fold's files, or of those named, is not what
    was written.
    """
    done = read_json(fold.done)
    for name in names or done["files"]:
        if sha := done["files"].get(name):
            check_file(fold.root / name, sha)
    return done


def check_folds(path: Path) -> Path:
    """The same path of a folds.csv. Raises Damaged when it is not what split wrote, by the hash in
    competition.json beside it.
    """
    competition = path.with_name("competition.json")
    sha = read_json(competition).get("folds_sha256") if competition.exists() else ""
    return check_file(path, sha) if sha else path  # earlier code wrote none


def changed_code(done: dict) -> list[str]:
    """ "src/training/losses.py: focal" of each piece of code that was edited or removed since it trained the
    fold of this done.json.
    """
    return hashing.edited(done.get("code", {}))


def origin(fold: FoldPaths) -> dict:
    """What made a fold: its done.json or, while it is in training, its newest state; {} where there is
    neither.
    """
    if fold.done.exists():
        return dict(read_json(fold.done))
    states = sorted(fold.state.glob("*.json"))
    try:
        return dict(read_json(states[-1])) if states else {}
    except (ValueError, TypeError):  # a torn state; who continues it will say so
        return {}


def retire(fold: FoldPaths, recipe_hash: str) -> Path:
    """Move a fold to old/<recipe hash>/, or <recipe hash>-2, -3 ... of the same recipe by other code: nothing
    finished is lost.
    """
    old = fold.root.parent / "old"
    names = chain([recipe_hash], (f"{recipe_hash}-{number}" for number in count(2)))
    place = next(old / name for name in names if not (old / name / fold.root.name).exists())
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
            reason = f"{hashing.few(changed)} changed since it was trained"
            print(f"{fold_name(k)}: not taken over from run {other.name}: {reason}")
            return False
        check_fold(theirs)
        # predict itself checks whether its files are whole
        predicted = (theirs.test, theirs.test_json, theirs.valid_views, theirs.views_json)
        for name in [*done["files"], *(file.name for file in predicted if file.exists())]:
            link_or_copy(theirs.root / name, ours.root / name)
        write_json({**done, "from": other.name}, ours.done)
        return True

    return take_over(paths, take)


def adopt_split(paths: RunPaths) -> str:
    """Take over folds.csv and competition.json from a run whose split.json is equal; that run's
    name, or "".
    """
    settings = read_json(paths.settings("split"))

    def take(other: RunPaths) -> bool:
        theirs = other.settings("split")
        is_split = all(file.exists() for file in (theirs, other.folds, other.competition))
        if not is_split or read_json(theirs) != settings:
            return False
        check_folds(other.folds)
        # copies, because make compares their times, and links would share them
        for file in (other.competition, other.folds):
            with atomic(paths.root / file.name) as part:
                shutil.copyfile(file, part)
        return True

    return take_over(paths, take)


def take_over(paths: RunPaths, take: Callable[[RunPaths], bool]) -> str:
    """The name of the first other run that `take` takes something over from, or "". One whose files are
    damaged is skipped.
    """
    for other in siblings(paths):
        with skipping(other):
            if take(other):
                return other.name
    return ""


def siblings(paths: RunPaths) -> list[RunPaths]:
    """The other runs; those whose config.json is damaged are skipped."""
    runs = []
    for path in sorted(paths.root.parent.glob("*/config.json")):
        other = RunPaths(path.parent)
        if other.name != paths.name and other.name[0] != ".":
            with skipping(other):
                read_json(path, "comp")
                runs.append(other)
    return runs


@contextmanager
def skipping(other: RunPaths) -> Iterator[None]:
    """Another run's damage stops nobody: it is printed."""
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"nothing is taken over from run {other.name}: {error}", file=sys.stderr)


def retire_changed(paths: RunPaths) -> None:
    """Move the folds whose code was edited since they were trained to old/, but none that is
    being trained.
    """
    for k in paths.begun():
        with lock(paths.lock(k)) as holder:
            source = origin(paths.fold(k))
            if holder:
                print(f"retrain: {fold_name(k)} is being trained by {holder} and stays")
            elif changed := changed_code(source):
                place = retire(paths.fold(k), source["recipe"])
                print(f"retrain: {hashing.few(changed)} changed; {fold_name(k)} is kept in {place}")
                # or after a kill, make would take the run for finished
                for file in (paths.score, paths.test_json):
                    if file.exists():
                        file.rename(place.with_name(file.name))
            else:
                print(f"retrain: {fold_name(k)} was trained by this very code and stays")
