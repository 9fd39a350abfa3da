"""What all folds of a run share: read, checked and hashed before anything is written.  config.json, folds.csv
-> Job
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from accelerate import Accelerator

from src import config
from src.competition import decoders, tables
from src.competition.facts import Competition
from src.competition.messages import complain
from src.competition.tasks import TASKS
from src.config import Settings
from src.data import features, folds
from src.data.arrays import Array
from src.data.batches import SAMPLERS, ExtraColumns, Rows
from src.data.recipe import Recipe, make_recipe, recipe_hash, training_code
from src.data.run import Run
from src.model.classifier import Classifier, pick
from src.run.clock import Clock
from src.run.hashing import Units
from src.run.paths import RunPaths
from src.training.losses import LOSSES, ONE_CLASS


class Job(NamedTuple):
    """What all folds of a run share."""

    settings: Settings
    competition: Competition
    paths: RunPaths
    table: pd.DataFrame
    target: np.ndarray  # (N, T)
    arrays: list[Array]  # the trunk's outputs by view, or the decoded images alone
    is_cached: bool  # are they the trunk's outputs?
    transforms: dict  # by view, for what is not cached
    recipe: Recipe
    code: Units  # what trains the folds
    accelerator: Accelerator
    clock: Clock
    # whose trunk all folds share; None where more than the head learns, and each fold builds its own
    template: Classifier | None = None
    # fold -> labels (M, T) of the last M rows, test images, as that fold may see them; NaN for none
    pseudo: dict[int, np.ndarray] = {}

    @property
    def recipe_hash(self) -> str:
        return recipe_hash(self.recipe)

    @property
    def weights_hash(self) -> str:
        return self.recipe["weights_hash"]


def make_job(run: Run) -> Job:
    """Read and check everything that a fold needs; unknown names are refused here, before anything is
    written.
    """
    paths, settings, competition = run.paths, run.settings, run.competition
    experiment = settings.config
    if experiment.refit and experiment.patience:
        raise ValueError(
            f"refit={experiment.refit}: with nothing held out, patience={experiment.patience} can't say when"
            " to stop: set patience=0, and epochs to what a training says is best for all folds together"
        )
    if experiment.class_weights != "none" and competition.task == "multilabel":
        raise ValueError(
            f"class_weights={experiment.class_weights} weighs an image by its class, and with"
            " task='multilabel' it has any number of them: set class_weights=none; sampler=balanced shows"
            " rare combinations more often"
        )
    if experiment.class_weights != "none" and TASKS[competition.task].kind == "value":
        raise ValueError(
            f"class_weights={experiment.class_weights} weighs classes, and task={competition.task!r} learns"
            " numbers: set class_weights=none"
        )
    table = tables.read_folds(paths.folds)
    folds.check(table, experiment, competition.targets, task=competition.task)
    job = Job(
        settings,
        competition,
        paths,
        table,
        TASKS[competition.task].encode(table, competition),
        [],
        False,
        {},
        make_recipe(settings, competition, paths, table),
        training_code(settings, competition),
        features.make_accelerator(settings),
        Clock(settings.machine),
    )
    if loss_name(job) in ONE_CLASS and TASKS[competition.task].loss not in ONE_CLASS:
        raise ValueError(
            f"loss={loss_name(job)} is for one class per image, and task={competition.task!r} is not: set"
            f" loss=auto, which is {TASKS[competition.task].loss}"
        )
    pick(LOSSES, loss_name(job), "loss", "src/training/losses.py")  # unknown names end here
    pick(SAMPLERS, experiment.sampler, "sampler", "src/data/batches.py")
    decoders.choose(experiment.decode, competition)
    features.training_views(competition, settings, has_trunk=False)
    features.test_views(settings)
    return job


def with_pseudo(job: Job) -> Job:
    """The job with the test images of pseudo.csv below the others. Fold k gets what the other run's fold k
    says: its mean over the folds has seen the labels of every image, also those that are held out here, and
    would flatter the score.
    """
    name, outputs = job.settings.config.pseudo, list(job.competition.outputs)
    if not name:
        return job
    given = (
        tables.read_csv(job.paths.root.parent / name / "pseudo.csv")
        .astype({"fold": int})
        .astype(dict.fromkeys(outputs, np.float32))
    )
    test, ids = (
        tables.make_test(job.settings.folder, job.competition).set_index("id"),
        sorted(set(given["id"])),
    )
    if lost := complain(pd.Series(ids)[~pd.Series(ids).isin(test.index)], "ids are no test images any more"):
        raise ValueError(f"pseudo={name}: {lost[0]}: make submit RUN={name}, then make pseudo RUN={name}")
    labels = {
        k: given[given["fold"] == k].set_index("id")[outputs].reindex(ids)
        for k in sorted({*job.table["fold"]} - {-1})
    }
    labels[-1] = pd.concat(labels.values()).groupby(level=0).mean().loc[ids]
    rows = test.loc[ids].reset_index().reindex(columns=job.table.columns, fill_value="").assign(fold=-1)
    rows["id"] = "test/" + rows["id"]  # train may have the same id
    print(
        f"pseudo={name}: "
        + ", ".join(f"fold {k} learns from {len(frame.dropna())}" for k, frame in labels.items() if k >= 0)
        + f" of {len(test)} test images too"
    )
    return job._replace(
        table=pd.concat([job.table, rows], ignore_index=True),
        pseudo={k: frame.to_numpy() for k, frame in labels.items()},
        target=np.concatenate([job.target, np.zeros((len(rows), len(outputs)), np.float32)]),
    )


def loss_name(job: Job) -> str:
    return (
        TASKS[job.competition.task].loss if job.settings.config.loss == "auto" else job.settings.config.loss
    )


def of_fold(job: Job, fold: int) -> tuple[Job, np.ndarray]:
    """The job with the fold's own pseudo-labels as targets, and the rows that it learns from (bool, N)."""
    training = (job.table["fold"] != fold).to_numpy(copy=True)
    if not job.pseudo:
        return job, training
    # -1: of all folds, for none is held out
    labels, table, target = job.pseudo.get(fold, job.pseudo[-1]), job.table.copy(), job.target.copy()
    is_given = ~np.isnan(labels).any(axis=1)
    training[-len(labels) :], target[-len(labels) :] = is_given, np.where(is_given[:, None], labels, 0)
    if job.competition.task == "multilabel":
        said = np.where(target >= 0.5, "1", "0")
    else:
        said = np.array(job.competition.classes, dtype=object)[target.argmax(axis=1)][:, None]
    table.iloc[-len(labels) :, table.columns.get_indexer(list(job.competition.targets))] = said[
        -len(labels) :
    ]
    return job._replace(table=table, target=target), training


