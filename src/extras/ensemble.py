"""Blend finished runs into one more run.  runs/<a>, runs/<b> ... -> runs/<NAME>/{oof,test}.parquet,
score.json; then submit as for any other

The plain mean is kept unless a fitted blend gains more than its error, over images and over folds. A fitted
one's estimate flatters a little even so, and score.json says `optimistic`: it may be the best of several, and
the predictions that it was fitted on come from models that had seen the other folds' labels
(tests/simulations/test_simulated_ensemble.py has by how much).

Run: python -m src.extras.ensemble runs/<name> <run> <run> ... [--how auto]        make ensemble RUNS="a b" NAME=ab
"""

import argparse
import shutil
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from src import competitions, config
from src.competition import paired, scoring, tables
from src.competition.facts import Competition
from src.competition.metrics import METRICS, READS_ORDER
from src.competition.paired import Difference
from src.data.batches import ExtraColumns
from src.evaluate import summary
from src.run import configure, predictions, process, provenance
from src.run.files import atomic, file_sha, read_json, sha256, write_json
from src.run.paths import RunPaths, check_run_name

ROUNDS = 40  # of the greedy selection: weights in steps of a fortieth
Score = Callable[[pd.DataFrame, pd.DataFrame], float]  # of (truth table, predictions), higher is better
Join = Callable[[list[pd.DataFrame]], pd.DataFrame]


# Ways to blend: (truth table, members' oof, score) -> a function that joins the members' predictions of any
# images


