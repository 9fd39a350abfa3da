"""From COMP, EXP, SET, MACHINE to config.json and the settings of each stage."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from src.config import STAGES, Config, Machine, Settings, as_dict, resolve, stage
from src.run import hashing, process, reuse
from src.run.files import Damaged, make_folder, read_json, sha256, write_json
from src.run.overrides import explain, nearest, parse_set
from src.run.paths import RunPaths, check_name, check_run_name

TABLES = (
    ".csv",
    ".tsv",
    ".txt",
    ".json",
    ".jsonl",
    ".xml",
    ".parquet",
    ".xlsx",
    ".xls",
    ".feather",
    ".py",
    ".zip",
    ".tar",
    ".gz",
    ".tgz",
    ".7z",
)
DEEPEST = 12
DEFAULT_CACHE = "runs/.cache"


def load(path: Path) -> Settings:
    """The settings of a run from its config.json."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: `python -m src.run.configure {path.parent}` writes it")
    saved = read_json(path, "comp", "exp", "set", "inputs", "cache", "config", "machine")
    try:
        config, machine = Config(**saved["config"]), Machine(**saved["machine"])
    except ValidationError as error:
        raise ValueError(f"{path} was written by other code: " + "; ".join(explain(error))) from error
    return Settings(
        saved["comp"],
        saved["exp"],
        saved["set"],
        Path(saved["inputs"]),
        Path(saved["cache"]),
        config,
        machine,
    )


def settings_for(paths: RunPaths, environ: Mapping[str, str]) -> Settings:
    """What the environment asks for; COMP, EXP and SET, where it does not, as the run remembers them. One
    ValueError for all problems.
    """
    problems: list[str] = []

    def attempt(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except ValueError as error:
            problems.append(str(error))

    attempt(check_run_name, paths.name, "RUN")
    saved = read_json(paths.config, "comp") if not problems and paths.config.exists() else {}
    if "ensemble" in saved:
        raise ValueError(f"{paths.root} is an ensemble of other runs and is left alone: choose another RUN")
    comp = environ.get("COMP") or saved.get("comp", "demo")
    exp = environ.get("EXP") or saved.get("exp", "demo" if comp == "demo" else "baseline")
    text = environ.get("SET", saved.get("set", ""))
    if saved.get("comp", comp) != comp:
        raise ValueError(
            f"{paths.root} belongs to COMP={saved['comp']}, not {comp}: choose another RUN, or remove that"
            " folder"
        )
    for variable in ("INPUTS", "CACHE", "SET", "MACHINE"):
        attempt(check_text, environ.get(variable, ""), variable)
    attempt(check_name, exp, "EXP")
    is_name = attempt(check_name, comp, "COMP")
    inputs = attempt(find_inputs, Path(environ.get("INPUTS") or "inputs"), comp) if is_name else Path()
    config = attempt(experiment, exp)
    changes, machine = attempt(parse_set, text), attempt(parse_set, environ.get("MACHINE", ""), Machine)
    if problems:
        raise ValueError("\n".join(problems))
    cache = Path(environ.get("CACHE") or DEFAULT_CACHE)
    return Settings(comp, exp, text, inputs, cache, resolve(replace(config, **changes)), Machine(**machine))


def check_text(value: str, variable: str) -> None:
    """Raises ValueError for bytes that are no UTF-8: a file of settings can't hold them."""
    if value.encode("utf-8", "replace").decode() != value:
        raise ValueError(f"{variable}={value!r} is not written in UTF-8")


def writable_cache(cache: Path, comp: str) -> Path:
    """The cache where it can be written. Of one that can only be read, as under /kaggle/input, the default
    cache gets links to what is there.
    """
    try:
        nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    except OSError as error:
        raise ValueError(f"CACHE={str(cache)[:50]}...: {error.strerror}") from error
    if not nearest.is_dir():
        raise ValueError(f"{nearest} is a file, and a folder must be there: move it away")
    if os.access(nearest, os.W_OK):
        return cache
    own = Path(DEFAULT_CACHE)
    print(f"CACHE={cache} can't be written: what is there is used, what is new goes to {own}")
    for file in sorted((cache / comp).glob("*.*")):
        link = own / comp / file.name
        if file.is_file() and file.suffix not in (".part", ".lock") and not os.path.lexists(link):
            make_folder(link.parent)
            link.symlink_to(file.absolute())
    return own


def experiment(name: str) -> Config:
    from src.experiments import EXPERIMENTS

    if name not in EXPERIMENTS:
        raise ValueError(
            f"EXP={name}: src/experiments.py has no such experiment; {nearest(name, list(EXPERIMENTS))}"
        )
    try:
        return EXPERIMENTS[name]()
    except ValidationError as error:
        raise ValueError(f"EXP={name}, in src/experiments.py: " + "; ".join(explain(error))) from error


def find_inputs(inputs: Path, comp: str) -> Path:
    """The folder that holds <comp>/: inputs itself, or one or two levels below it."""
    try:
        inputs.exists()
    except OSError as error:
        raise ValueError(f"INPUTS={str(inputs)[:50]}...: {error.strerror}") from error
    for pattern in (comp, f"*/{comp}", f"*/*/{comp}"):
        if found := sorted(folder.parent for folder in inputs.glob(pattern) if folder.is_dir()):
            if len(found) > 1:
                raise ValueError(
                    f"COMP={comp} is in {' and in '.join(map(str, found))}: say which one with INPUTS=folder"
                )
            return found[0]
    there = ", ".join(sorted(folder.name for folder in inputs.glob("[!.]*") if folder.is_dir())) or "nothing"
    raise ValueError(
        f"COMP={comp}: there is no folder {inputs / comp} (in {inputs} is {there}): put the files there, or a"
        " link to them"
    )


def file_facts(files: Iterable[Path]) -> dict[str, list[int]]:
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(files)}


