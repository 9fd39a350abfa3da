"""The frame of predictions: indexed by `id`, one float32 column per class or target. Everything that averages
or joins goes through here, by id.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from src.run.files import Damaged, atomic, check_file, file_sha, read_json, write_json
from src.run.paths import FoldPaths, RunPaths


def make(ids: Iterable[str], values: np.ndarray, outputs: Iterable[str]) -> pd.DataFrame:
    """Predictions from an array (N, T) whose rows follow `ids` and whose columns follow `outputs`."""
    index = pd.Index(list(ids), name="id", dtype=object)
    return pd.DataFrame(np.asarray(values, dtype=np.float32), index=index, columns=list(outputs))


def check(
    predictions: pd.DataFrame, what: str = "predictions", *, kind: str = "", single_label: bool = False
) -> pd.DataFrame:
    """The same frame if it keeps its promise: no repeated id, finite, and rows that sum to 1 where one class
    is right. Raises ValueError.
    """
    ids, values = predictions.index, predictions.to_numpy()
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise ValueError(f"{what}: {len(repeated)} ids stand twice, the first is {repeated[0]!r}")
    bad = ids[~np.isfinite(values).all(axis=1)]
    if len(bad):
        raise ValueError(
            f"{what}: {len(bad)} rows are not finite, the first id is {bad[0]!r}; the training may have"
            " diverged: lower lr"
        )
    if kind == "probability" and single_label and len(ids):
        off = np.abs(values.sum(axis=1, dtype=np.float64) - 1).max()
        if off > 1e-4:  # float32 rounding over some thousand classes stays below
            raise ValueError(f"{what}: a row's probabilities miss 1 by {off:.3g}")
    return predictions


def check_ids(predictions: pd.DataFrame, ids: Iterable[str], what: str = "predictions") -> pd.DataFrame:
    """The same frame if it holds exactly `ids`, once each. Raises ValueError naming what is missing, unknown
    or repeated.
    """
    check(predictions, what)
    wanted, present = {*ids}, {*predictions.index}
    missing, unasked = sorted(wanted - present), sorted(present - wanted)
    if missing or unasked:
        raise ValueError(
            f"{what} must hold each of {len(wanted)} ids once: {len(missing)} missing {missing[:3]}, "
            f"{len(unasked)} not asked for {unasked[:3]}"
        )
    return predictions


def write(predictions: pd.DataFrame, path: Path) -> None:
    """Write the frame as parquet, sorted by id so that equal predictions are equal files; whole or not at all
    is the caller's `runs.atomic`.
    """
    predictions.sort_index(kind="stable").to_parquet(path, compression="zstd")


def read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise Damaged(path, str(error).splitlines()[0]) from error


def write_test(predictions: pd.DataFrame, paths: RunPaths, models: Mapping[str, Mapping[str, str]]) -> None:
    """The run's test predictions and then test.json, which says whose mean they are: {"fold0": {"recipe":
    ..., "sha256": ...}, ...}.
    """
    with atomic(paths.test) as part:
        write(predictions, part)
    write_json({"models": models, "sha256": file_sha(paths.test)}, paths.test_json)


def read_test(paths: RunPaths) -> pd.DataFrame:
    """The run's test predictions. Raises ValueError where they are not what was written, or not of all its
    models as they are now.
    """
    config = read_json(paths.config)
    is_ensemble = "ensemble" in config
    again = f"make train RUN={paths.name} FORCE=1"
    if is_ensemble:
        again = f"make ensemble NAME={paths.name} and its RUNS"
    missing = [path for path in (paths.score, paths.test, paths.test_json) if not path.exists()]
    if missing:
        raise ValueError(
            f"{missing[0]} is not there, and without it {paths.root} has no predictions by all its models:"
            f" {again}"
        )
    note = read_json(paths.test_json)
    check_file(paths.test, note["sha256"])
    if not is_ensemble:
        check_models(paths, config["config"].get("refit", 0), note["models"], again)
    elif {*config["ensemble"]["runs"]} != {*note["models"]}:
        raise ValueError(f"{paths.test} is not of the runs that {paths.config} names: {again}")
    return read(paths.test)


def check_models(paths: RunPaths, refit: int, models: dict[str, dict], again: str) -> None:
    """Raises ValueError where test.parquet is not the mean of what the models predict now."""
    score = read_json(paths.score)
    numbers = paths.predicting(refit) if refit else [int(k) for k in score["folds"]]
    now = {}
    for fold in map(paths.fold, numbers):
        now[fold.root.name] = read_json(fold.test_json)["sha256"] if fold.test_json.exists() else ""
    are_same = now == {name: model["sha256"] for name, model in models.items()}
    recipes = {model["recipe"] for model in models.values()}
    if not are_same or (not refit and recipes != {score["recipe"]}):
        raise ValueError(f"{paths.test} is not the mean of what {', '.join(now)} predict now: {again}")


def read_fold_test(fold: FoldPaths) -> pd.DataFrame:
    """One model's test predictions. Raises ValueError where there are none, or where they are not what was
    written.
    """
    if not fold.test.exists() or not fold.test_json.exists():
        raise ValueError(
            f"{fold.root} has no test predictions: make submit RUN={fold.root.parent.name}"
            f" FOLD={fold.root.name.removeprefix('fold')}"
        )
    return read(check_file(fold.test, read_json(fold.test_json)["sha256"]))


def join(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Predictions of differing images, one below the other; check_ids afterwards says whether every image is
    there once.
    """
    return pd.concat(list(parts)).sort_index(kind="stable")


def aligned(members: Iterable[pd.DataFrame]) -> list[pd.DataFrame]:
    """The members in the order of the first one's ids and columns. Raises ValueError when ids or columns
    differ.
    """
    first, *others = members
    for other in others:
        check_ids(other, first.index, "predictions to be averaged")
        if list(other.columns) != list(first.columns):
            raise ValueError(
                f"predictions to be averaged have differing columns: {list(first.columns)[:5]} and"
                f" {list(other.columns)[:5]}"
            )
    return [first, *(other.loc[first.index] for other in others)]


def mean(members: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The plain mean over views, folds, seeds or runs."""
    members = aligned(members)
    total = sum(member.astype(np.float64) for member in members)
    return total.div(len(members)).astype(np.float32)


def rank_mean(members: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The mean of each column's ranks, scaled to 0..1: for metrics that read only the order, such
    as ROC AUC.
    """
    ranks = [member.rank(axis=0).sub(1).div(max(len(member) - 1, 1)) for member in aligned(members)]
    return mean(ranks)


def pool(
    predictions: pd.DataFrame, rows: pd.Series, how: str | Callable[[pd.DataFrame], pd.Series] = "mean"
) -> pd.DataFrame:
    """Join the images of each row of the submission: predictions indexed by id -> indexed by row.

    rows: index id, value row. how: mean, max, or a function from one row's images (n, T) to a Series (T,).
    Raises ValueError for an id without a row.
    """
    if not predictions.index.equals(rows.index):
        lost = predictions.index.difference(rows.index)
        if len(lost):
            raise ValueError(f"{len(lost)} predicted ids belong to no row, the first is {lost[0]!r}")
    row_of = rows.loc[predictions.index].rename("row")
    if row_of.is_unique:  # one image per row: nothing to join, whatever `how` says
        return predictions.set_axis(pd.Index(row_of.to_numpy(), name="row"))
    grouped = predictions.groupby(row_of.to_numpy(), sort=True)
    pooled = grouped.apply(how) if callable(how) else grouped.agg(how)
    return pooled.rename_axis("row").astype(np.float32)
