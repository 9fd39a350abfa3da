"""The score of out-of-fold predictions, of all and by fold."""

import numpy as np
import pandas as pd

from src.competition import scoring
from src.competition.facts import Competition


def summary(competition: Competition, held_out: pd.DataFrame, oof: pd.DataFrame) -> dict:
    """The score of out-of-fold predictions: of all, and by fold."""
    per_fold = {
        str(k): scoring.score(competition, part, oof.loc[part["id"]]) for k, part in held_out.groupby("fold")
    }
    return {
        "oof": scoring.score(competition, held_out, oof),
        "folds": per_fold,
        **over_folds(np.array(list(per_fold.values()))),
        "also": scoring.usual_scores(competition, held_out, oof),
    }


def over_folds(scores: np.ndarray) -> dict:
    """Mean and spread (standard deviation) over the first axis, the folds: of those that have a score. A fold without
    positives has no ROC AUC, for one.
    """
    is_known = ~np.isnan(scores)
    number = is_known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(is_known, scores, 0).sum(axis=0) / number
        squares = np.where(is_known, (scores - mean) ** 2, 0).sum(axis=0)
        spread = np.where(number > 0, np.sqrt(squares / np.maximum(number - 1, 1)), np.nan)
    return {"mean": mean.tolist(), "spread": spread.tolist()}
