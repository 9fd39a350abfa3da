"""Blend finished runs into one more run.  runs/<a>, runs/<b> ... -> runs/<NAME>/{oof,test}.parquet, score.json; then submit as for any other

Run: python -m src.ensemble runs/<name> <run> <run> ... [--how auto]        make ensemble RUNS="a b" NAME=ab
"""
import argparse
import shutil
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from src import competitions, config, predictions, runs
from src.collect import plain, summary
from src.competitions import Competition
from src.data import tables
from src.data.batches import ExtraColumns
from src.runs import RunPaths

ROUNDS = 40         # of the greedy selection: weights in steps of a fortieth
Score = Callable[[pd.DataFrame, pd.DataFrame], float]       # of (truth table, predictions), higher is better
Join = Callable[[list[pd.DataFrame]], pd.DataFrame]


# Ways to blend: (truth table, members' oof, score) -> a function that joins the members' predictions of any images

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
        found = pd.DataFrame(model.predict_proba(log_odds(others)), index=others[0].index, columns=model.classes_)
        return found.reindex(columns=outputs, fill_value=0).astype(np.float32)

    return join


def boost(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> Join:
    """Gradient boosted trees on the members' predictions and, the last member, the extra columns. Friedman 2001, doi:10.1214/aos/1013203451."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    labels, outputs = table.set_index("id")["__label__"], list(members[0].columns)
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.08, max_leaf_nodes=8, random_state=0)
    model.fit(np.concatenate(members, axis=1), labels.loc[members[0].index])

    def join(others: list[pd.DataFrame]) -> pd.DataFrame:
        found = pd.DataFrame(model.predict_proba(np.concatenate(others, axis=1)), index=others[0].index, columns=model.classes_)
        return found.reindex(columns=outputs, fill_value=0).astype(np.float32)

    return join


BLENDS = {"mean": mean, "rank": rank, "greedy": greedy, "stack": stack, "boost": boost}     # add yours: a function above, a word here


def log_odds(members: list[pd.DataFrame]) -> np.ndarray:
    probs = np.concatenate([m.to_numpy(dtype=np.float64) for m in members], axis=1).clip(1e-5, 1 - 1e-5)
    return np.log(probs / (1 - probs))


def weighted(members: list[pd.DataFrame], weights: np.ndarray) -> pd.DataFrame:
    return sum(m.astype(np.float64) * w for m, w in zip(members, weights)).astype(np.float32)


def select(table: pd.DataFrame, members: list[pd.DataFrame], score: Score) -> np.ndarray:
    """Weights by adding, again and again, the member that helps most, with replacement. Caruana et al. 2004, doi:10.1145/1015330.1015432."""
    counts, best, best_counts = np.zeros(len(members)), -np.inf, np.zeros(len(members))
    for size in range(1, ROUNDS + 1):
        tried = [score(table, weighted(members, (counts + one) / size)) for one in np.eye(len(members))]
        counts[int(np.argmax(tried))] += 1
        if max(tried) > best + 1e-9:
            best, best_counts = max(tried), counts.copy()
    return best_counts / best_counts.sum()


def nested(table: pd.DataFrame, members: list[pd.DataFrame], fit: Callable[..., Join], score: Score) -> pd.DataFrame:
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
        return sign * competition.score(part.drop(columns="__label__"), frame)

    oofs, tests = predictions.aligned(predictions.read(m.scored()[0]) for m in members), [predictions.read_test(m) for m in members]
    say_members(competition, names, members, oofs)
    same_folds = len({runs.read_json(m.score)["fold_hash"] for m in members}) == 1
    ways, extra = ways_for(how, competition, same_folds), ExtraColumns.fit(table, competition.features, np.ones(len(table), bool))

    def given(way: str, frames: list[pd.DataFrame], rows: pd.DataFrame) -> list[pd.DataFrame]:
        return [*frames, predictions.make(rows["id"], extra.encode(rows), map(str, range(extra.size)))] if way == "boost" else frames

    found = {way: nested(table, given(way, oofs, table), BLENDS[way], score) for way in ways}
    scores = {way: score(table, frame) for way, frame in found.items()}
    for way, value in scores.items():
        print(f"  {way:8} {sign * value:.4f}" + ("" if way in ("mean", "rank") else "  (each fold by weights fitted on the others)"))
    chosen = max(scores, key=lambda way: (scores[way], way == "mean"))       # the plain mean is kept unless something beats it out of sample
    join = BLENDS[chosen](table, given(chosen, oofs, table), score)
    test = join(given(chosen, predictions.aligned(tests), competition.test_table(settings.folder)))
    weights = join.keywords["weights"].tolist() if isinstance(join, partial) else None
    print(f"chosen: {chosen}" + (f", weights {dict(zip(names, weights))}" if weights else ""))
    write_run(paths, settings, members, names, chosen, weights)
    tried = {way: sign * value for way, value in scores.items()}
    result = write_scores(paths, competition, table.drop(columns="__label__"), found[chosen], test, members, tried)
    print(f"OOF {result['metric']} {result['oof']:.4f}, spread of folds {result['spread']:.4f}")
    return result


def ways_for(how: str, competition: Competition, same_folds: bool) -> list[str]:
    """What is tried. Fitting needs the same folds for all members, or it would see what it predicts."""
    has_labels = competition.task in ("multiclass", "binary")
    fitted = ["greedy"] + ["stack"] * has_labels + ["boost"] * (has_labels and bool(competition.features or how == "boost"))
    if how == "auto":
        if not same_folds:
            print("warning: the members have differing folds: only the plain mean is safe, and its score flatters a little", file=sys.stderr)
        return ["mean"] + (fitted if same_folds else [])
    if how in fitted and not same_folds:
        raise ValueError(f"how={how} is fitted, and the members have differing fold hashes: train them with the same fold_seed, folds and dedupe")
    if how not in BLENDS:
        raise ValueError(f"how={how} is unknown; choose from auto, {', '.join(BLENDS)}")
    return [how]


def check_members(paths: RunPaths, members: list[RunPaths]) -> config.Settings:
    """The settings of the first member, if all can be joined under this name. Raises ValueError."""
    unfinished = [m.name for m in members if not m.score.exists() or not m.test.exists()]
    if unfinished or len(members) < 2:
        raise ValueError(f"RUNS must name two or more finished runs; not finished: {', '.join(unfinished) or 'none'}; finished are "
                         + (", ".join(sorted(p.parent.name for p in paths.root.parent.glob("*/score.json"))) or "none"))
    if paths.config.exists() and "ensemble" not in runs.read_json(paths.config):
        raise ValueError(f"{paths.root} is a training run: choose another NAME")
    comps = {config.load(m.config).comp for m in members}
    if len(comps) > 1:
        raise ValueError(f"the members belong to differing competitions: {', '.join(sorted(comps))}")
    return config.load(members[0].config)


def say_members(competition: Competition, names: list[str], members: list[RunPaths], oofs: list[pd.DataFrame]) -> None:
    """Each member's score, and how alike their errors are: members that differ help each other."""
    flat = np.stack([m.to_numpy(dtype=np.float64).ravel() for m in oofs])
    alike = np.corrcoef(flat)
    width = max(map(len, names))
    print(f"{'member':{width}}  {competition.metric_name:>9}  correlation of out-of-fold predictions")
    for name, member, row in zip(names, members, alike):
        print(f"{name:{width}}  {member.scored()[1]['oof']:9.4f}  {' '.join(f'{value:.3f}' for value in row)}")


def write_run(paths: RunPaths, settings: config.Settings, members: list[RunPaths], names: list[str], how: str, weights: list[float] | None) -> None:
    for name in ("competition", "folds"):
        with runs.atomic(getattr(paths, name)) as part:
            shutil.copyfile(getattr(members[0], name), part)
    saved = runs.read_json(members[0].config) | {"exp": "ensemble", "set": "", "ensemble": {"runs": names, "how": how, "weights": weights}}
    runs.write_json(saved, paths.config)


def write_scores(paths: RunPaths, competition: Competition, table: pd.DataFrame, oof: pd.DataFrame, test: pd.DataFrame, members: list[RunPaths],
                 tried: dict[str, float]) -> dict:
    with runs.atomic(paths.oof) as part:
        predictions.write(predictions.check_ids(oof, table["id"], "oof"), part)
        sha = runs.file_sha(part)
    given = [m.scored()[1] for m in members]
    result = plain({
        "metric": competition.metric_name, "lower_is_better": competition.lower_is_better, **summary(competition, table, oof), "tried": tried,
        "optimistic": False, "sha256": sha,
        "recipe": runs.sha256([s["recipe"] for s in given]), "fold_hash": given[0]["fold_hash"], "commit": runs.commit(),
        "members": {m.name: s["oof"] for m, s in zip(members, given)},
    })
    runs.write_json(result, paths.score)
    predictions.write_test(test, paths, {m.name: {"recipe": s["recipe"], "sha256": runs.file_sha(m.test)} for m, s in zip(members, given)})
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.ensemble", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("members", nargs="*")
    parser.add_argument("--how", default="auto")
    given = parser.parse_args()
    runs.check_run_name(given.run.name, "NAME")
    ensemble(RunPaths(given.run), given.members, given.how)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")        # a stack need not be the best one
    runs.main(main)
