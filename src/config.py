"""All settings: Config (can change a prediction) and Machine (can't), overrides, load and save. Imports
pydantic only: make calls it.

Run: python -m src.config runs/<name>           COMP, EXP, SET, MACHINE, INPUTS, CACHE are read from the
environment Writes config.json and {split,train,predict,submit}.json, each only when its content changes: the
files whose times make compares.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from src import code, runs
from src.runs import RunPaths

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
# "auto": the table RATES below, written out in config.json
Rate = Annotated[float, Field(gt=0, le=10)] | Literal["auto"]
Word = Annotated[str, Field(min_length=1)]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=STRICT)
class Split:
    """A change makes new folds, and all that follows."""

    folds: Annotated[int, Field(ge=2, le=50)] = 5
    # SCHEMES in data/folds.py; auto: by task and groups; file: inputs/COMP/folds.csv
    fold_scheme: Word = "auto"
    fold_seed: Count = 0
    # what keeps copies of an image in one fold: equal bytes, the group
    dedupe: Literal["content", "group", "none"] = "content"
    limit: Count = 0  # images used in all; 0: every one
    # a training image that can't be read: refuse them all by name, or leave them out
    bad_images: Literal["error", "drop"] = "error"
    # auto: the images of inputs/COMP/external.csv, where it is, train in every fold
    external: Literal["auto", "none"] = "auto"


@dataclass(frozen=True, config=STRICT)
class Train:
    """A change trains the folds again; their split stays."""

    # model
    # any timm name, or BACKBONES in model/backbone.py; gem:NAME is an own one around the timm model NAME
    backbone: Word = "tf_efficientnet_lite0"
    pretrained: bool = True
    # a local file; "": weights/<backbone>/, then the Hugging Face hub
    weights: str = ""
    # head, all, the last N layer groups (`make layers` shows them), or patterns of parameter names
    trainable: Count | Word | Annotated[tuple[Word, ...], Field(min_length=1)] = "head"
    head: Word = "linear"  # HEADS in model/heads.py
    pool_type: Word = "auto"  # auto: the backbone's own
    drop_rate: Share = 0.0
    drop_path_rate: Share = 0.0
    image_size: Annotated[int, Field(ge=8, le=4096)] = 224  # pixels, square
    # data
    augment: Word = "none"  # AUGMENTS in data/augment.py: none, light, medium, strong
    # mirrors that keep the label; auto: the competition's
    flips: Literal["auto", "h", "v", "hv", "none"] = "auto"
    # fixed versions of an image, cached after the trunk; 0: always fresh
    views: Annotated[int, Field(ge=0, le=1000)] = 1
    mixup: Amount = 0.0  # alpha of the Beta distribution; 0: off
    cutmix: Amount = 0.0
    sampler: Word = "shuffle"  # SAMPLERS in data/batches.py
    # fit
    epochs: Positive = 10
    batch_size: Positive = 32
    # batches per step: the effective batch is batch_size * accumulate
    accumulate: Positive = 1
    optimizer: Word = "adamp"  # or any timm optimizer
    lr: Rate = "auto"  # of the head
    body_lr: Rate = "auto"  # of the last learning layers of the body
    # factor on body_lr per layer group, going down
    layer_decay: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = "auto"
    # of the epochs, those at the start in which the head learns alone
    head_epochs: Count = 0
    weight_decay: Amount = 0.01
    warmup_epochs: Amount = 0.5
    clip_grad: Amount = 1.0  # largest gradient norm; 0: off
    loss: Word = "auto"  # LOSSES in fit/losses.py; auto: the task's
    label_smoothing: Share = 0.0
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    # decay of the averaged weights; 0: off, and better off below 1,000 steps
    ema: Share = 0.0
    # epochs without gain before a fold stops; 0: off. The score is then optimistic
    patience: Count = 0
    seed: Count = 0
    init_from: str = ""  # a run whose folds are the starting weights
    # a run whose pseudo.csv (`make pseudo` writes it) gives test images soft labels, per fold its own
    pseudo: str = ""


@dataclass(frozen=True, config=STRICT)
class Predict:
    """A change predicts again with the models that are there."""

    # VIEWS and VIEW_SETS in data/augment.py, beside the plain picture
    tta: tuple[Word, ...] = ()
    # models trained on all images, with seed, seed+1, ..., that predict in the folds' place
    refit: Count = 0


@dataclass(frozen=True, config=STRICT)
class Submit:
    """A change writes the submission again."""

    # DECODERS in decode.py, fitted on the out-of-fold predictions; auto: plain
    decode: Word = "auto"


@dataclass(frozen=True, config=STRICT)
class Config(Submit, Predict, Train, Split):
    """An experiment's settings. Names such as a loss are looked up where they are defined; the file says
    where.

    A new setting goes into the class of the stage that it changes: that stage, and those after it, are then
    run again.
    """

    @field_validator("trainable", "tta", mode="before", check_fields=False)
    @classmethod
    def from_text(cls, value: Any, info: Any) -> Any:
        """Commas make a tuple, digits a number. True would count as 1 and say nothing, so bool is refused."""
        if str(value).lower() in ("true", "false"):
            raise ValueError("not a bool")
        if not isinstance(value, str):
            return value
        names = tuple(name for name in value.split(",") if name)
        if info.field_name == "tta" or len(names) > 1:
            return names
        return int(value) if value.lstrip("-").isdecimal() else value


@dataclass(frozen=True, config=STRICT)
class Machine:
    """What can't change a prediction: part of no hash."""

    workers: Annotated[int, Field(ge=0, le=256)] = 2  # processes that decode images
    cache_gb: Amount = 8.0  # a larger trunk cache is not made
    # of all arrays in CACHE: what was used least recently makes room; 0: no limit
    cache_total_gb: Amount = 100.0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    # what runs the frozen trunk; auto: openvino where it is installed and the device is a CPU. Proven within
    # 5e-5 of torch, as torch's versions are
    engine: Literal["auto", "torch", "openvino"] = "auto"
    # torch.compile of what learns: half a minute or more first; for long trainings on a GPU
    compile: bool = False
    max_hours: Amount = 0.0  # stop and save before this; 0: no limit
    save_minutes: Amount = 10.0
    # when a finished fold is still in memory, say who holds it; strict: end there
    memory: Literal["warn", "strict"] = "warn"
    # stop a fold that is worse after two epochs than an answer that looks at no image
    sanity: bool = True
    wandb: Literal["auto", "online", "offline", "off"] = "auto"  # auto: online where a key exists


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that a stage reads from a run's config.json."""

    comp: str
    exp: str
    set: str
    inputs: Path  # the folder that holds <comp>/
    cache: Path
    config: Config
    machine: Machine

    @property
    def memory(self) -> Path:
        """Where the hashes of the competition's images are remembered."""
        return self.cache / self.comp / "hashes.json"

    @property
    def folder(self) -> Path:
        return self.inputs / self.comp


