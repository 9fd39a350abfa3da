"""What kind of problem it is: how labels become numbers, logits become predictions, predictions the host's answer; and the usual loss."""
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from src.competitions import Competition


class Task(NamedTuple):
    encode: Callable[[pd.DataFrame, "Competition"], np.ndarray]      # (table, competition) -> dense targets (N, T), float32
    activation: Callable[[np.ndarray], np.ndarray]            # logits (N, T) -> predictions (N, T)
    loss: str                                                 # a name in LOSSES
    kind: str                                                 # what predictions are: probability or value


def one_hot(table: pd.DataFrame, competition: "Competition") -> np.ndarray:
    """The only target column's label as a one among zeros, in the order of competition.classes."""
    codes = pd.Index(competition.classes).get_indexer(table[competition.targets[0]])
    assert (codes >= 0).all(), "a label is in no class: tables.make_train checks this"
    return np.eye(len(competition.classes), dtype=np.float32)[codes]


def as_numbers(table: pd.DataFrame, competition: "Competition") -> np.ndarray:
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


# -- forms of an answer: (predictions by row, competition) -> the columns after the row's

def as_label(by_row: pd.DataFrame, competition: "Competition") -> pd.DataFrame:
    label = by_row.idxmax(axis=1)
    plain = all(re.fullmatch(r"0|-?[1-9]\d*", name) for name in competition.classes)      # not for "007"
    return (label.astype(int) if plain else label).to_frame()


def as_probability(by_row: pd.DataFrame, competition: "Competition") -> pd.DataFrame:
    return by_row[[competition.positive]]


def as_columns(by_row: pd.DataFrame, competition: "Competition") -> pd.DataFrame:
    """A column per class or number, by name; a class that no training image has gets 0. A single number may have any name."""
    if len(competition.names) == 2:
        return by_row[list(competition.scored or competition.outputs)]
    return by_row.reindex(columns=list(competition.names[1:]), fill_value=0.0)


def as_words(by_row: pd.DataFrame, competition: "Competition") -> pd.DataFrame:
    """Every class above a half, joined by spaces; the likeliest where none is."""
    values, names = by_row.to_numpy(), by_row.columns.to_numpy(dtype=object)
    chosen = values >= 0.5
    none = ~chosen.any(axis=1)
    chosen[none, values[none].argmax(axis=1)] = True
    return pd.DataFrame({"words": [" ".join(names[row]) for row in chosen]}, index=by_row.index)


ANSWERS = {"label": as_label, "probability": as_probability, "probabilities": as_columns, "words": as_words, "value": as_columns}
