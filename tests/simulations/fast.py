"""A competition of which only the score is left, in numpy: a simulation asks for it a hundred thousand times."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from src.run import predictions


class Fast:
    """What src.competition.paired and src.extras.ensemble ask of a competition. Labels stand in the column `label` and name the
    predictions' columns.
    """

    lower_is_better = False

    def __init__(self, metric: Callable[[np.ndarray, np.ndarray], float]) -> None:
        # (codes of the true columns (N,), predictions (N, T)) -> higher is better
        self.metric = metric

    def pooled(self, table: pd.DataFrame, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        return table, predictions.pool(frame, table.set_index("id")["row"], "mean")

    def scorer(self, table: pd.DataFrame, rows: pd.Index) -> Callable[[pd.DataFrame], float]:
        labels = table["label"].set_axis(table["row"])
        labels = labels[~labels.index.duplicated()]
        return lambda by_row: self.metric(
            by_row.columns.get_indexer(labels.loc[by_row.index]), by_row.to_numpy()
        )

    def score(self, table: pd.DataFrame, frame: pd.DataFrame) -> float:
        """Of one image per row."""
        return self.metric(frame.columns.get_indexer(table["label"]), frame.loc[table["id"]].to_numpy())


def share_right(truth: np.ndarray, values: np.ndarray) -> float:
    return float((values.argmax(axis=1) == truth).mean())


def area(truth: np.ndarray, values: np.ndarray) -> float:
    """ROC AUC of the second column."""
    is_true = truth == 1
    num_true = is_true.sum()
    pairs = num_true * (~is_true).sum()
    return (
        float((rankdata(values[:, 1])[is_true].sum() - num_true * (num_true + 1) / 2) / pairs)
        if pairs
        else float("nan")
    )