STAGES = {
    kind.__name__.lower(): [field.name for field in dataclasses.fields(kind)]
    for kind in (Split, Train, Predict, Submit)
}
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Config)}
assert set(DEFAULTS) == {name for names in STAGES.values() for name in names}, (
    "a setting belongs into Split, Train, Predict or Submit, not Config"
)
ALIASES = {
    "learning_rate": "lr",
    "head_lr": "lr",
    "backbone_lr": "body_lr",
    "wd": "weight_decay",
    "bs": "batch_size",
    "model": "backbone",
    "arch": "backbone",
    "img_size": "image_size",
    "imgsz": "image_size",
    "size": "image_size",
    "resolution": "image_size",
    "n_folds": "folds",
    "num_folds": "folds",
    "kfold": "folds",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "dropout": "drop_rate",
    "drop_path": "drop_path_rate",
    "freeze": "trainable",
    "unfreeze": "trainable",
    "opt": "optimizer",
    "warmup": "warmup_epochs",
    "smoothing": "label_smoothing",
    "aug": "augment",
    "criterion": "loss",
    "early_stopping": "patience",
    "grad_accum": "accumulate",
    "random_state": "seed",
    "checkpoint": "weights",
    "num_workers": "workers",
    "amp": "precision",
    "fp16": "precision",
    "gpu": "device",
}
# (lr, body_lr, layer_decay) for AdamP, by family and by what learns. The rows of convnext and vit are usual
# values, not measured by us.
RATES = {
    ("cnn", "head"): (1e-2, 5e-4, 0.9),
    ("cnn", "tail"): (2e-3, 5e-4, 0.9),
    ("cnn", "all"): (1e-3, 3e-4, 0.9),
    ("convnext", "head"): (5e-3, 1e-4, 0.85),
    ("convnext", "tail"): (1e-3, 1e-4, 0.85),
    ("convnext", "all"): (1e-3, 1e-4, 0.85),
    ("vit", "head"): (5e-3, 3e-5, 0.7),
    ("vit", "tail"): (5e-4, 3e-5, 0.7),
    ("vit", "all"): (5e-4, 3e-5, 0.7),
}
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
VITS = ("vit", "deit", "beit", "eva", "swin")


