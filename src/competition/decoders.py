"""From probabilities to decisions: what is fitted on out-of-fold predictions between them and the metric,
with an estimate that is no flattery.

A decoder changes predictions by row (rows, T) so that their usual answer (the likeliest, those above a half,
the nearest grade) is the better one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from src.competition import paired, scoring
from src.competition.facts import Competition
from src.competition.paired import Difference
from src.competition.tasks import TASKS, sigmoid, softmax

SWEEPS = 3  # of the search, each a third as coarse as the one before
Score = Callable[[pd.DataFrame], float]  # of decoded predictions, higher is better
Parameters = dict[str, Any]  # as json has them


class Decoder(NamedTuple):
    # (predictions by row, truth in their form, score) -> parameters
    fit: Callable[[pd.DataFrame, pd.DataFrame, Score], Parameters]
    apply: Callable[[Parameters, pd.DataFrame], pd.DataFrame]
    fits: Callable[[Competition], bool]
    needs: str  # what it fits, in words


class Decoded(NamedTuple):
    """What a fit on the out-of-fold predictions came to; scores as the metric gives them."""

    parameters: Parameters  # {}: the plain predictions are kept
    plain: float
    in_sample: float  # flatters: fitted and scored on the same rows
    nested: float  # each fold decoded by what was fitted on the others
    folds: dict[str, float]  # the same by fold
    gain: Difference  # of the nested ones over the plain


def climb(score: Callable[[np.ndarray], float], start: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Coordinate search: each number in turn is moved by so many steps, smaller ones with each sweep; of
    equals the least moved is kept.
    """
    best, best_score = start, score(start)
    for sweep in range(SWEEPS):
        steps = (1, -1, 2, -2, 3, -3, 4, -4) if sweep == 0 else (1, -1, 2, -2)
        for k in range(len(start)):
            middle = best
            for n in steps:
                candidate = middle.copy()
                candidate[k] += n * step[k] / 3**sweep
                value = score(candidate)
                if value > best_score + 1e-12:
                    best, best_score = candidate, value
    return best


def log_odds(probs: np.ndarray) -> np.ndarray:
    probs = probs.astype(np.float64).clip(1e-7, 1 - 1e-7)
    return np.log(probs / (1 - probs))


def like(by_row: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values.astype(np.float32), by_row.index, by_row.columns)


def fit_thresholds(by_row: pd.DataFrame, truth: pd.DataFrame, score: Score) -> Parameters:
    """{class: the probability from which it is predicted}. The search begins at a half, or where each class
    is predicted as often as it is true, whichever is better: rare ones may never come near a half.
    """
    odds = log_odds(by_row.to_numpy())
    shares = truth.to_numpy(dtype=np.float64).mean(axis=0)

    def score_of(shift: np.ndarray) -> float:
        return score(like(by_row, sigmoid(odds + shift)))

    as_often = -np.array([np.quantile(column, 1 - share) for column, share in zip(odds.T, shares)])
    start = max([np.zeros(len(shares)), as_often], key=score_of)
    thresholds = sigmoid(-climb(score_of, start, np.full(len(shares), 1.5)))
    return {name: float(f"{threshold:.5g}") for name, threshold in zip(by_row.columns, thresholds)}


def apply_thresholds(thresholds: Parameters, by_row: pd.DataFrame) -> pd.DataFrame:
    """Log-odds moved so that the threshold becomes a half: what is left are probabilities, in the same order
    within a class.
    """
    odds = log_odds(np.array([thresholds[name] for name in by_row]))
    return like(by_row, sigmoid(log_odds(by_row.to_numpy()) - odds))


def fit_offsets(by_row: pd.DataFrame, truth: pd.DataFrame, score: Score) -> Parameters:
    """{class: what is added to its log-probability before the likeliest is taken}: rare ones get their due in
    macro F1.
    """
    logs, zeros = log(by_row), np.zeros(by_row.shape[1])
    offsets = climb(lambda offsets: score(like(by_row, softmax(logs + offsets))), zeros, zeros + 1)
    return dict(zip(by_row.columns, offsets.round(5).tolist()))


def apply_offsets(offsets: Parameters, by_row: pd.DataFrame) -> pd.DataFrame:
    return like(by_row, softmax(log(by_row) + [offsets[name] for name in by_row]))


def log(by_row: pd.DataFrame) -> np.ndarray:
    return np.log(by_row.to_numpy(dtype=np.float64).clip(1e-12))


def fit_cut_points(by_row: pd.DataFrame, truth: pd.DataFrame, score: Score) -> Parameters:
    """{levels: the values that occur, cuts: the predictions between two of them}. The search begins half way
    between levels, or where each level is predicted as often as it is true, whichever is better. Raises
    ValueError for values that are no grades.
    """
    values = by_row.iloc[:, 0].to_numpy(dtype=np.float64)
    true = truth.iloc[:, 0].to_numpy(dtype=np.float64)
    levels, counts = np.unique(true, return_counts=True)
    if len(levels) > 30:
        raise ValueError(
            f"decode=cut_points rounds to grades, and the truth has {len(levels)} values: set decode=plain"
        )

    def named(cuts: np.ndarray) -> Parameters:
        return {"levels": levels.tolist(), "cuts": np.sort(cuts).round(5).tolist()}

    def score_of(cuts: np.ndarray) -> float:
        return score(apply_cut_points(named(cuts), by_row))

    starts = [(levels[1:] + levels[:-1]) / 2, np.quantile(values, counts.cumsum()[:-1] / len(values))]
    return named(climb(score_of, max(starts, key=score_of), np.full(len(levels) - 1, values.std() / 4)))


