"""The recipe of a fold: everything that can change a prediction, by name, so that what differs can be said.
No torch here.

Two recipes are equal when all their parts are. A setting at its default, or a part that is empty, counts as
absent: so a setting that is new in this version retires no fold that was trained before there was one.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from src.competition import definition, tables
from src.competition.facts import Competition
from src.competition.tasks import loss_name
from src.config import DEFAULTS, Config, as_text, stage
from src.data import folds
from src.data.contents import content_hashes, told_apart
from src.data.run import Run
from src.run import hashing, reuse
from src.run.files import file_sha, read_json, sha256
from src.run.paths import RunPaths, fold_name

Recipe = dict[str, Any]
PARTS = {  # of a recipe, in words
    "facts": "other facts of the competition",
    "metric": "another metric, pool or answer, by which patience chooses",
    "fold_hash": "other folds, labels or groups",
    "weights_hash": "other pretrained weights",
    "images_hash": "other contents of the training images",
    "features_hash": "other values of the extra columns",
    "external_hash": "other external images",
    "pseudo_hash": "other pseudo-labels",
    "init_recipe": "another start (init_from)",
}


def make_recipe(run: Run, table: pd.DataFrame, weights_hash: str) -> Recipe:
    """What the folds of a run are trained from: no path, no test set, nothing of Machine. table: folds.csv.
    weights_hash: of the pretrained weights, "" for none. Raises ValueError for other runs that are lost.
    """
    competition, fold_hash = run.competition, folds.fold_hash(table, run.competition.targets)
    settings = stage(run.config, "train")
    del settings["pseudo"]  # pseudo_hash stands for it
    return {
        "settings": settings,
        "facts": definition.model_facts(competition),
        "metric": early_stopping_metric(competition) if run.config.patience else "",
        "fold_hash": fold_hash,
        "weights_hash": weights_hash,
        "images_hash": sha256(image_contents(run, table)),
        "features_hash": folds.features_hash(table, competition.features),
        "external_hash": folds.external_hash(table, competition.targets),
        "pseudo_hash": pseudo_hash(run, fold_hash),
        "init_recipe": init_recipe(run, fold_hash),
    }


def recipe_hash(recipe: Recipe) -> str:
    """A short name of the recipe, for folders and for what is made of it."""
    parts = {name: value for name, value in recipe.items() if value}
    settings = recipe["settings"]
    changed = {name: value for name, value in settings.items() if is_other(value, DEFAULTS.get(name))}
    return sha256(parts | {"settings": changed})


def is_other(value: Any, other: Any) -> bool:
    """By their canonical json: a tuple equals the list that it was read back as."""
    return sha256(value) != sha256(other)


def differences(then: dict, now: Recipe) -> list[str]:
    """In words, what was another when a fold was made; [] for the same recipe. then: its
    done.json or state.
    """
    if "facts" not in then:
        return ["an earlier version of the kit, which did not write all of its recipe down"]
    before, after = DEFAULTS | then["settings"], DEFAULTS | now["settings"]
    names = [name for name in after if name != "pseudo" and is_other(before.get(name), after[name])]
    settings = [f"{name}={as_text(before.get(name))}, now {as_text(after[name])}" for name in names]
    return settings + [
        text for part, text in PARTS.items() if is_other(then.get(part) or "", now.get(part) or "")
    ]


def check_trained(paths: RunPaths, numbers: list[int], now: Recipe) -> None:
    """Raises ValueError where a fold was trained by another recipe than the run's settings and files now
    give.
    """
    for k in numbers:
        if changes := differences(read_json(paths.fold(k).done), now):
            raise ValueError(
                f"{fold_name(k)} of {paths.root} was trained with {'; '.join(changes)}: make train"
                f" RUN={paths.name}"
            )


def check_code(paths: RunPaths, recipe: Recipe, numbers: Sequence[int]) -> None:
    """Raises ValueError where folds that are to be scored together would be trained by differing code."""
    edits: dict[int, list[str]] = {}
    for fold in numbers:
        origin = reuse.origin(paths.fold(fold))
        if origin and not differences(origin, recipe) and (changed := reuse.changed_code(origin)):
            edits[fold] = changed
    if not edits:
        return
    names = hashing.few(name for changed in edits.values() for name in changed)
    if all(paths.fold(k).done.exists() for k in numbers):
        print(f"code changed since this run was trained: {names}; nothing is re-run: make retrain acts on it")
        return
    raise ValueError(
        f"{', '.join(map(fold_name, edits))} of {paths.root} began before {names} changed, and other folds"
        " are still to be trained: folds of differing code can't be scored together. make retrain"
        f" RUN={paths.name} trains them anew (the old ones are kept), or undo the edit"
    )


def training_code(run: Run) -> hashing.Units:
    """The code that makes a fold: training itself, and of each table of choices the entry that is used."""
    config, competition = run.config, run.competition
    chosen = [
        f"src.training.losses:LOSSES[{loss_name(config.loss, competition.task)}]",
        f"src.training.schedules:SCHEDULES[{config.schedule}]",
        f"src.model.heads:HEADS[{config.head}]",
        f"src.data.batches:SAMPLERS[{config.sampler}]",
        f"src.competition.tasks:TASKS[{competition.task}]",
        f"src.data.images:RESIZES[{config.resize}]",
        *augment_code(config),
        *backbone_code(config),
    ]
    readers = [competition.read_image] if competition.read_image else []
    fit = "src.solve_fold:solve_fold" if config.solver == "exact" else "src.train_fold:train_fold"
    return hashing.reach("src.prepare:prepare_inputs", fit, *chosen, *readers)


def augment_code(config: Config) -> list[str]:
    return [f"src.data.augment:AUGMENTS[{config.augment}]", "src.data.augment:PerImage"]


def backbone_code(config: Config) -> list[str]:
    """The function of BACKBONES that builds an own backbone; the code of timm's is its version."""
    name = config.backbone.partition(":")[0]  # gem of gem:tf_efficientnet_lite0
    is_own = hashing.has_choice("src.model.backbone", "BACKBONES", name)
    return [f"src.model.backbone:BACKBONES[{name}]"] if is_own else []