def family(backbone: str) -> str:
    """cnn, convnext or vit, by the name; of an own one, by the timm model that it names behind the colon:
    gem:convnext_tiny.
    """
    name = backbone.split(":")[-1].split("/")[-1]
    if name.startswith("convnext"):
        return "convnext"
    return "vit" if name.startswith(VITS) else "cnn"


def resolve(config: Config) -> Config:
    """The same settings with each "auto" rate written out."""
    part = "head" if config.trainable in ("head", 0) else "all" if config.trainable == "all" else "tail"
    rates = RATES[family(config.backbone), part]
    if not (config.pretrained or config.init_from) and part != "head":
        rates = (rates[0], rates[0], 1.0)  # nothing learned that a high rate could spoil
    auto: dict[str, Any] = dict(zip(("lr", "body_lr", "layer_decay"), rates, strict=True))
    return replace(
        config, **{field: rate for field, rate in auto.items() if getattr(config, field) == "auto"}
    )


def as_dict(settings: Any) -> dict[str, Any]:
    return dataclasses.asdict(settings)


def stage(config: Config, name: str) -> dict[str, Any]:
    """The settings of one stage: what its hash is made of."""
    return {field: getattr(config, field) for field in STAGES[name]}


def nearest(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    close = (
        [ALIASES[name.lower()]] if ALIASES.get(name.lower()) in names else get_close_matches(name, names, 1)
    )
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"


def explain(error: ValidationError, given: Mapping[str, Any] = {}) -> list[str]:
    """A line per wrong setting of a Config or Machine: what was given and what is allowed."""
    schema = TypeAdapter({"Config": Config, "Machine": Machine}[error.title]).json_schema()["properties"]
    wrong = {str(problem["loc"][0]): problem["input"] for problem in error.errors()}

    def rule(name: str) -> str:
        return (
            f"takes {allowed(schema[name])}"
            if name in schema
            else f"no such setting; {nearest(name, list(schema))}"
        )

    return [f"{name}={given.get(name, value)}: {rule(name)}" for name, value in wrong.items()]


def allowed(schema: Mapping[str, Any]) -> str:
    """A field's json schema in words."""
    if "anyOf" in schema:
        return ", or ".join(allowed(choice) for choice in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return "one of " + ", ".join(schema["enum"]) if "enum" in schema else schema["const"]
    kinds = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "a name",
        "array": "a,b,c",
    }
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    return ", ".join(
        [kinds[schema["type"]], *(f"{words} {schema[key]}" for key, words in limits.items() if key in schema)]
    )


def parse_set(text: str, of: type = Config) -> dict[str, Any]:
    """{"epochs": 9, "trainable": ("a", "b")} of "epochs=9 trainable=a,b". Raises one ValueError for all
    problems.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(of)}
    variable, other, elsewhere = ("SET", "MACHINE", Machine) if of is Config else ("MACHINE", "SET", Config)
    given: dict[str, str] = {}
    problems = []
    for pair in text.split():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            problems.append(f"{pair}: write setting=value, without spaces")
        elif name in [field.name for field in dataclasses.fields(elsewhere)]:
            problems.append(f'{pair}: write {other}="{pair}"')
        elif name not in types:
            problems.append(f"{pair}: there is no setting {name}; {nearest(name, list(types))}")
        elif name in given:
            problems.append(f"{pair}: {name} is given twice")
        elif re.search(r",\w+=", value):
            problems.append(f"{pair}: separate settings by spaces")
        elif "," in value and "tuple" not in types[name]:
            problems.append(f"{pair}: {name} takes one value, not a list")
        else:
            given[name] = value
    try:
        checked = of(**given)
    except ValidationError as error:
        problems += explain(error, given)
    if problems:
        if (tidied := tidy(text)) != text and is_valid(tidied, of):
            problems = [f'{text!r} is not how settings are written: write {variable}="{tidied}"']
        raise ValueError(f"{variable}: " + "\n     ".join(problems))
    return {name: getattr(checked, name) for name in given}


def tidy(text: str) -> str:
    """Settings as they are to be written, of settings as people write them: "epochs = 3, lr: 1e-3;" or
    "--epochs=3".
    """
    text = re.sub(r"\s*[=:]\s*", "=", text.replace('"', "").replace("'", ""))
    pairs = re.sub(r"[\s,;]+(?:--?)?(?=\w+=)", " ", f" {text.strip(' ,;')}")
    return pairs.strip()


def is_valid(text: str, of: type) -> bool:
    try:
        return bool(parse_set(text, of))
    except ValueError:
        return False


def load(path: Path) -> Settings:
    """The settings of a run from its config.json."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: `python -m src.config {path.parent}` writes it")
    saved = runs.read_json(path, "comp", "exp", "set", "inputs", "cache", "config", "machine")
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

    attempt(runs.check_run_name, paths.name, "RUN")
    saved = runs.read_json(paths.config, "comp") if not problems and paths.config.exists() else {}
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
    attempt(runs.check_name, exp, "EXP")
    is_name = attempt(runs.check_name, comp, "COMP")
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
            runs.make_folder(link.parent)
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
            folders[below.as_posix()] = [len(images), runs.sha256(images)]
    return files, folders


