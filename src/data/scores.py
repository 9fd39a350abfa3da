"""The score of out-of-fold predictions: of all, by fold, and by view."""

import numpy as np
import pandas as pd

from src.competition import scoring
from src.competition.facts import Competition
from src.data.run import Run
from src.run import predictions, reuse
from src.run.files import atomic, file_sha, read_json, write_json
from src.run.paths import RunPaths


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
    """Mean and spread (standard deviation) over the first axis, the folds: of those that have a score. A fold
    without positives has no ROC AUC, for one.
    """
    is_known = ~np.isnan(scores)
    number = is_known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(is_known, scores, 0).sum(axis=0) / number
        squares = np.where(is_known, (scores - mean) ** 2, 0).sum(axis=0)
        spread = np.where(number > 0, np.sqrt(squares / np.maximum(number - 1, 1)), np.nan)
    return {"mean": mean.tolist(), "spread": spread.tolist()}


def score_views(run: Run, table: pd.DataFrame, numbers: list[int]) -> tuple[dict, pd.DataFrame]:
    """The out-of-fold score of each view and of their mean, which is what the test images get;
    and that mean.
    """
    paths, competition = run.paths, run.competition
    held_out = table[table["fold"].isin(numbers)]
    for k in numbers:
        reuse.check_fold(paths.fold(k), paths.fold(k).valid.name)
    frames = {"plain": predictions.join(predictions.read(paths.fold(k).valid) for k in numbers)}
    by_view = predictions.join(pd.read_parquet(paths.fold(k).valid_views) for k in numbers)
    frames |= {str(view): frame.drop(columns="view") for view, frame in by_view.groupby("view", sort=False)}
    # with test_size the plain pictures are among the views, at that size
    averaged = [frame for view, frame in frames.items() if view != "plain" or not run.config.test_size]
    mean = predictions.check_ids(predictions.mean(averaged), held_out["id"], "oof_tta")
    of_view = {view: summary(competition, held_out, frame) for view, frame in frames.items()}
    whole, plain_view = summary(competition, held_out, mean), of_view["plain"]
    sign = -1 if competition.lower_is_better else 1
    score = {
        "tta": list(run.config.tta),  # as json has it: verify compares
        **({"test_size": run.config.test_size} if run.config.test_size else {}),
        "recipe": read_json(paths.fold(numbers[0]).done)["recipe"],
        "metric": competition.metric_name,
        **whole,
        "gain": sign * (whole["oof"] - plain_view["oof"]),
        "fold_gains": {k: sign * (value - plain_view["folds"][k]) for k, value in whole["folds"].items()},
        "views": {view: {"oof": one["oof"], "folds": one["folds"]} for view, one in of_view.items()},
    }
    return score, mean


def write_views(paths: RunPaths, score: dict, mean: pd.DataFrame) -> None:
    with atomic(paths.oof_tta) as part:
        predictions.write(mean, part)
        score = score | {"sha256": file_sha(part)}
    write_json(score, paths.tta)


def view_lines(score: dict) -> list[str]:
    """A line per view, and what their mean gains: positive is better, also where a low score is."""
    width = max(14, *map(len, score["views"]))
    gains = " ".join(f"{gain:+.4f}" for gain in score["fold_gains"].values())
    return [
        f"views at test time, OOF {score['metric']}",
        *(f"  {view:{width}} {one['oof']:.4f}" for view, one in score["views"].items()),
        f"  {'mean':{width}} {score['oof']:.4f}  ({score['gain']:+.4f}; by fold {gains})",
    ]
