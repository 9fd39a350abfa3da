"""Ways to blend the predictions of several runs, and which one is worth taking."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from src.competition import paired, scoring
from src.competition.facts import Competition
from src.competition.metrics import METRICS, READS_ORDER
from src.competition.paired import Difference
from src.run import predictions

ROUNDS = 40  # of the greedy selection: weights in steps of a fortieth
LABEL = "__label__"  # the column that the table of a blend has beside those of folds.csv
Frames = list[pd.DataFrame]  # the members' predictions of the same images
Score = Callable[[pd.DataFrame, pd.DataFrame], float]  # of (table, predictions), higher is better
Join = Callable[[Frames], pd.DataFrame]


# Ways to blend: (table, members' out-of-fold predictions, score) -> a function that joins the members'
# predictions of any images


def mean(table: pd.DataFrame, members: Frames, score: Score) -> Join:
    return predictions.mean


def rank(table: pd.DataFrame, members: Frames, score: Score) -> Join:
    return predictions.rank_mean


def greedy(table: pd.DataFrame, members: Frames, score: Score) -> Join:
    return partial(weighted, weights=select(table, members, score))


def stack(table: pd.DataFrame, members: Frames, score: Score) -> Join:
    """Logistic regression on the members' log-odds. Wolpert 1992."""
    from sklearn.linear_model import LogisticRegression

    return fitted(LogisticRegression(C=0.1, max_iter=500), log_odds, table, members)


def boost(table: pd.DataFrame, members: Frames, score: Score) -> Join:
    """Gradient boosted trees on the members' predictions and, the last member, the extra columns. Friedman
    2001, doi:10.1214/aos/1013203451.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.08, max_leaf_nodes=8, random_state=0)
    return fitted(model, partial(np.concatenate, axis=1), table, members)


# add yours: a function above, a word here
BLENDS = {"mean": mean, "rank": rank, "greedy": greedy, "stack": stack, "boost": boost}
UNFITTED = {"mean", "rank"}


def fitted(
    model: Any, features: Callable[[Frames], np.ndarray], table: pd.DataFrame, members: Frames
) -> Join:
    """The model (as scikit-learn has them) fitted to the labels; classes it has not seen get 0."""
    labels, outputs = table.set_index("id")[LABEL], list(members[0].columns)
    model.fit(features(members), labels.loc[members[0].index])

    def join(others: Frames) -> pd.DataFrame:
        values = model.predict_proba(features(others))
        frame = pd.DataFrame(values, index=others[0].index, columns=model.classes_)
        return frame.reindex(columns=outputs, fill_value=0).astype(np.float32)

    return join


def log_odds(members: Frames) -> np.ndarray:
    probs = np.concatenate([m.to_numpy(dtype=np.float64) for m in members], axis=1).clip(1e-5, 1 - 1e-5)
    return np.log(probs / (1 - probs))


def weighted(members: Frames, weights: np.ndarray) -> pd.DataFrame:
    values = sum(member.to_numpy(dtype=np.float64) * weight for member, weight in zip(members, weights))
    return pd.DataFrame(values.astype(np.float32), members[0].index, members[0].columns)


def select(table: pd.DataFrame, members: Frames, score: Score) -> np.ndarray:
    """Weights by adding, again and again, the member that helps most, with replacement. Caruana et al. 2004,
    doi:10.1145/1015330.1015432.
    """
    counts, best, best_counts = np.zeros(len(members)), -np.inf, np.zeros(len(members))
    for size in range(1, ROUNDS + 1):
        scores = [score(table, weighted(members, (counts + one) / size)) for one in np.eye(len(members))]
        counts[int(np.argmax(scores))] += 1
        if max(scores) > best + 1e-9:
            best, best_counts = max(scores), counts.copy()
    return best_counts / best_counts.sum()


def nested(table: pd.DataFrame, members: Frames, fit: Callable[..., Join], score: Score) -> pd.DataFrame:
    """Each fold joined by a blend fitted on the others: predictions whose score is an honest estimate."""
    parts = []
    for k in sorted(table["fold"].unique()):
        training, held_out = table[table["fold"] != k], table.loc[table["fold"] == k, "id"]
        join = fit(training, [m.loc[training["id"]] for m in members], score)
        parts.append(join([m.loc[held_out] for m in members]))
    return predictions.join(parts)


class Choice(NamedTuple):
    """The nested predictions of each way to blend, and which way is taken."""

    name: str
    frames: dict[str, pd.DataFrame]
    scores: dict[str, float]  # as the metric gives them
    gains: dict[str, Difference]  # over the plain mean


def choose(
    competition: Competition, table: pd.DataFrame, members: dict[str, Frames], score: Score, how: str = "auto"
) -> Choice:
    """The way named `how`; with auto the plain mean, unless some way gains more than its error: then the one
    that gains most. members: by way.
    """
    images = table.drop(columns=LABEL)
    frames = {way: nested(table, frames, BLENDS[way], score) for way, frames in members.items()}
    by_row = {way: scoring.pooled(competition, images, frame)[1] for way, frame in frames.items()}
    score_rows = scoring.scorer(competition, images, by_row["mean"].index)
    scores = {way: score_rows(frame) for way, frame in by_row.items()}
    gains = {
        way: paired.fitted_difference(competition, images, by_row["mean"], frame)
        for way, frame in by_row.items()
        if way != "mean"
    }
    sure = {way: difference.gain for way, difference in gains.items() if difference.is_gain}
    name = max(sure, key=lambda way: sure[way], default="mean") if how == "auto" else how
    return Choice(name, frames, scores, gains)


def ways_for(how: str, competition: Competition, same_folds: bool) -> list[str]:
    """The ways to try. What is fitted needs the same folds for all members, or it would see what it predicts.
    Raises ValueError for a way that does not suit.
    """
    if how not in ("auto", *BLENDS):
        raise ValueError(f"how={how} is unknown; choose from auto, {', '.join(BLENDS)}")
    if how == "auto" and not same_folds:
        reason = "a fitted blend would see what it predicts"
        print(f"warning: the members have differing folds: only the mean is tried, {reason}", file=sys.stderr)
        return ["mean"]
    if how == "auto":
        has_labels = competition.task in ("multiclass", "binary")
        stacked = ["stack", "boost"] if competition.features else ["stack"]
        return ["mean", "greedy", *(stacked if has_labels else [])]
    if how not in UNFITTED and not same_folds:
        raise ValueError(
            f"how={how} is fitted, and the members have differing fold hashes: train them with the same"
            " fold_seed, folds and dedupe"
        )
    reads_more = competition.metric_name in METRICS and competition.metric not in READS_ORDER
    has_order = competition.answer in ("probability", "probabilities", "value")
    if how == "rank" and (reads_more or not has_order):
        raise ValueError(
            f"how=rank keeps only the order of the rows, column by column, and {competition.metric_name} of"
            f" {competition.answer} reads more: choose from auto, mean, greedy"
        )
    return list(dict.fromkeys(["mean", how]))
