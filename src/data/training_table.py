"""The rows that the folds of a run learn from.  folds.csv -> TrainingTable; of each fold -> FoldTable"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from src.competition import tables
from src.competition.messages import complain
from src.competition.tasks import TASKS
from src.config import as_text
from src.data import folds
from src.data.batches import Rows
from src.data.extra_columns import ExtraColumns
from src.data.recipe import Recipe, make_recipe, recipe_hash, training_code
from src.data.run import Run
from src.run.errors import warn
from src.run.hashing import Units


@dataclass(frozen=True)
class FoldTable:
    """What one fold learns from and is scored on. Arrays of N are in the order of the whole table."""

    fold: int
    frame: pd.DataFrame
    target: np.ndarray  # (N, T), what perfect predictions would be
    unit: np.ndarray  # shift and scale (2, T) of the targets, fitted on the training part
    rows: Rows  # targets in that unit, loss weights, extra columns
    training: np.ndarray  # positions (n,)
    held_out: np.ndarray  # positions (m,); a refit holds nothing out

    @property
    def held_out_frame(self) -> pd.DataFrame:
        return self.frame.iloc[self.held_out]


@dataclass(frozen=True)
class TrainingTable:
    """What all folds of a run share: the table, and what it and the settings are, to compare with
    other runs.
    """

    run: Run
    frame: pd.DataFrame
    target: np.ndarray  # (N, T)
    recipe: Recipe
    code: Units  # what trains the folds
    # of test images, the last M rows: fold -> labels (M, T) that this fold may learn from, NaN for none
    pseudo_labels: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def folds(self) -> list[int]:
        """The numbers of the folds; rows of fold -1 always train."""
        return sorted(k for k in self.frame["fold"].unique() if k >= 0)

    @property
    def recipe_hash(self) -> str:
        return recipe_hash(self.recipe)

    def for_fold(self, fold: int) -> FoldTable:
        """What a fold, or a refit, learns from; all that is fitted is fitted on its training part."""
        competition, task = self.run.competition, TASKS[self.run.competition.task]
        frame, target = self.frame, self.target
        is_training = (frame["fold"] != fold).to_numpy(copy=True)
        num_real = len(frame)
        if self.pseudo_labels:
            labels = self.pseudo_labels.get(fold, self.pseudo_labels[-1])  # a refit: the mean over the folds
            num_real -= len(labels)
            is_labelled = ~np.isnan(labels).any(axis=1)
            is_training[num_real:] = is_labelled
            target = np.concatenate([target[:num_real], np.where(is_labelled[:, None], labels, 0)])
            frame = label_rows(self.run, frame, target, num_real)
        unit = task.unit(target[is_training], competition)
        shift, scale = unit
        # predict fits the extra columns again, and knows no pseudo-labels
        extra = ExtraColumns.fit(frame[:num_real], competition.features, is_training[:num_real]).encode(frame)
        weight = class_weights(target, is_training, self.run.config.class_weights)
        rows = Rows((target - shift) / scale, weight, extra)
        held_out = np.flatnonzero(frame["fold"] == fold)
        return FoldTable(fold, frame, target, unit, rows, np.flatnonzero(is_training), held_out)


def load_training_table(run: Run, weights_hash: str) -> TrainingTable:
    """The table of a run with its recipe. weights_hash: of the pretrained weights, "" for none. Raises
    ValueError for settings that the competition can't have, and for a folds.csv that is not what split wrote.
    """
    check_settings(run)
    competition = run.competition
    frame = tables.read_folds(run.paths.folds)
    folds.check(frame, run.config, competition.targets, task=competition.task)
    target = TASKS[competition.task].encode(frame, competition)
    return TrainingTable(run, frame, target, make_recipe(run, frame, weights_hash), training_code(run))


def check_settings(run: Run) -> None:
    """Raises ValueError for settings that don't go together, or not with this competition."""
    config, task = run.config, run.competition.task
    if config.refit and config.patience:
        raise ValueError(
            f"refit={config.refit}: with nothing held out, patience={config.patience} can't say when to stop:"
            " set patience=0, and epochs to what a training says is best for all folds together"
        )
    if config.swa and (config.ema or config.patience):
        other = f"ema={config.ema:g}" if config.ema else f"patience={config.patience}"
        raise ValueError(
            f"swa={config.swa} averages the weights of the last epochs, which {other} contradicts: choose one"
        )
    if config.solver == "exact" and (config.trainable not in ("head", 0) or config.head != "linear"):
        raise ValueError(
            f"solver=exact solves a linear head of frozen features, not trainable={as_text(config.trainable)}"
            f" head={config.head}: set trainable=head head=linear, or solver=steps"
        )
    if config.class_weights != "none" and task == "multilabel":
        raise ValueError(
            f"class_weights={config.class_weights} weighs an image by its class, and with task='multilabel'"
            " it has any number of them: set class_weights=none; sampler=balanced shows rare combinations"
            " more often"
        )
    if config.class_weights != "none" and TASKS[task].kind == "value":
        raise ValueError(
            f"class_weights={config.class_weights} weighs classes, and task={task!r} learns numbers:"
            " set class_weights=none"
        )