def look(folder: Path) -> tuple[dict[str, list[int]], dict[str, list]]:
    """What lies in the competition's folder: ({table: [size, time]}, {folder: [number of images, hash of
    their sizes and times]}).

    What can't change, a read-only file system such as Kaggle's, is not looked through.
    """
    files: dict[str, list[int]] = {}
    folders: dict[str, list] = {}
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return {}, {"(read-only)": []}
    for path, subfolders, names in os.walk(folder, followlinks=True):
        below = Path(path).relative_to(folder)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if len(below.parts) > DEEPEST:
            raise ValueError(
                f"{path}: folders are nested more than {DEEPEST} deep: does a link lead back up?"
            )
        images = []
        for name in sorted(name for name in names if not name.startswith(".")):
            stat = os.stat(os.path.join(path, name)) if os.path.exists(os.path.join(path, name)) else None
            facts = [stat.st_size, stat.st_mtime_ns] if stat else []
            if name.lower().endswith(TABLES):
                files[(below / name).as_posix()] = facts
            else:
                images.append([name, *facts])
        if images:
            folders[below.as_posix()] = [len(images), sha256(images)]
    return files, folders


def is_for_test(name: str) -> bool:
    return "test" in name.lower() or "eval" in name.lower()


def write_changed(content: dict[str, Any], path: Path) -> bool:
    try:
        changed = not path.exists() or sha256(read_json(path)) != sha256(content)
    except Damaged as damage:
        print(f"written anew: {path} is damaged ({damage.why})", file=sys.stderr)
        changed = True
    if changed:
        write_json(content, path)
    return changed


def code_of_stages(settings: Settings) -> dict[str, list[str]]:
    """The competitor's own functions on which the products of a stage depend: an edit of one is like another
    setting.
    """
    config = settings.config
    definitions = [
        table
        for table in ("COMPETITIONS", "EXAMPLES")
        if hashing.has_choice("src.competitions", table, settings.comp)
    ]
    return {
        "split": (
            [f"src.data.folds:SCHEMES[{config.fold_scheme}]"]
            + [f"src.competitions:{table}[{settings.comp}]" for table in definitions]
        ),
        "predict": [f"src.data.augment:VIEWS[{word}]" for word in config.tta],
        "submit": [f"src.competition.decoders:DECODERS[{config.decode}]"]
        if config.decode not in ("auto", "plain")
        else [],
    }


def write(settings: Settings, paths: RunPaths) -> None:
    """config.json and the stages' files, each only where its content changes."""
    stages = {name: stage(settings.config, name) for name in STAGES}
    files, folders = look(settings.folder)
    for name, places in code_of_stages(settings).items():
        if places:
            stages[name]["code"] = hashing.hash_of(*places)
    training = {name: facts for name, facts in folders.items() if not is_for_test(name)}
    stages["split"] |= {"comp": settings.comp, "files": files, "folders": training}
    if settings.config.pseudo:
        stages["train"]["pseudo.csv"] = file_facts(
            (paths.root.parent / settings.config.pseudo).glob("pseudo.csv")
        )
    if settings.config.weights:
        given = Path(settings.config.weights)
        there = [path for path in [given, *sorted(given.rglob("*.safetensors"))] if path.is_file()]
        stages["train"]["weights file"] = {
            path.relative_to(given.parent).as_posix(): file_facts([path])[path.name] for path in there
        }
    tested = {name: facts for name, facts in folders.items() if is_for_test(name)}
    tables = {name: facts for name, facts in files.items() if name.lower().startswith(("test", "sample"))}
    stages["predict"] |= {"files": tables, "folders": tested}
    write_changed(
        as_dict(settings) | {"inputs": str(settings.inputs), "cache": str(settings.cache)}, paths.config
    )
    stale = [name for name, content in stages.items() if write_changed(content, paths.settings(name))]
    # the groups.csv of another run may differ
    is_alone = settings.config.dedupe == "group"
    if (
        not is_alone
        and ("split" in stale or not paths.folds.exists())
        and (other := reuse.adopt_split(paths))
    ):
        print(f"split: the same folds as run {other}, taken over")
    say_changed_code(paths, stale)


def say_changed_code(paths: RunPaths, stale: list[str]) -> None:
    """A line where the run was trained, scored or submitted by other code; a stage that runs anyway says it
    itself.
    """
    trained = sorted(
        {name for k in paths.finished() for name in reuse.changed_code(read_json(paths.fold(k).done))}
    )
    if trained and not {"split", "train"} & set(stale):
        print(
            f"code changed since this run was trained: {', '.join(trained)}; nothing is re-run: make retrain"
            " acts on it"
        )
    predicted = paths.fold(min(paths.finished(), default=0)).test_json
    products = {
        "predicted": predicted,
        "scored": paths.score,
        "submitted": Path("submissions") / f"{paths.name}.json",
    }
    edits = {
        verb: reuse.changed_code(read_json(file))
        for verb, file in products.items()
        if file.exists() and not stale
    }
    later = {
        verb: new for verb, names in edits.items() if (new := [name for name in names if name not in trained])
    }
    if later:
        changed = ", ".join(sorted({name for names in later.values() for name in names}))
        print(
            f"code changed since this run was {' and '.join(later)}: {changed}; make submit RUN={paths.name}"
            " FORCE=1 does that again"
        )


def main() -> None:
    if len(sys.argv) != 2:
        raise ValueError("usage: python -m src.run.configure runs/<name>")
    paths = RunPaths(Path(sys.argv[1]))
    settings = settings_for(paths, os.environ)
    write(replace(settings, cache=writable_cache(settings.cache, settings.comp)), paths)


if __name__ == "__main__":
    process.main(main)
