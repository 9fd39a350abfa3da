"""From COMP, EXP, SET and MACHINE to config.json and the settings of each stage, which make compares by their
times.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from src.config import STAGES, Config, Machine, Settings, as_dict, resolve, stage
from src.run import hashing, reuse, variables
from src.run.files import Damaged, make_folder, read_json, sha256, write_json
from src.run.inputs import facts, find_inputs, is_for_test, look
from src.run.overrides import explain, nearest, parse_set
from src.run.paths import RunPaths, check_name, check_run_name

DEFAULT_CACHE = "runs/.cache"
SMOKE = "limit=200 folds=2 epochs=1"
Experiments = Mapping[str, Callable[[], Config]]


def load(path: Path) -> Settings:
    """The settings of a run from its config.json."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: `python -m src configure {path.parent}` writes it")
    saved = read_json(path, "comp", "exp", "set", "inputs", "cache", "config", "machine")
    try:
        known = {name: value for name, value in saved["machine"].items() if hasattr(Machine, name)}
        config, machine = Config(**saved["config"]), Machine(**known)  # one that is no more changes nothing
    except ValidationError as error:
        raise ValueError(f"{path} was written by other code: " + "; ".join(explain(error))) from error
    inputs, cache = Path(saved["inputs"]), Path(saved["cache"])
    return Settings(saved["comp"], saved["exp"], saved["set"], inputs, cache, config, machine)


def configure(
    paths: RunPaths, environ: Mapping[str, str], experiments: Experiments, *, is_smoke: bool = False
) -> None:
    """Write config.json and the stages' files, each only where its content changes. Raises ValueError, with
    all problems at once, before anything is written.
    """
    settings = settings_for(paths, environ, experiments, is_smoke=is_smoke)
    settings = replace(settings, cache=writable_cache(settings.cache, settings.comp))
    if settings.exp == variables.GPU_EXPERIMENT and not environ.get("EXP") and not paths.config.exists():
        print(
            f"EXP={settings.exp}, since there is a GPU here; the processor's: make submit"
            f" COMP={settings.comp} EXP=baseline"
        )
    report_changed_code(paths, stale=write(settings, paths))


# -- what is asked for


def settings_for(
    paths: RunPaths, environ: Mapping[str, str], experiments: Experiments, *, is_smoke: bool = False
) -> Settings:
    """The settings that the environment asks for. COMP, EXP and SET, where it names none, are those that the
    run remembers. Raises one ValueError for all problems.
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
    exp = environ.get("EXP") or saved.get("exp")
    if not exp:
        exp = variables.default_experiment(comp, environ.get("MACHINE", ""))
    text = environ.get("SET", saved.get("set", ""))
    if is_smoke:
        text = smoke_settings(environ.get("SET", ""))
    if saved.get("comp", comp) != comp:
        raise ValueError(
            f"{paths.root} belongs to COMP={saved['comp']}, not {comp}: choose another RUN, or remove that"
            " folder"
        )
    for variable in ("INPUTS", "CACHE", "SET", "MACHINE"):
        attempt(check_text, environ.get(variable, ""), variable)
    attempt(check_name, exp, "EXP")
    inputs = Path()
    if attempt(check_name, comp, "COMP"):
        inputs = attempt(find_inputs, Path(environ.get("INPUTS") or "inputs"), comp)
    config = attempt(make_experiment, exp, experiments)
    changes = attempt(parse_set, text)
    machine = attempt(parse_set, environ.get("MACHINE", ""), Machine)
    if problems:
        raise ValueError("\n".join(problems))
    cache = Path(environ.get("CACHE") or DEFAULT_CACHE)
    return Settings(comp, exp, text, inputs, cache, resolve(replace(config, **changes)), Machine(**machine))


def smoke_settings(text: str) -> str:
    """SET of a first look: few images and folds, one epoch, whatever SET says of these."""
    names = [pair.partition("=")[0] for pair in SMOKE.split()]
    others = [pair for pair in text.split() if pair.partition("=")[0] not in names]
    return " ".join([SMOKE, *others])


def check_text(value: str, variable: str) -> None:
    """Raises ValueError for bytes that are not UTF-8: a file of settings can't hold them."""
    if value.encode("utf-8", "replace").decode() != value:
        raise ValueError(f"{variable}={value!r} is not written in UTF-8")


def make_experiment(name: str, experiments: Experiments) -> Config:
    if name not in experiments:
        choices = nearest(name, list(experiments))
        raise ValueError(f"EXP={name}: src/experiments.py has no such experiment; {choices}")
    try:
        return experiments[name]()
    except ValidationError as error:
        raise ValueError(f"EXP={name}, in src/experiments.py: " + "; ".join(explain(error))) from error