def warn_of_settings(run: Run) -> None:
    """A line per setting that changes nothing beside the others."""
    config, task = run.config, run.competition.task
    if config.label_smoothing and TASKS[task].loss != "cross_entropy":
        warn(
            f"label_smoothing={config.label_smoothing:g} has no effect with task={task!r}, which has no"
            " single class to smooth"
        )
    ignored = ("mixup", "cutmix", "ema", "swa", "sam", "patience") if config.solver == "exact" else ()
    if names := [name for name in ignored if getattr(config, name)]:
        warn(f"{', '.join(names)}: no effect with solver=exact, which takes no steps")
    if config.head_epochs and config.trainable in ("head", 0):
        warn(f"head_epochs={config.head_epochs} has no effect with trainable=head: nothing else learns")
    elif config.head_epochs >= config.epochs:
        warn(
            f"head_epochs={config.head_epochs} with epochs={config.epochs}: the backbone never learns: fewer"
            " head_epochs, or trainable=head, which is faster"
        )


def class_weights(target: np.ndarray, is_training: np.ndarray, how: str) -> np.ndarray:
    """The loss weight (N,) of each row, 1 on average over the training part. balanced: one over the share of
    the row's class; sqrt: the root of that.
    """
    if how == "none":
        return np.ones(len(target), np.float32)
    share = target[is_training].mean(axis=0).clip(min=1e-9)  # (T,)
    weight = target @ share ** (-1.0 if how == "balanced" else -0.5)
    return (weight / weight[is_training].mean()).astype(np.float32)


def label_rows(run: Run, frame: pd.DataFrame, target: np.ndarray, num_real: int) -> pd.DataFrame:
    """The table whose rows from num_real on have the labels that these targets are nearest to,
    for samplers.
    """
    if run.competition.task == "multilabel":
        labels = np.where(target >= 0.5, "1", "0")
    else:
        labels = np.array(run.competition.classes, dtype=object)[target.argmax(axis=1)][:, None]
    frame = frame.copy()
    columns = frame.columns.get_indexer(list(run.competition.targets))
    frame.iloc[num_real:, columns] = labels[num_real:]
    return frame


def hard_labels(labels: pd.DataFrame, task: str) -> pd.DataFrame:
    """1 for the likeliest class, or for each label above one half where an image has several, and 0 for the
    others. Lee 2013. What has no label keeps NaN.
    """
    values = labels.to_numpy()
    is_label = values >= 0.5 if task == "multilabel" else values == values.max(axis=1, keepdims=True)
    return pd.DataFrame(is_label, labels.index, labels.columns, np.float32).where(labels.notna())


def add_pseudo_labels(table: TrainingTable) -> TrainingTable:
    """The table with the test images of the run `pseudo` below the others. Fold k gets the labels that the
    other run's fold k gives: their mean over the folds has seen the labels of every image, also of those that
    are held out here, and would flatter the score.
    """
    run, name, outputs = table.run, table.run.config.pseudo, list(table.run.competition.outputs)
    if not name:
        return table
    types = {"fold": int} | dict.fromkeys(outputs, np.float32)
    given = tables.read_csv(run.paths.root.parent / name / "pseudo.csv").astype(types)
    test = tables.make_test(run.inputs, run.competition).set_index("id")
    ids = sorted(set(given["id"]))
    if lost := complain(pd.Series(ids)[~pd.Series(ids).isin(test.index)], "ids are no test images any more"):
        raise ValueError(f"pseudo={name}: {lost[0]}: make submit RUN={name}, then make pseudo RUN={name}")
    by_fold = {k: given[given["fold"] == k].set_index("id")[outputs].reindex(ids) for k in table.folds}
    by_fold[-1] = pd.concat(by_fold.values()).groupby(level=0).mean().loc[ids]
    if run.config.pseudo_labels == "hard":
        by_fold = {k: hard_labels(labels, run.competition.task) for k, labels in by_fold.items()}
    rows = test.loc[ids].reset_index().reindex(columns=table.frame.columns, fill_value="").assign(fold=-1)
    rows["id"] = "test/" + rows["id"]  # train may have the same id
    counts = ", ".join(f"fold {k} learns from {len(by_fold[k].dropna())}" for k in table.folds)
    print(f"pseudo={name}: {counts} of {len(test)} test images too")
    return replace(
        table,
        frame=pd.concat([table.frame, rows], ignore_index=True),
        target=np.concatenate([table.target, np.zeros((len(rows), len(outputs)), np.float32)]),
        pseudo_labels={k: labels.to_numpy() for k, labels in by_fold.items()},
    )
