"""What kind of problem it is: how labels become numbers, logits become predictions, and which loss fits unless stated."""
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class Task(NamedTuple):
    encode: Callable[[pd.DataFrame, Any], np.ndarray]      # (table, competition) -> dense targets (N, T), float32
    activation: Callable[[np.ndarray], np.ndarray]            # logits (N, T) -> predictions (N, T)
    loss: str                                                 # a name in LOSSES
    kind: str                                                 # what predictions are: probability or value


def one_hot(table: pd.DataFrame, competition: Any) -> np.ndarray:
    """The only target column's label as a one among zeros, in the order of competition.classes."""
    codes = pd.Index(competition.classes).get_indexer(table[competition.targets[0]])
    assert (codes >= 0).all(), "a label is in no class: tables.make_train checks this"
    return np.eye(len(competition.classes), dtype=np.float32)[codes]


def as_numbers(table: pd.DataFrame, competition: Any) -> np.ndarray:
    return table[list(competition.targets)].to_numpy(dtype=np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))      # the usual formula, without its overflow


def identity(logits: np.ndarray) -> np.ndarray:
    return logits


TASKS = {
    "multiclass": Task(one_hot, softmax, "cross_entropy", "probability"),
    "binary": Task(one_hot, softmax, "cross_entropy", "probability"),     # two outputs: every loss and metric sees the usual form
    "multilabel": Task(as_numbers, sigmoid, "binary_cross_entropy", "probability"),
    "regression": Task(as_numbers, identity, "mse", "value"),
}
