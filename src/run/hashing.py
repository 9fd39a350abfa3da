"""Which code of this fork a thing depends on: every function, class and constant that it can reach, each with
a hash. `reach` collects them, `hash_of` makes one hash of them, `changes` and `edited` name what differs.
"""

import functools
import inspect
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from src.run import sources
from src.run.sources import ROOT, Place, Source, find_module, short_hash

# Dicts of which a run uses one entry: code names that entry, and the dict itself is not followed.
CHOICES = set(
    "LOSSES SCHEDULES HEADS SAMPLERS AUGMENTS VIEWS VIEW_SETS RESIZES BACKBONES SCHEMES METRICS TASKS ANSWERS"
    " DECODERS COMPETITIONS EXAMPLES EXPERIMENTS".split()
)
# Settings, files and logs: what they do to a prediction is in the settings or in the folds.
PLUMBING = {"src/config.py", "src/rates.py", "src/data/cache.py"} | {
    f"src/run/{name}.py"
    for name in (
        "archives clock configure errors files hashing inputs locks memory overrides paths provenance ranks"
        " reuse sources tracking variables"
    ).split()
}
LIBRARIES = {"site-packages", "dist-packages"}

Units = dict[str, dict[str, str]]  # file -> name -> hash; the name "" stands for the whole file


def reach(*things: str | Callable) -> Units:
    """What these reach. A string is "src.train_fold:train_fold" or, for an entry of a dict,
    "src.training.losses:LOSSES[focal]"; anything else is a function, class, partial or callable object.
    """
    places: list[Place] = []
    values: dict[str, str] = {}
    for thing in things:
        if isinstance(thing, str):
            places.append(place_of(thing))
        else:
            examine(thing, places, values, set())
    units = follow(places)
    if values:
        units["(values)"] = values
    return {file: dict(sorted(names.items())) for file, names in sorted(units.items())}


def place_of(address: str) -> Place:
    """The file and name of "src.module:name"."""
    module, _, name = address.partition(":")
    path = find_module(module.split("."))
    assert path, f"{module} is no module of this fork"
    return path, name


def follow(places: list[Place]) -> Units:
    """These, and all that they look up, one after another."""
    units: Units = {}
    waiting, seen = list(places), set()
    while waiting:
        place = path, name = waiting.pop()
        if place in seen or name in CHOICES or label(path) in PLUMBING:
            continue
        seen.add(place)
        sha, further = look_up(sources.read(path), name)
        if sha:
            units.setdefault(label(path), {"": sources.read(path).sha})[name] = sha
        waiting += further
    return units


def look_up(source: Source, name: str) -> tuple[str, list[Place]]:
    """The hash of a name, "" where the file does not define it, and the places that it depends on."""
    if not name:  # a module that is passed on: anything in it may be used
        return source.sha, [(source.path, each) for each in source.definitions]
    # an entry that the source does not show, as of a comprehension, counts as the whole dict
    definition = source.definitions.get(name) or source.definitions.get(name.partition("[")[0])
    if definition:
        return definition.sha, list(source.places(definition))
    if name in source.imports:
        return "", [source.imports[name]]
    return "", [(source.imports["*"][0], name)] if "*" in source.imports else []


def label(path: Path) -> str:
    """A file as it is called in records: from the kit's folder on, where it is inside of it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()


def examine(thing: Any, places: list[Place], values: dict[str, str], seen: set[int]) -> None:
    """Adds where a function, class, partial or callable object of this process is defined, and the hashes of
    the values that it holds: arguments, attributes, variables of a closure.
    """
    if id(thing) in seen or not (callable(thing) or hasattr(thing, "__func__")):
        return
    seen.add(id(thing))
    if isinstance(thing, functools.partial):
        values[f"partial of {name_of(thing)}"] = value_hash([thing.args, thing.keywords])
        parts = [thing.func, *thing.args, *thing.keywords.values()]
    elif hasattr(thing, "__func__"):  # a bound method
        owner = thing.__self__
        is_class = isinstance(owner, type)
        values[f"self of {thing.__qualname__}"] = (
            "" if is_class else value_hash(getattr(owner, "__dict__", ""))
        )
        parts = [owner if is_class else type(owner), thing.__func__]
    elif not hasattr(thing, "__qualname__"):  # an object with __call__
        values[name_of(thing)] = value_hash(getattr(thing, "__dict__", ""))
        parts = [type(thing)]
    else:
        parts = [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
        if parts:
            values[thing.__qualname__] = value_hash(parts)
        if path := file_of(thing):
            places.append((path, thing.__qualname__.split(".")[0]))
        else:
            values[f"{thing.__module__}.{thing.__qualname__}"] = ""
    for part in parts:
        examine(part, places, values, seen)


def file_of(thing: Any) -> Path | None:
    """The file of this fork, or of the competitor's own, that defines a function or class; None for a
    package's.
    """
    try:
        path = Path(inspect.getsourcefile(thing) or "").resolve()
    except TypeError:  # built in
        return None
    is_library = LIBRARIES & {*path.parts} or path.is_relative_to(sysconfig.get_path("stdlib"))
    return path if path.is_file() and not is_library else None


def name_of(thing: Any) -> str:
    """The name of a function, partial or callable object, for messages and files."""
    if isinstance(thing, functools.partial):
        return name_of(thing.func)
    return getattr(thing, "__name__", type(thing).__name__)


def value_hash(value: Any) -> str:
    return short_hash(repr(simplify(value)))


def simplify(value: Any) -> Any:
    """A value without what differs between two processes: addresses in a repr."""
    if isinstance(value, dict):
        return {str(key): simplify(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [simplify(inner) for inner in value]
    return name_of(value) if callable(value) or " at 0x" in repr(value) else value


def has_choice(module: str, table: str, key: str) -> bool:
    """Does a dict of choices have this entry, as far as its source shows?"""
    path = find_module(module.split("."))
    return path is not None and f"{table}[{key}]" in sources.read(path).definitions


def hash_of(*things: str | Callable) -> str:
    """One hash of what these reach; an edit elsewhere in the same files doesn't count."""
    return short_hash(repr(own(reach(*things))))


def own(units: Units) -> Units:
    """The units without the hashes of whole files."""
    return {file: {name: sha for name, sha in names.items() if name} for file, names in units.items()}


def changes(then: Units, now: Units) -> list[str]:
    """ "src/training/losses.py: focal" of each unit that differs, is gone or is new."""
    before, after = own(then), own(now)
    names = {(file, name) for units in (before, after) for file in units for name in units[file]}
    return [
        f"{file}: {name}"
        for file, name in sorted(names)
        if before.get(file, {}).get(name) != after.get(file, {}).get(name)
    ]


def edited(units: dict[str, Any]) -> list[str]:
    """ "src/training/losses.py: focal" of each recorded unit that was edited or removed since."""
    problems = []
    for file, names in sorted(units.items()):
        path = ROOT / file
        if file == "(values)":
            continue
        if path not in sources.TEXTS and not path.is_file():
            problems.append(f"{file} (removed)")
            continue
        whole = sources.short_hash(sources.text_of(path))
        if not isinstance(names, dict):  # written by a version that hashed whole files
            problems += [file] if names != whole else []
        elif names.get("") != whole:
            source = sources.read(path)
            now = {name: look_up(source, name)[0] for name in names if name}
            problems += [f"{file}: {name}" for name, sha in now.items() if sha != names[name]]
    return problems


def few(names: Iterable[str], most: int = 5) -> str:
    """Some of the names, for a message: "a, b, c, d, e and 7 more"."""
    names = sorted(set(names))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
