"""The kind of problem: how labels become numbers and logits become predictions, and the usual loss."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.competition.facts import Competition


class Task(NamedTuple):
    # (table, competition) -> what perfect predictions are (N, T), float32
    encode: Callable[[pd.DataFrame, Competition], np.ndarray]
    # (logits (N, T), unit (2, T)) -> predictions (N, T)
    activation: Callable[[np.ndarray, np.ndarray], np.ndarray]
    loss: str  # a name in LOSSES
    kind: str  # what predictions are: probability or value
    # (training part's targets (n, T), competition) -> (shift, scale) (2, T): the loss sees (target - shift) /
    # scale, the activation undoes it
    unit: Callable[[np.ndarray, Competition], np.ndarray] = lambda target, competition: np.float32([[0], [1]])


def one_hot(table: pd.DataFrame, competition: Competition) -> np.ndarray:
    """The only target column's label as a one among zeros, in the order of competition.classes."""
    codes = pd.Index(competition.classes).get_indexer(table[competition.targets[0]])
    assert (codes >= 0).all(), "a label is in no class: tables.make_train checks this"
    return np.eye(len(competition.classes), dtype=np.float32)[codes]


def as_numbers(table: pd.DataFrame, competition: Competition) -> np.ndarray:
    return table[list(competition.targets)].to_numpy(dtype=np.float32)


def as_grade(table: pd.DataFrame, competition: Competition) -> np.ndarray:
    """The label's place in competition.classes, 0, 1, ... as a number (N, 1)."""
    return one_hot(table, competition).argmax(axis=1).astype(np.float32)[:, None]


def standard(target: np.ndarray, competition: Competition) -> np.ndarray:
    """Mean and spread: a head begins near 0 and learns in steps of a rate, so 1000 +- 5 would take it for
    ever.
    """
    spread = target.std(axis=0, dtype=np.float64)
    return np.stack([target.mean(axis=0, dtype=np.float64), np.where(spread > 0, spread, 1)]).astype(
        np.float32
    )


def share_of_range(target: np.ndarray, competition: Competition) -> np.ndarray:
    low, high = competition.bounds
    return np.float32([[low], [high - low]])


def softmax(logits: np.ndarray, unit: np.ndarray | None = None) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray, unit: np.ndarray | None = None) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))  # the usual formula, without its overflow


def scaled(logits: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return unit[0] + unit[1] * logits


def within(logits: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return unit[0] + unit[1] * sigmoid(logits)


def loss_name(loss: str, task: str) -> str:
    """The name in LOSSES that a setting means: the task's own for "auto"."""
    return TASKS[task].loss if loss == "auto" else loss


def logits_of(task: Task, answer: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The logits that the task's activation turns into this answer (T,)."""
    shift, scale = unit
    share = ((answer - shift) / scale).astype(np.float64)
    if task.activation is softmax:
        return np.log(share.clip(min=1e-6))
    if task.activation in (sigmoid, within):
        return np.log(share.clip(1e-6, 1 - 1e-6) / (1 - share.clip(1e-6, 1 - 1e-6)))
    return share


TASKS = {
    "multiclass": Task(one_hot, softmax, "cross_entropy", "probability"),
    # two outputs: every loss and metric sees the usual form
    "binary": Task(one_hot, softmax, "cross_entropy", "probability"),
    "multilabel": Task(as_numbers, sigmoid, "binary_cross_entropy", "probability"),
    "regression": Task(as_numbers, scaled, "mse", "value", standard),
    # -- those that files don't tell: state task= in src/competitions.py
    # numbers of a known range, as shares of it that are learned like probabilities: the usual way in
    # PetFinder's Pawpularity
    "bounded": Task(as_numbers, within, "binary_cross_entropy", "value", share_of_range),
    # one number, the grade, as in APTOS 2019's first place. Unlike a probability per class it knows that 4 is
    # far from 0; unlike a sigmoid per cut
    # (Niu et al. 2016) it needs no other loop, head or blend, and decode=cut_points can round it as the
    # metric likes best
    "ordinal": Task(as_grade, scaled, "mse", "value", standard),
}