def scoring_code(competition: Competition) -> hashing.Units:
    """How predictions become the answer, and the answer a score."""
    parts = [competition.metric, competition.answer, competition.pool, competition.make_solution]
    named = [
        ("src.competition.metrics:METRICS", competition.metric),
        ("src.competition.answers:ANSWERS", competition.answer),
    ]
    entries = [f"{table}[{name}]" for table, name in named if isinstance(name, str)]
    return hashing.reach("src.run.predictions:pool", *entries, *(part for part in parts if callable(part)))


def early_stopping_metric(competition: Competition) -> list[str]:
    """What early stopping chooses the epoch by."""
    parts = (competition.metric, competition.answer, competition.pool)
    words = [hashing.name_of(part) if callable(part) else str(part) for part in parts]
    return [*words, *competition.scored, sha256(hashing.own(scoring_code(competition)))]


def image_contents(run: Run, table: pd.DataFrame) -> list[str]:
    """A hash of each image of the table, in its order."""
    folder = str(run.inputs)  # a Path for each row takes 15 us
    files = content_hashes([f"{folder}/{path}" for path in table["path"].tolist()], run.settings.memory)
    return told_apart(files, table) if run.competition.read_image else files


def init_recipe(run: Run, fold_hash: str) -> str:
    """The recipe of the run that `init_from` names, "" for none. Its folds must be these, or weights would
    have seen what is held out.
    """
    name = run.config.init_from
    return source_run(run.paths, "init_from", name, fold_hash)["recipe"] if name else ""


def source_run(paths: RunPaths, setting: str, name: str, fold_hash: str) -> dict:
    """done.json of a fold of another run that this one builds on. Raises ValueError for one without folds, or
    with others.
    """
    if name == paths.name:
        raise ValueError(f"{setting}={name} is this run itself: give it another RUN")
    done = sorted((paths.root.parent / name).glob("fold*/done.json"))
    if not done:
        raise ValueError(f"{setting}={name}: there is no finished fold in {paths.root.parent / name}")
    first = read_json(done[0])
    if first["fold_hash"] != fold_hash:
        raise ValueError(
            f"{setting}={name} was trained on other folds: its models have seen what is held out here"
        )
    return first


def pseudo_hash(run: Run, fold_hash: str) -> str:
    """Of the pseudo-labels of the run that `pseudo` names and of their images, "" for none. Raises ValueError
    where they don't belong to its models as they are now.
    """
    name = run.config.pseudo
    if not name:
        return ""
    source = RunPaths(run.paths.root.parent / name)
    source_run(run.paths, "pseudo", name, fold_hash)
    path = source.root / "pseudo.csv"
    if not path.exists():
        raise ValueError(f"pseudo={name}: there is no {path}: make pseudo RUN={name}")
    labels = tables.read_csv(path)
    for fold, recipe in labels[["fold", "recipe"]].drop_duplicates().to_numpy():
        done = source.fold(int(fold)).done
        if not done.exists() or read_json(done)["recipe"] != recipe:
            raise ValueError(
                f"pseudo={name}: fold {fold} was trained anew since {path} was written: make pseudo"
                f" RUN={name}"
            )
    return sha256([file_sha(path), image_contents(run, labels)])
