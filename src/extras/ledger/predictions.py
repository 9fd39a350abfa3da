"""How much the answers of two submissions differ."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from src.extras.ledger.entries import Entry
from src.run.files import file_sha

SUBMISSIONS = Path("submissions")


@cache
def answers(name: str, sha256: str) -> pd.DataFrame | None:
    """The csv without its first column, the ids; None where it is not the one of that line any more."""
    path = SUBMISSIONS / f"{name}.csv"
    if not path.exists() or file_sha(path) != sha256:
        return None
    return pd.read_csv(path, dtype=str, keep_default_na=False).iloc[:, 1:]


def difference(a: Entry, b: Entry) -> float:
    """Of labels the share of cells that differ, of numbers 1 - their correlation; nan where a csv is gone."""
    first, second = answers(a.name, a.sha256), answers(b.name, b.sha256)
    if first is None or second is None or first.shape != second.shape:
        return math.nan
    if not (is_continuous(first) and is_continuous(second)):
        return float((first.to_numpy() != second.to_numpy()).mean())
    values = [
        (frame - frame.mean()).to_numpy().ravel() for frame in (first.astype(float), second.astype(float))
    ]
    if not all(value.any() for value in values):
        return math.nan
    return max(0.0, 1 - float(np.corrcoef(values)[0, 1]))


def is_continuous(frame: pd.DataFrame) -> bool:
    """Numbers that are no labels: not all are whole."""
    numbers = frame.apply(pd.to_numeric, errors="coerce")
    return bool(numbers.notna().all(axis=None)) and bool((numbers % 1 != 0).any(axis=None))