def writable_cache(cache: Path, comp: str) -> Path:
    """The same cache if it can be written. Of one that can't, as under /kaggle/input, what is there is linked
    into the default cache.
    """
    try:
        there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    except OSError as error:
        raise ValueError(f"CACHE={str(cache)[:50]}...: {error.strerror}") from error
    if not there.is_dir():
        raise ValueError(f"{there} is a file, and a folder must be there: move it away")
    if os.access(there, os.W_OK):
        return cache
    own = Path(DEFAULT_CACHE)
    print(f"CACHE={cache} can't be written: what is there is used, what is new goes to {own}")
    for file in sorted((cache / comp).glob("*.*")):
        link = own / comp / file.name
        if file.is_file() and file.suffix not in (".part", ".lock") and not os.path.lexists(link):
            make_folder(link.parent)
            link.symlink_to(file.absolute())
    return own


# -- what each stage depends on


def write(settings: Settings, paths: RunPaths) -> list[str]:
    """Write config.json and the stages' files, each only where its content changes; the stages
    that changed.
    """
    config = as_dict(settings) | {"inputs": str(settings.inputs), "cache": str(settings.cache)}
    contents = stage_contents(settings, paths)
    write_changed(config, paths.config)
    return [name for name, content in contents.items() if write_changed(content, paths.settings(name))]


def stage_contents(settings: Settings, paths: RunPaths) -> dict[str, dict]:
    """stage -> its settings, and what else its products depend on: files of the competition, own
    functions.
    """
    config = settings.config
    contents = {name: stage(config, name) for name in STAGES}
    files, folders = look(settings.folder)
    for name, places in code_of_stages(settings).items():
        if places:
            contents[name]["code"] = hashing.hash_of(*places)
    training = {name: images for name, images in folders.items() if not is_for_test(name)}
    contents["split"] |= {"comp": settings.comp, "files": files, "folders": training}
    if config.pseudo:
        labels = paths.root.parent / config.pseudo / "pseudo.csv"
        contents["train"]["pseudo.csv"] = {labels.name: facts(labels)} if labels.exists() else {}
    if config.weights:
        weights = Path(config.weights)
        parts = [path for path in (weights, *sorted(weights.rglob("*.safetensors"))) if path.is_file()]
        contents["train"]["weights file"] = {
            path.relative_to(weights.parent).as_posix(): facts(path) for path in parts
        }
    tested = {name: images for name, images in folders.items() if is_for_test(name)}
    tables = {name: fact for name, fact in files.items() if name.lower().startswith(("test", "sample"))}
    contents["predict"] |= {"files": tables, "folders": tested}
    return contents


def code_of_stages(settings: Settings) -> dict[str, list[str]]:
    """The competitor's own functions on which a stage's products depend: an edit of one is like another
    setting.
    """
    config, comp = settings.config, settings.comp
    split = [f"src.data.folds:SCHEMES[{config.fold_scheme}]"]
    for table in ("COMPETITIONS", "EXAMPLES"):
        if hashing.has_choice("src.competitions", table, comp):
            split.append(f"src.competitions:{table}[{comp}]")
    predict = [f"src.data.augment:VIEWS[{word}]" for word in config.tta]
    submit = []
    if config.decode not in ("auto", "plain"):
        submit.append(f"src.competition.decoders:DECODERS[{config.decode}]")
    return {"split": split, "predict": predict, "submit": submit}


def write_changed(content: dict[str, Any], path: Path) -> bool:
    """Write it where the file says something else; whether it did."""
    try:
        if path.exists() and sha256(read_json(path)) == sha256(content):
            return False
    except Damaged as damage:
        print(f"written anew: {path} is damaged ({damage.why})", file=sys.stderr)
    write_json(content, path)
    return True


# -- code that changed since


def report_changed_code(paths: RunPaths, stale: list[str]) -> None:
    """A line where the run was trained, scored or submitted by other code. A stage that runs anyway says it
    itself.
    """
    folds = [read_json(paths.fold(k).done) for k in paths.finished()]
    trained = sorted({name for done in folds for name in reuse.changed_code(done)})
    if trained and "split" not in stale and "train" not in stale:
        print(
            f"code changed since this run was trained: {hashing.few(trained)}; nothing is re-run:"
            " make retrain acts on it"
        )
    if stale:
        return
    products = {
        "predicted": paths.fold(min(paths.finished(), default=0)).test_json,
        "scored": paths.score,
        "submitted": Path("submissions") / f"{paths.name}.json",
    }
    later = {}
    for verb, file in products.items():
        edits = set(reuse.changed_code(read_json(file))) if file.exists() else set()
        if edits - set(trained):
            later[verb] = edits - set(trained)
    if later:
        changed = hashing.few(set().union(*later.values()))
        print(
            f"code changed since this run was {' and '.join(later)}: {changed}; make submit RUN={paths.name}"
            " FORCE=1 does that again"
        )
