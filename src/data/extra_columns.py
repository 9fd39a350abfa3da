"""Extra columns of a table, such as age and site, as numbers for the head."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class ExtraColumns(NamedTuple):
    """How extra columns become numbers: words by the whole table's vocabulary, numbers standardised by the
    training part alone.
    """

    words: dict[str, list[str]]
    numbers: dict[str, tuple[float, float]]  # mean, standard deviation

    @classmethod
    def fit(cls, table: pd.DataFrame, columns: Sequence[str], training: np.ndarray) -> "ExtraColumns":
        """training: bool (N,)."""
        words, numbers = {}, {}
        for column in columns:
            values = as_numbers(table[column])
            is_numeric = values.notna().sum() == (table[column] != "").sum()
            if is_numeric and values[training].notna().any():
                numbers[column] = float(values[training].mean()), float(values[training].std(ddof=0)) or 1.0
            else:
                words[column] = sorted(table[column].unique())
        return cls(words, numbers)

    @property
    def size(self) -> int:
        """How many numbers the head gets per image."""
        return len(self.numbers) + sum(map(len, self.words.values()))

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """(N, E) float32. A missing number becomes the mean, an unknown word all zeros."""
        columns = [((as_numbers(table[c]) - mean) / std).fillna(0) for c, (mean, std) in self.numbers.items()]
        columns += [table[c] == word for c, known in self.words.items() for word in known]
        if not columns:
            return np.zeros((len(table), 0), np.float32)
        return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def as_numbers(column: pd.Series) -> pd.Series:
    """Text as numbers; what is empty or no number is NaN."""
    return pd.to_numeric(column.where(column != ""), errors="coerce")