def is_for_test(name: str) -> bool:
    return "test" in name.lower() or "eval" in name.lower()


def write_changed(content: dict[str, Any], path: Path) -> bool:
    try:
        changed = not path.exists() or runs.sha256(runs.read_json(path)) != runs.sha256(content)
    except runs.Damaged as damage:
        print(f"written anew: {path} is damaged ({damage.why})", file=sys.stderr)
        changed = True
    if changed:
        runs.write_json(content, path)
    return changed


def code_of_stages(settings: Settings) -> dict[str, list[str]]:
    """The competitor's own functions on which the products of a stage depend: an edit of one is like another
    setting.
    """
    config = settings.config
    definitions = [
        table
        for table in ("COMPETITIONS", "EXAMPLES")
        if code.has_choice("src.competitions", table, settings.comp)
    ]
    return {
        "split": (
            [f"src.data.folds:SCHEMES[{config.fold_scheme}]"]
            + [f"src.competitions:{table}[{settings.comp}]" for table in definitions]
        ),
        "predict": [f"src.data.augment:VIEWS[{word}]" for word in config.tta],
        "submit": [f"src.decode:DECODERS[{config.decode}]"] if config.decode not in ("auto", "plain") else [],
    }


def write(settings: Settings, paths: RunPaths) -> None:
    """config.json and the stages' files, each only where its content changes."""
    stages = {name: stage(settings.config, name) for name in STAGES}
    files, folders = look(settings.folder)
    for name, places in code_of_stages(settings).items():
        if places:
            stages[name]["code"] = code.hash_of(*places)
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
    if not is_alone and ("split" in stale or not paths.folds.exists()) and (other := runs.adopt_split(paths)):
        print(f"split: the same folds as run {other}, taken over")
    say_changed_code(paths, stale)


def say_changed_code(paths: RunPaths, stale: list[str]) -> None:
    """A line where the run was trained, scored or submitted by other code; a stage that runs anyway says it
    itself.
    """
    trained = sorted(
        {name for k in paths.finished() for name in runs.changed_code(runs.read_json(paths.fold(k).done))}
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
        verb: runs.changed_code(runs.read_json(file))
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
        raise ValueError("usage: python -m src.config runs/<name>")
    paths = RunPaths(Path(sys.argv[1]))
    settings = settings_for(paths, os.environ)
    write(replace(settings, cache=writable_cache(settings.cache, settings.comp)), paths)


if __name__ == "__main__":
    runs.main(main)
