"""The recipe of a fold: everything that can change a prediction, by name, so that what differs can be said.
No torch here.

Two recipes are equal when all their parts are. A setting at its default, or a part that is empty, counts as
absent: so a setting that is new in this version retires no fold that was trained before there was one.
"""

from typing import Any

import pandas as pd

from src import config
from src.competition import definition, tables
from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.config import Settings
from src.data import folds
from src.data.contents import content_hashes
from src.model.pretrained import pretrained_hash
from src.run import hashing
from src.run.files import file_sha, read_json, sha256
from src.run.paths import RunPaths, fold_name

Recipe = dict[str, Any]
IN_WORDS = {
    "facts": "other facts of the competition", "metric": "another metric, pool or answer, by which patience chooses",
    "fold_hash": "other folds, labels or groups", "weights_hash": "other pretrained weights",
    "images_hash": "other contents of the training images", "features_hash": "other values of the extra columns",
    "external_hash": "other external images", "pseudo_hash": "other pseudo-labels", "init_recipe": "another start (init_from)",
}  # fmt: skip


def make_recipe(settings: Settings, competition: Competition, paths: RunPaths, table: pd.DataFrame) -> Recipe:
    """What the folds of a run are trained from: no path, no test set, nothing of Machine. Raises ValueError
    for lost weights or runs.
    """
    experiment = settings.config
    fold_hash = folds.fold_hash(table, competition.targets)
    return {
        "settings": {
            name: value for name, value in config.stage(experiment, "train").items() if name != "pseudo"
        },
        "facts": definition.model_facts(competition),
        "metric": deciding(competition) if experiment.patience else "",
        "fold_hash": fold_hash,
        "weights_hash": pretrained_hash(experiment),
        "images_hash": sha256(image_contents(settings, table)),
        "features_hash": folds.features_hash(table, competition.features),
        "external_hash": folds.external_hash(table, competition.targets),
        "pseudo_hash": pseudo_hash(settings, paths, fold_hash),
        "init_recipe": init_folds(settings, paths, fold_hash),
    }


def recipe_hash(recipe: Recipe) -> str:
    """A short name of the recipe, for folders and for what is made of it."""
    return sha256(
        {name: value for name, value in recipe.items() if value}
        | {"settings": not_default(recipe["settings"])}
    )


def not_default(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in settings.items() if sha256(value) != sha256(config.DEFAULTS.get(name))
    }


def differences(then: dict, now: Recipe) -> list[str]:
    """In words, what was another when a fold was made; [] for the same recipe. then: its done.json or state."""
    if "facts" not in then:
        return ["an earlier version of the kit, which did not write all of its recipe down"]
    before, after = config.DEFAULTS | then["settings"], config.DEFAULTS | now["settings"]
    names = [name for name in after if sha256(before.get(name)) != sha256(after[name])]
    found = [
        f"{name}={config.as_text(before.get(name))}, now {config.as_text(after[name])}"
        for name in names
        if name != "pseudo"
    ]
    return found + [
        words
        for part, words in IN_WORDS.items()
        if sha256(then.get(part) or "") != sha256(now.get(part) or "")
    ]


def check_trained(paths: RunPaths, numbers: list[int], now: Recipe) -> None:
    """Raises ValueError where a fold was trained by another recipe than the run's settings and files now
    give.
    """
    for k in numbers:
        if found := differences(read_json(paths.fold(k).done), now):
            raise ValueError(
                f"{fold_name(k)} of {paths.root} was trained with {'; '.join(found)}: make train"
                f" RUN={paths.name}"
            )


def training_code(settings: Settings, competition: Competition) -> hashing.Units:
    """The code that makes a fold: training itself, and of each table of choices the entry that is used."""
    experiment = settings.config
    loss = TASKS[competition.task].loss if experiment.loss == "auto" else experiment.loss
    chosen = [
        f"src.training.losses:LOSSES[{loss}]", f"src.model.heads:HEADS[{experiment.head}]",
        f"src.data.batches:SAMPLERS[{experiment.sampler}]", f"src.competition.tasks:TASKS[{competition.task}]",
        *augment_code(settings), *backbone_code(settings),
    ]  # fmt: skip
    readers = [competition.read_image] if competition.read_image else []
    return hashing.reach("src.train:make_views", "src.train_fold:train_fold", *chosen, *readers)


def augment_code(settings: Settings) -> list[str]:
    return [f"src.data.augment:AUGMENTS[{settings.config.augment}]", "src.data.augment:seeded"]


def backbone_code(settings: Settings) -> list[str]:
    """The function of BACKBONES that builds an own backbone; the code of timm's is its version."""
    name = settings.config.backbone.partition(":")[0]  # gem of gem:tf_efficientnet_lite0
    return (
        [f"src.model.backbone:BACKBONES[{name}]"]
        if hashing.has_choice("src.model.backbone", "BACKBONES", name)
        else []
    )


def scoring_code(competition: Competition) -> hashing.Units:
    """How predictions become the answer, and the answer a score."""
    parts = [competition.metric, competition.answer, competition.pool, competition.make_solution]
    named = [
        ("src.competition.metrics:METRICS", competition.metric),
        ("src.competition.answers:ANSWERS", competition.answer),
    ]
    entries = [f"{table}[{name}]" for table, name in named if isinstance(name, str)]
    return hashing.reach("src.run.predictions:pool", *entries, *(part for part in parts if callable(part)))


def deciding(competition: Competition) -> list[str]:
    """What early stopping chooses the epoch by."""
    parts = (competition.metric, competition.answer, competition.pool)
    words = [hashing.name_of(part) if callable(part) else str(part) for part in parts]
    return [*words, *competition.scored, sha256(hashing.own(scoring_code(competition)))]


def image_contents(settings: Settings, table: pd.DataFrame) -> list[str]:
    """A hash of each image of the table, in its order."""
    folder = settings.folder
    return content_hashes([f"{folder}/{path}" for path in table["path"]], settings.memory)


def init_folds(settings: Settings, paths: RunPaths, fold_hash: str) -> str:
    """The recipe of the run that `init_from` names, "" for none. Its folds must be these, or weights would
    have seen what is held out.
    """
    return (
        source_run(paths, "init_from", settings.config.init_from, fold_hash)["recipe"]
        if settings.config.init_from
        else ""
    )


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


def pseudo_hash(settings: Settings, paths: RunPaths, fold_hash: str) -> str:
    """Of the pseudo-labels of the run that `pseudo` names and of their images, "" for none.

    Raises ValueError where they don't belong to its models as they are now.
    """
    name, path = settings.config.pseudo, paths.root.parent / settings.config.pseudo / "pseudo.csv"
    if not name:
        return ""
    source_run(paths, "pseudo", name, fold_hash)
    if not path.exists():
        raise ValueError(f"pseudo={name}: there is no {path}: make pseudo RUN={name}")
    labels = tables.read_csv(path)
    for fold, recipe in labels[["fold", "recipe"]].drop_duplicates().to_numpy():
        done = RunPaths(path.parent).fold(int(fold)).done
        if not done.exists() or read_json(done)["recipe"] != recipe:
            raise ValueError(
                f"pseudo={name}: fold {fold} was trained anew since {path} was written: make pseudo"
                f" RUN={name}"
            )
    return sha256([file_sha(path), image_contents(settings, labels)])
