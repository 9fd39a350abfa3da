"""Join the folds' held-out predictions and score them.  fold<k>/{done.json, valid.parquet,
valid_epochs.parquet}, folds.csv -> oof.parquet, score.json
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from src.competition import scoring
from src.competition.facts import Competition
from src.competition.metrics import READS_ORDER
from src.data.recipe import differences, scoring_code
from src.data.run import Run
from src.data.scores import over_folds, summary
from src.run import hashing, predictions, provenance, reuse
from src.run.errors import warn
from src.run.files import atomic, file_sha, read_json, write_json, write_text
from src.run.paths import RunPaths


def evaluate(run: Run, table: pd.DataFrame) -> dict:
    """Write oof.parquet and, last of all, score.json; returns the score. Raises ValueError for images without
    prediction or mixed recipes.
    """
    paths, competition = run.paths, run.competition
    held_out = table[table["fold"] >= 0]
    numbers = sorted(held_out["fold"].unique())
    done = {k: read_json(paths.fold(k).done) for k in numbers}
    check_alike(paths, done)
    for k in numbers:
        reuse.check_fold(paths.fold(k), "valid.parquet", "valid_epochs.parquet")
    oof = predictions.join(predictions.read(paths.fold(k).valid) for k in numbers)
    predictions.check_ids(oof, held_out["id"], "oof")  # each image once, or nothing is scored
    first = done[numbers[0]]
    score = {
        "metric": competition.metric_name,
        "lower_is_better": competition.lower_is_better,
        **summary(competition, held_out, oof),
        "epochs": epoch_curve(competition, held_out, read_epochs(paths, numbers)),
        "optimistic": run.config.patience > 0,
        **{name: first[name] for name in ("recipe", "fold_hash", "weights_hash", "machine")},
        "commit": provenance.commit(),
        "code": scoring_code(competition),
        "versions": provenance.versions(),
        **{name: {str(k): done[k][name] for k in numbers} for name in ("seconds", "memory", "batch_size")},
    }
    with atomic(paths.oof) as part:
        predictions.write(oof, part)
        score["sha256"] = file_sha(part)
    write_text(provenance.diff(), paths.diff)
    write_json(score, paths.score)
    return score


def check_alike(paths: RunPaths, done: dict[int, dict]) -> None:
    """Raises ValueError for folds of differing recipe or code, which can't be scored together; differing
    versions of packages are a warning.
    """
    first, *others = done
    for k in others:
        reason = ""
        if changes := differences(done[first], done[k]):
            reason = f"recipes, {'; '.join(changes)}"
        elif edits := hashing.changes(done[first]["code"], done[k]["code"]):
            reason = f"code, {hashing.few(edits)}"
        if reason:
            raise ValueError(
                f"{paths.root}: folds {first} and {k} were trained by differing {reason}: make retrain"
                f" RUN={paths.name}"
            )
        if done[first]["versions"] != done[k]["versions"]:
            warn(f"folds {first} and {k} were trained by differing versions of the packages")
        precisions = [done[number].get("precision", "") for number in (first, k)]
        if all(precisions) and precisions[0] != precisions[1]:
            warn(f"folds {first} and {k} were trained with differing precision: {' and '.join(precisions)}")


def read_epochs(paths: RunPaths, numbers: list[int]) -> Iterator[tuple[int, pd.DataFrame]]:
    """(fold, its held-out predictions after each epoch, column `epoch`), one fold in memory at a time."""
    for k in numbers:
        yield k, pd.read_parquet(paths.fold(k).valid_epochs)


def epoch_curve(
    competition: Competition, held_out: pd.DataFrame, epochs: Iterable[tuple[int, pd.DataFrame]]
) -> dict:
    """The score of each fold after each epoch, and what choosing an epoch would bring: jointly for all folds,
    or (optimistically) per fold.
    """
    per_fold = {}
    for k, frame in epochs:
        score_of = scoring.score_of(competition, held_out[held_out["fold"] == k])
        per_fold[str(k)] = [
            score_of(one.drop(columns="epoch")) for _, one in frame.groupby("epoch", sort=True)
        ]
    length = min(map(len, per_fold.values()))  # early stopping may end folds at differing epochs
    scores = np.array([fold[:length] for fold in per_fold.values()])  # (K, E)
    has_score = ~np.isnan(scores).any(axis=1)
    scores = scores[has_score] if has_score.any() else np.full((1, length), np.nan)
    better = scores * (-1 if competition.lower_is_better else 1)
    mean = better.mean(axis=0)  # (E,)
    best = int(mean.argmax()) if has_score.any() else length - 1
    last = better[:, -1].mean()
    return {
        "scores": per_fold,
        **over_folds(scores),
        "joint_best": best + 1,
        "joint_gain": float(mean[best] - last),
        "per_fold_optimism": float(better.max(axis=1).mean() - last),
    }


def score_lines(score: dict) -> str:
    """The score in three lines, for the terminal."""
    metric, epochs = score["metric"], score["epochs"]
    folds = "  ".join(f"{k}: {value:.4f}" for k, value in score["folds"].items())
    also = ", ".join(f"{name} {value:.4f}" for name, value in score["also"].items())
    mean = f"mean of folds {score['mean']:.4f} +- {score['spread']:.4f}"
    best = f"the last of {len(epochs['mean'])} is the best for all folds together"
    if epochs["joint_gain"] > 0:
        best = (
            f"{epochs['joint_best']} would be best for all folds together ({epochs['joint_gain']:+.4f} over"
            " the last; the best of several, so on noise too it is above 0 in nine runs of ten)"
        )
    lines = [
        f"folds  {folds}",
        f"OOF {metric} {score['oof']:.4f}   {mean}   ({also})",
        f"epochs: {best}; picking each fold's own best would flatter by {epochs['per_fold_optimism']:.4f}",
    ]
    if unscored := [k for k, value in score["folds"].items() if np.isnan(value)]:
        lines.append(
            f"folds without a score ({metric} is NaN for their held-out images): {', '.join(unscored)}; the"
            " means are of the others"
        )
    if metric in READS_ORDER:
        lines.append(
            f"the OOF {metric} ranks the images of all folds in one list; where the folds' models differ in"
            " how sure they are it lies below the mean of folds, which is nearer to what one model gets"
        )
    return "\n".join(lines)