def mean(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> Join:
    return predictions.mean


def rank(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> Join:
    return predictions.rank_mean


def greedy(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> Join:
    return partial(weighted, weights=select(table, members, score))


def stack(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> Join:
    """Logistic regression on the members' log-odds. Wolpert 1992."""
    from sklearn.linear_model import LogisticRegression

    labels = table.set_index("id")["__label__"]
    model = LogisticRegression(C=0.1, max_iter=500).fit(log_odds(members), labels.loc[members[0].index])
    outputs = list(members[0].columns)

    def join(others: list[pd.DataFrame]) -> pd.DataFrame:
        found = pd.DataFrame(
            model.predict_proba(log_odds(others)), index=others[0].index, columns=model.classes_
        )
        return found.reindex(columns=outputs, fill_value=0).astype(np.float32)

    return join


def boost(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> Join:
    """Gradient boosted trees on the members' predictions and, the last member, the extra columns. Friedman
    2001, doi:10.1214/aos/1013203451.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    labels, outputs = table.set_index("id")["__label__"], list(members[0].columns)
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.08, max_leaf_nodes=8, random_state=0)
    model.fit(np.concatenate(members, axis=1), labels.loc[members[0].index])

    def join(others: list[pd.DataFrame]) -> pd.DataFrame:
        found = pd.DataFrame(
            model.predict_proba(np.concatenate(others, axis=1)), index=others[0].index, columns=model.classes_
        )
        return found.reindex(columns=outputs, fill_value=0).astype(np.float32)

    return join


# add yours: a function above, a word here
BLENDS = {"mean": mean, "rank": rank, "greedy": greedy, "stack": stack, "boost": boost}
UNFITTED = {"mean", "rank"}


class Choice(NamedTuple):
    """What each way gives where it was not fitted, and which one is taken."""

    name: str
    frames: dict[str, pd.DataFrame]
    scores: dict[str, float]  # as the metric gives them
    gains: dict[str, Difference]  # over the plain mean


def log_odds(members: list[pd.DataFrame]) -> np.ndarray:
    probs = np.concatenate([m.to_numpy(dtype=np.float64) for m in members], axis=1).clip(1e-5, 1 - 1e-5)
    return np.log(probs / (1 - probs))


def weighted(members: list[pd.DataFrame], weights: np.ndarray) -> pd.DataFrame:
    values = sum(member.to_numpy(dtype=np.float64) * weight for member, weight in zip(members, weights))
    return pd.DataFrame(values.astype(np.float32), members[0].index, members[0].columns)


def select(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> np.ndarray:
    """Weights by adding, again and again, the member that helps most, with replacement. Caruana et al. 2004,
    doi:10.1145/1015330.1015432.
    """
    counts, best, best_counts = np.zeros(len(members)), -np.inf, np.zeros(len(members))
    for size in range(1, ROUNDS + 1):
        tried = [score(table, weighted(members, (counts + one) / size)) for one in np.eye(len(members))]
        counts[int(np.argmax(tried))] += 1
        if max(tried) > best + 1e-9:
            best, best_counts = max(tried), counts.copy()
    return best_counts / best_counts.sum()


def nested(
    table: pd.DataFrame, members: list[pd.DataFrame], fit: Callable[..., Join], score: Score
) -> pd.DataFrame:
    """Each fold joined by what was fitted on the other folds: predictions whose score is no flattery."""
    parts = []
    for k in sorted(table["fold"].unique()):
        inside, outside = table.loc[table["fold"] != k], table.loc[table["fold"] == k, "id"]
        join = fit(inside, [m.loc[inside["id"]] for m in members], score)
        parts.append(join([m.loc[outside] for m in members]))
    return predictions.join(parts)


def ensemble(paths: RunPaths, names: list[str], how: str = "auto") -> dict:
    """Blend, score and write the run; returns the score. Raises ValueError for members that can't be joined."""
    members = [RunPaths(paths.root.parent / name) for name in names]
    settings = check_members(paths, members)
    competition = competitions.load(settings.comp, settings.inputs)
    table = tables.read_folds(members[0].folds)
    table = table[table["fold"] >= 0].reset_index(drop=True)
    table["__label__"] = table[competition.targets[0]]
    sign = -1 if competition.lower_is_better else 1

    def score(part: pd.DataFrame, frame: pd.DataFrame) -> float:
        return sign * scoring.score(competition, part.drop(columns="__label__"), frame)

    oofs, tests = (
        predictions.aligned(predictions.read(m.scored()[0]) for m in members),
        [predictions.read_test(m) for m in members],
    )
    say_members(competition, names, members, oofs)
    same_folds = len({read_json(m.score)["fold_hash"] for m in members}) == 1
    ways, extra = (
        ways_for(how, competition, same_folds),
        ExtraColumns.fit(table, competition.features, np.ones(len(table), bool)),
    )

    def inputs(way: str, frames: list[pd.DataFrame], rows: pd.DataFrame) -> list[pd.DataFrame]:
        return (
            [*frames, predictions.make(rows["id"], extra.encode(rows), map(str, range(extra.size)))]
            if way == "boost"
            else frames
        )

    choice = choose(competition, table, {way: inputs(way, oofs, table) for way in ways}, score, how)
    join = BLENDS[choice.name](table, inputs(choice.name, oofs, table), score)
    test = join(
        inputs(choice.name, predictions.aligned(tests), tables.make_test(settings.folder, competition))
    )
    weights = join.keywords["weights"].tolist() if isinstance(join, partial) else None
    say_choice(choice, how, dict(zip(names, weights)) if weights else {})
    write_run(paths, settings, members, names, choice.name, weights)
    result = write_scores(paths, competition, table.drop(columns="__label__"), choice, test, members)
    print(
        f"OOF {result['metric']} {result['oof']:.4f}, spread of folds {result['spread']:.4f}"
        + (
            ": it flatters a little, see `optimistic` at the top of src/extras/ensemble.py"
            if result["optimistic"]
            else ""
        )
    )
    return result


def choose(
    competition: Competition,
    table: pd.DataFrame,
    members: dict[str, list[pd.DataFrame]],
    score: Score,
    how: str = "auto",
) -> Choice:
    """The way that was asked for; with auto the plain mean, unless something gains more than its error: then
    what gains most. members: by way.
    """
    plain = table.drop(columns="__label__")
    frames = {way: nested(table, members[way], BLENDS[way], score) for way in members}
    by_row = {way: scoring.pooled(competition, plain, frame)[1] for way, frame in frames.items()}
    scorer = scoring.scorer(competition, plain, by_row["mean"].index)
    gains = {
        way: paired.fitted_difference(competition, plain, by_row["mean"], frame)
        for way, frame in by_row.items()
        if way != "mean"
    }
    sure = {way: difference.gain for way, difference in gains.items() if difference.is_gain}
    name = how if how != "auto" else max(sure, key=lambda way: sure[way], default="mean")
    return Choice(name, frames, {way: scorer(frame) for way, frame in by_row.items()}, gains)


def say_choice(choice: Choice, how: str, weights: dict[str, float]) -> None:
    for way, value in choice.scores.items():
        fitted = "" if way in UNFITTED else ", each fold joined by what was fitted on the others"
        gain = (
            f"  {choice.gains[way].gain:+.4f} +- {choice.gains[way].margin:.4f} over the mean{fitted}"
            if way in choice.gains
            else ""
        )
        print(f"  {way:8} {value:.4f}{gain}")
    reason = ", as asked for" if how != "auto" else ""
    if how == "auto" and choice.name == "mean" and choice.gains:
        reason = ", since nothing gains more than chance would (95 %, over images and over folds)"
    print(f"chosen: {choice.name}{reason}" + (f", weights {weights}" if weights else ""))


def ways_for(how: str, competition: Competition, same_folds: bool) -> list[str]:
    """What is tried. Fitting needs the same folds for all members, or it would see what it predicts."""
    has_labels = competition.task in ("multiclass", "binary")
    fitted = (
        ["greedy"]
        + ["stack"] * has_labels
        + ["boost"] * (has_labels and bool(competition.features or how == "boost"))
    )
    if how == "auto":
        if not same_folds:
            print(
                "warning: the members have differing folds: only the plain mean is tried, what is fitted"
                " would see what it predicts",
                file=sys.stderr,
            )
        return ["mean"] + (fitted if same_folds else [])
    if how in fitted and not same_folds:
        raise ValueError(
            f"how={how} is fitted, and the members have differing fold hashes: train them with the same"
            " fold_seed, folds and dedupe"
        )
    if how not in BLENDS:
        raise ValueError(f"how={how} is unknown; choose from auto, {', '.join(BLENDS)}")
    if how == "rank" and (
        competition.answer not in ("probability", "probabilities", "value")
        or competition.metric_name in METRICS
        and competition.metric not in READS_ORDER
    ):
        raise ValueError(
            f"how=rank keeps only the order of the rows, column by column, and {competition.metric_name} of"
            f" {competition.answer} reads more: choose from auto, mean, greedy"
        )
    return list(dict.fromkeys(["mean", how]))


def check_members(paths: RunPaths, members: list[RunPaths]) -> config.Settings:
    """The settings of the first member, if all can be joined under this name. Raises ValueError."""
    unfinished = [m.name for m in members if not m.score.exists() or not m.test.exists()]
    if unfinished or len(members) < 2:
        raise ValueError(
            f"RUNS must name two or more finished runs; not finished: {', '.join(unfinished) or 'none'};"
            " finished are "
            + (", ".join(sorted(p.parent.name for p in paths.root.parent.glob("*/score.json"))) or "none")
        )
    if paths.config.exists() and "ensemble" not in read_json(paths.config):
        raise ValueError(f"{paths.root} is a training run: choose another NAME")
    comps = {configure.load(m.config).comp for m in members}
    if len(comps) > 1:
        raise ValueError(f"the members belong to differing competitions: {', '.join(sorted(comps))}")
    return configure.load(members[0].config)


def say_members(
    competition: Competition, names: list[str], members: list[RunPaths], oofs: list[pd.DataFrame]
) -> None:
    """Each member's score, and how alike their errors are: members that differ help each other."""
    flat = np.stack([m.to_numpy(dtype=np.float64).ravel() for m in oofs])
    alike = np.corrcoef(flat)
    width = max(map(len, names))
    print(f"{'member':{width}}  {competition.metric_name:>9}  correlation of out-of-fold predictions")
    for name, member, row in zip(names, members, alike):
        print(
            f"{name:{width}}  {member.scored()[1]['oof']:9.4f}  {' '.join(f'{value:.3f}' for value in row)}"
        )


def write_run(
    paths: RunPaths,
    settings: config.Settings,
    members: list[RunPaths],
    names: list[str],
    how: str,
    weights: list[float] | None,
) -> None:
    for name in ("competition", "folds"):
        with atomic(getattr(paths, name)) as part:
            shutil.copyfile(getattr(members[0], name), part)
    saved = read_json(members[0].config) | {
        "exp": "ensemble",
        "set": "",
        "ensemble": {"runs": names, "how": how, "weights": weights},
    }
    write_json(saved, paths.config)


def write_scores(
    paths: RunPaths,
    competition: Competition,
    table: pd.DataFrame,
    choice: Choice,
    test: pd.DataFrame,
    members: list[RunPaths],
) -> dict:
    oof = choice.frames[choice.name]
    with atomic(paths.oof) as part:
        predictions.write(predictions.check_ids(oof, table["id"], "oof"), part)
        sha = file_sha(part)
    of_members = [m.scored()[1] for m in members]
    result = {
        "metric": competition.metric_name,
        "lower_is_better": competition.lower_is_better,
        **summary(competition, table, oof),
        "tried": choice.scores,
        "gains": {way: {"gain": gain.gain, "error_95": gain.margin} for way, gain in choice.gains.items()},
        "optimistic": choice.name not in UNFITTED or any(s.get("optimistic", False) for s in of_members),
        "sha256": sha,
        "recipe": sha256([s["recipe"] for s in of_members]),
        "fold_hash": of_members[0]["fold_hash"],
        "commit": provenance.commit(),
        "members": {m.name: s["oof"] for m, s in zip(members, of_members)},
    }
    write_json(result, paths.score)
    models = {
        m.name: {"recipe": s["recipe"], "sha256": file_sha(m.test)} for m, s in zip(members, of_members)
    }
    predictions.write_test(test, paths, models)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.extras.ensemble", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("members", nargs="*")
    parser.add_argument("--how", default="auto")
    given = parser.parse_args()
    check_run_name(given.run.name, "NAME")
    ensemble(RunPaths(given.run), given.members, given.how)


if __name__ == "__main__":
    # a stack need not be the best one
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")
    process.main(main)
