"""What is finished already: is it whole, what made it, can another run take it over?"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from src.run import hashing, process
from src.run.files import atomic, check_file, link_or_copy, read_json, write_json
from src.run.locks import check_idle, lock
from src.run.paths import REFIT, FoldPaths, RunPaths, fold_name


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


def changed_code(done: dict) -> list[str]:
    """ "src/training/losses.py: focal" of each piece of code that was edited or removed since it trained the fold
    of this done.json.
    """
    return hashing.edited(done.get("code", {}))


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


def act() -> None:
    actions = {"retire": lambda folder: retire_changed(RunPaths(folder)), "idle": check_idle}
    if len(sys.argv) != 3 or sys.argv[1] not in actions:
        raise ValueError("usage: python -m src.run.reuse retire|idle runs/<name>")
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
    process.main(act)
