"""Join the folds' held-out predictions and score them.  fold*/{done.json, valid, valid_epochs}, folds.csv ->
oof.parquet, score.json
"""

import sys

import numpy as np
import pandas as pd

from src.competition import scoring
from src.competition.facts import Competition
from src.competition.metrics import READS_ORDER
from src.config import Settings
from src.data import recipe
from src.run import hashing, predictions, provenance, reuse
from src.run.files import atomic, file_sha, read_json, write_json, write_text
from src.run.paths import RunPaths


def collect(competition: Competition, settings: Settings, paths: RunPaths, table: pd.DataFrame) -> dict:
    """Write oof.parquet and, last of all, score.json; returns the score. Raises ValueError for images without
    prediction or mixed recipes.
    """
    numbers = sorted(k for k in table["fold"].unique() if k >= 0)
    done = {k: read_json(paths.fold(k).done) for k in numbers}
    check_alike(paths, done)
    held_out = table[table["fold"] >= 0]
    for k in numbers:
        reuse.check_fold(paths.fold(k), "valid.parquet", "valid_epochs.parquet")
    oof = predictions.join(predictions.read(paths.fold(k).valid) for k in numbers)
    # each image once, or nothing is scored (FIELD B1)
    predictions.check_ids(oof, held_out["id"], "oof")
    score = {
        "metric": competition.metric_name,
        "lower_is_better": competition.lower_is_better,
        **summary(competition, held_out, oof),
        "epochs": curve(competition, paths, held_out, numbers),
        "optimistic": settings.config.patience > 0,
        "recipe": done[numbers[0]]["recipe"],
        "fold_hash": done[numbers[0]]["fold_hash"],
        "weights_hash": done[numbers[0]]["weights_hash"],
        "commit": provenance.commit(),
        "code": recipe.scoring_code(competition),
        "versions": provenance.versions(),
        "machine": done[numbers[0]]["machine"],
        **{key: {str(k): d[key] for k, d in done.items()} for key in ("seconds", "memory", "batch_size")},
    }
    with atomic(paths.oof) as part:
        predictions.write(oof, part)
        score["sha256"] = file_sha(part)
    write_text(provenance.diff(), paths.diff)
    write_json(score, paths.score)
    return score


def check_alike(paths: RunPaths, done: dict[int, dict]) -> None:
    """Raises ValueError for folds of differing recipe or code, which can't be scored together; differing
    versions are a warning.
    """
    first, *others = done
    for k in others:
        if found := recipe.differences(done[first], done[k]):
            raise ValueError(
                f"{paths.root}: folds {first} and {k} were trained by differing recipes, {'; '.join(found)}: "
                f"make retrain RUN={paths.name}"
            )
        if edits := hashing.changes(done[first]["code"], done[k]["code"]):
            raise ValueError(
                f"{paths.root}: folds {first} and {k} were trained by differing code, {', '.join(edits[:5])}:"
                f" make retrain RUN={paths.name}"
            )
        if done[first]["versions"] != done[k]["versions"]:
            print(
                f"warning: folds {first} and {k} were trained by differing versions of the packages",
                file=sys.stderr,
            )


def summary(competition: Competition, held_out: pd.DataFrame, oof: pd.DataFrame) -> dict:
    """The score of out-of-fold predictions: of all, and by fold."""
    per_fold = {
        str(k): scoring.score(competition, part, oof.loc[part["id"]]) for k, part in held_out.groupby("fold")
    }
    scores = np.array(list(per_fold.values()))
    return {
        "oof": scoring.score(competition, held_out, oof),
        "folds": per_fold,
        **over_folds(scores),
        "also": scoring.usual_scores(competition, held_out, oof),
    }


def over_folds(scores: np.ndarray) -> dict:
    """Mean and spread over the first axis, the folds: of those that have a score. A fold without positives
    has no ROC AUC, for one.
    """
    known = ~np.isnan(scores)
    number = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, scores, 0).sum(axis=0) / number
        square = np.where(known, (scores - mean) ** 2, 0).sum(axis=0)
        spread = np.where(number > 0, np.sqrt(square / np.maximum(number - 1, 1)), np.nan)
    return {"mean": mean.tolist(), "spread": spread.tolist()}


def curve(competition: Competition, paths: RunPaths, table: pd.DataFrame, numbers: list[int]) -> dict:
    """The score of each fold after each epoch, and what choosing an epoch would bring: jointly for all folds,
    or (optimistically) per fold.
    """
    per_fold = {
        str(k): epoch_scores(
            competition, table[table["fold"] == k], pd.read_parquet(paths.fold(k).valid_epochs)
        )
        for k in numbers
    }
    # early stopping may end folds at differing epochs
    length = min(len(s) for s in per_fold.values())
    scores = np.array([s[:length] for s in per_fold.values()])  # (K, E)
    has_score = ~np.isnan(scores).any(axis=1)
    scores = scores[has_score] if has_score.any() else np.full((1, length), np.nan)
    better = scores * (-1 if competition.lower_is_better else 1)
    joint = int(better.mean(axis=0).argmax()) if has_score.any() else length - 1
    return {
        "scores": per_fold,
        **over_folds(scores),
        "joint_best": joint + 1,
        "joint_gain": float(better.mean(axis=0)[joint] - better[:, -1].mean()),
        "per_fold_optimism": float(better.max(axis=1).mean() - better[:, -1].mean()),
    }


def epoch_scores(competition: Competition, table: pd.DataFrame, per_epoch: pd.DataFrame) -> list[float]:
    """The metric after each epoch of one fold; per_epoch: predictions with a column `epoch`."""
    score = scoring.score_of(competition, table)
    return [score(group.drop(columns="epoch")) for _, group in per_epoch.groupby("epoch", sort=True)]


def say(score: dict) -> str:
    """The score in three lines, for the terminal."""
    folds = "  ".join(f"{k}: {s:.4f}" for k, s in score["folds"].items())
    also = ", ".join(f"{name} {value:.4f}" for name, value in score["also"].items())
    epochs = score["epochs"]
    lost = [k for k, s in score["folds"].items() if s != s]
    note = ""
    if lost:
        note = (
            f"\nfolds without a score ({score['metric']} is NaN for their held-out images):"
            f" {', '.join(lost)}; the means are of the others"
        )
    if score["metric"] in READS_ORDER:
        note += (
            f"\nthe OOF {score['metric']} ranks the images of all folds in one list; where the folds' models"
            " differ in how sure they are it lies below the mean of folds, which is nearer to what one model"
            " gets"
        )
    gain = f"epochs: the last of {len(epochs['mean'])} is the best for all folds together"
    if epochs["joint_gain"] > 0:
        gain = (
            f"epochs: {epochs['joint_best']} would be best for all folds together"
            f" ({epochs['joint_gain']:+.4f} over the last; the best of several, so on noise too it is above 0"
            " in nine runs of ten)"
        )
    return (
        f"folds  {folds}\nOOF {score['metric']} {score['oof']:.4f}   mean of folds {score['mean']:.4f} +-"
        f" {score['spread']:.4f}   ({also})\n{gain}; picking each fold's own best would flatter by"
        f" {epochs['per_fold_optimism']:.4f}{note}"
    )
