"""The work of runs in units, each an ordinary command of the kit: first decode the images and run the trunk
over them, once for all runs that share them; then each fold; at last score and predict.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from src.data.recipe import check_code
from src.data.run import Run
from src.data.training_table import load_training_table
from src.model.pretrained import pretrained_hash
from src.run.errors import Stopped
from src.run.files import read_json, sha256
from src.run.paths import fold_name
from src.train import check_names, chosen_folds, unfinished

# settings on which the decoded images and the trunk's outputs depend. One that is missing here costs no
# result: the first fold that needs other arrays makes them, and the others wait for it.
OF_FEATURES = (
    *("limit", "bad_images", "external", "pseudo"),
    *("backbone", "pretrained", "weights", "trainable", "pool_type"),
    *("image_size", "resize", "decode_scale", "augment", "flips", "views"),
)
FAILED, STOPPED = 2, Stopped.EXIT_CODE
LEFT_OUT = -1  # of a unit that was never begun, because one before it has failed


@dataclass(frozen=True)
class Unit:
    """One Ray task: a command, and where its log goes."""

    run: Path  # runs/<name>
    part: str  # prepare, fold0, finish ...: names the log
    words: tuple[str, ...]  # the command: what stands behind `python -m src`
    locks: str = "*.lock"  # in the run's folder: wait while another process holds one of these
    after: tuple[str, ...] = ()  # names of the units that must have ended well before
    device: str = "auto"  # of MACHINE
    has_limit: bool = False  # MACHINE="max_hours=9": it may stop by itself
    holds: str = ""  # what one unit at a time has: another of the same would wait, and keep its processor

    @property
    def name(self) -> str:
        return f"{self.run.name} {self.part}"

    @property
    def label(self) -> str:
        """As the log calls it: fold 0."""
        return re.sub(r"(?<=[a-z])(?=\d)", " ", self.part)

    @property
    def log(self) -> Path:
        return self.run / "cluster" / f"{self.part}.log"

    @property
    def status(self) -> Path:
        return self.log.with_suffix(".json")


@dataclass(frozen=True)
class Outcome:
    """How a unit ended."""

    code: int  # of its command
    line: str  # the last of its log
    node: str = ""
    seconds: float = 0.0
    attempt: int = 0


def preparation(run: Run) -> Unit:
    """Decode the images, and run the trunk over them."""
    unit = unit_of(run, "prepare", ("train", str(run.paths.root), "--prepare"), locks="no.lock")
    return replace(unit, holds=str(run.settings.cache / run.settings.comp))


def training(run: Run, fold: int, after: tuple[str, ...]) -> Unit:
    words = ("train", str(run.paths.root), "--fold", str(fold))
    return unit_of(run, fold_name(fold).replace(" ", ""), words, run.paths.lock(fold).name, after)


def unit_of(
    run: Run, part: str, words: tuple[str, ...], locks: str = "*.lock", after: tuple[str, ...] = ()
) -> Unit:
    machine = run.machine
    return Unit(run.paths.root, part, words, locks, after, machine.device, machine.max_hours > 0)


def features_key(run: Run) -> str:
    """Equal for runs that share decoded images and trunk outputs."""
    settings = {name: getattr(run.config, name) for name in OF_FEATURES}
    if not run.config.pretrained:
        settings["seed"] = run.config.seed  # the trunk's random weights
    return sha256([settings, str(run.settings.folder), str(run.settings.cache), run.settings.comp])


def folds_to_train(run: Run, only: Sequence[int]) -> list[int]:
    """The folds that are not finished. Raises ValueError for settings or data that don't work."""
    table = load_training_table(run, pretrained_hash(run.config))
    check_names(run)
    numbers = chosen_folds(table, only)
    check_code(run.paths, table.recipe, numbers)
    todo, held = unfinished(table, numbers)
    return sorted([*todo, *held])


def plan(runs: Sequence[Run], only: Sequence[int] = ()) -> list[Unit]:
    """All units of these runs; of some folds alone there is no score, and no predictions."""
    prepared: dict[str, Unit] = {}  # by what it makes
    trained: list[Unit] = []
    finished: list[Unit] = []
    for run in runs:
        folds = folds_to_train(run, only)
        if folds:
            first = prepared.setdefault(features_key(run), preparation(run))
            trained += [training(run, fold, (first.name,)) for fold in folds]
        if not only:
            after = tuple(unit.name for unit in trained if unit.run == run.paths.root)
            words = ("train", "predict", str(run.paths.root))
            finished.append(unit_of(run, "finish", words, after=after))
    return [*prepared.values(), *trained, *finished]


def score_of(unit: Unit) -> float | None:
    """Of a finished fold, or of all out-of-fold predictions; None where there is none."""
    file, name = unit.run / unit.part / "done.json", "score"
    if unit.part in ("finish", "train"):
        file, name = unit.run / "score.json", "oof"
    return read_json(file)[name] if file.exists() else None