def apply_cut_points(parameters: Parameters, by_row: pd.DataFrame) -> pd.DataFrame:
    return like(by_row, np.array(parameters["levels"])[np.digitize(by_row, parameters["cuts"])])


def fit_clip(by_row: pd.DataFrame, truth: pd.DataFrame, score: Score) -> Parameters:
    """{least: the probability below which none is believed}: one sure and wrong row can cost a log loss more
    than all the others.
    """
    bounds = (0, *np.geomspace(1e-6, 0.45 * 2 / max(by_row.shape[1], 2), 60))
    candidates = [{"least": float(f"{bound:.4g}")} for bound in bounds]
    return max(candidates, key=lambda parameters: score(apply_clip(parameters, by_row)))


def apply_clip(parameters: Parameters, by_row: pd.DataFrame) -> pd.DataFrame:
    values, least = by_row.to_numpy(dtype=np.float64), parameters["least"]
    if not least:
        return by_row
    is_single = values.shape[1] > 1 and np.allclose(values.sum(axis=1), 1, atol=1e-3)
    values = values.clip(least, 1 - least)
    return like(by_row, values / values.sum(axis=1, keepdims=True) if is_single else values)


# Add yours: two functions above, a word here. auto is plain: a decoder has to be asked for, since on few
# images it often loses, and since the best of several nested estimates would flatter again.
DECODERS = {
    "thresholds": Decoder(
        fit_thresholds, apply_thresholds, lambda c: c.task == "multilabel", "several labels per row"
    ),
    "offsets": Decoder(
        fit_offsets, apply_offsets, lambda c: c.task in ("multiclass", "binary"), "one class of several"
    ),
    "cut_points": Decoder(
        fit_cut_points,
        apply_cut_points,
        lambda c: len(c.outputs) == 1 and TASKS[c.task].kind == "value",
        "one number per row",
    ),
    "clip": Decoder(fit_clip, apply_clip, lambda c: TASKS[c.task].kind == "probability", "probabilities"),
}


def choose(name: str, competition: Competition) -> Decoder | None:
    """The decoder of that name, None for auto and plain. Raises ValueError for one that is unknown or does
    not fit.
    """
    if name in ("auto", "plain"):
        return None
    if name not in DECODERS:
        raise ValueError(
            f"decode={name} is unknown; choose from auto, plain, {', '.join(DECODERS)}, or add it in"
            " src/competition/decoders.py"
        )
    if not DECODERS[name].fits(competition):
        fitting = [other for other, decoder in DECODERS.items() if decoder.fits(competition)]
        raise ValueError(
            f"decode={name} is for {DECODERS[name].needs}, this is task={competition.task!r}: choose from"
            f" plain, {', '.join(fitting)}"
        )
    return DECODERS[name]


def fit(decoder: Decoder, competition: Competition, table: pd.DataFrame, oof: pd.DataFrame) -> Decoded:
    """Fit on the out-of-fold predictions of folds.csv's images, and ask each fold whether what was fitted on
    the others helps it.

    The guard: plain predictions are kept unless the nested score beats theirs. The better of two scores
    flatters, so the plain one stays the run's score until the gain is more than chance (`gain.is_gain`). Rows
    of one fold together, since their groups are.
    """
    table, by_row = scoring.pooled(competition, table, oof)
    truth = scoring.truth(competition, table).loc[by_row.index]
    fold = table.drop_duplicates("row").set_index("row")["fold"].loc[by_row.index]
    sign = -1 if competition.lower_is_better else 1

    def scorer(rows: pd.Index) -> Score:
        return scoring.scorer(competition, table[table["row"].isin(rows)], rows)

    def fit_on(rows: pd.Index) -> Parameters:
        score = scorer(rows)
        return decoder.fit(by_row.loc[rows], truth.loc[rows], lambda frame: sign * score(frame))

    parameters = fit_on(by_row.index)
    parts = {}
    for k in sorted(fold.unique()):
        others = fit_on(by_row.index[fold != k])
        parts[k] = decoder.apply(others, by_row[fold == k])
    nested = pd.concat(parts.values()).loc[by_row.index]
    score = scorer(by_row.index)
    plain, nested_score = score(by_row), score(nested)
    helps = sign * (nested_score - plain) > 1e-6 * abs(plain)  # by more than rounding
    return Decoded(
        parameters=parameters if helps else {},
        plain=plain,
        in_sample=score(decoder.apply(parameters, by_row)),
        nested=nested_score,
        folds={str(k): scorer(part.index)(part) for k, part in parts.items()},
        gain=paired.fitted_difference(competition, table, by_row, nested),
    )


def apply(note: dict, by_row: pd.DataFrame) -> pd.DataFrame:
    """Predictions decoded as a submission's json says."""
    decode = note.get("decode", {})
    if not decode.get("parameters"):
        return by_row
    return DECODERS[decode["name"]].apply(decode["parameters"], by_row)