def make_unit(job: Job, training: np.ndarray) -> np.ndarray:
    """Shift and scale (2, T) of the targets, fitted on the training part (bool, N)."""
    return TASKS[job.competition.task].unit(job.target[training], job.competition)


def make_rows(job: Job, training: np.ndarray) -> Rows:
    """Targets in that unit, loss weights and extra columns of all images; what is fitted is fitted on the
    training part (bool, N).
    """
    weight, how = np.ones(len(job.table), np.float32), job.settings.config.class_weights
    shift, scale = make_unit(job, training)
    if how != "none":
        share = job.target[training].mean(axis=0).clip(min=1e-9)  # (T,)
        weight = job.target @ share ** (-1.0 if how == "balanced" else -0.5)
        weight = (weight / weight[training].mean()).astype(np.float32)
    # predict fits the same, and knows no pseudo-labels
    num = len(job.table) - len(job.pseudo.get(-1, ()))
    extra = ExtraColumns.fit(job.table[:num], job.competition.features, training[:num]).encode(job.table)
    return Rows((job.target - shift) / scale, weight, extra)


def tracking(job: Job, name: str, job_type: str) -> dict:
    """How Weights & Biases shall show it: one group per run, one of its runs per fold and one for the
    summary.
    """
    return {
        "mode": job.settings.machine.wandb,
        "project": f"podium-{job.settings.comp}",
        "group": job.paths.name,
        "name": f"{job.paths.name}-{name}",
        "job_type": job_type,
        "config": config.as_dict(job.settings.config),
        "tags": [job.settings.exp],
        "dir": job.paths.root,
    }
