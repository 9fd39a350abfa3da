"""Blend finished runs into one more run.  runs/<a>, runs/<b> ... -> runs/<NAME>/{oof,test}.parquet,
score.json; then submit as for any other

Run: python -m src ensemble runs/<name> <run> <run> ... [--how auto]        make ensemble RUNS="a b" NAME=ab

The plain mean is kept unless a fitted blend gains more than its error, over images and over folds. The score
of a fitted one is a little too good even so, and score.json says `optimistic`: it may be the best of several,
and the predictions that it was fitted on come from models that had seen the other folds' labels
(tests/simulations/test_simulated_ensemble.py measures by how much).
"""

import argparse
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from src import competitions
from src.competition import scoring, tables
from src.competition.facts import Competition
from src.config import Settings
from src.data.extra_columns import ExtraColumns
from src.data.scores import summary
from src.extras.ensemble.blends import BLENDS, LABEL, UNFITTED, Choice, Frames, choose, ways_for
from src.run import configure, predictions, provenance
from src.run.files import atomic, file_sha, read_json, sha256, write_json
from src.run.paths import RunPaths, check_run_name


def ensemble(paths: RunPaths, names: list[str], how: str = "auto") -> dict:
    """Blend, score and write the run; returns the score. ValueError for members that can't be joined."""
    members = [RunPaths(paths.root.parent / name) for name in names]
    settings = check_members(paths, members)
    competition = competitions.load(settings.comp, settings.inputs)
    folds = tables.read_folds(members[0].folds)
    folds = folds[folds["fold"] >= 0].reset_index(drop=True)
    table = folds.assign(**{LABEL: folds[competition.targets[0]]})
    sign = -1 if competition.lower_is_better else 1

    def score(part: pd.DataFrame, frame: pd.DataFrame) -> float:
        return sign * scoring.score(competition, part.drop(columns=LABEL), frame)

    oofs = predictions.aligned(predictions.read(m.scored()[0]) for m in members)
    print(members_table(competition, members, oofs))
    same_folds = len({read_json(m.score)["fold_hash"] for m in members}) == 1
    ways = ways_for(how, competition, same_folds)
    extra = ExtraColumns.fit(table, competition.features, np.ones(len(table), bool))

    def inputs(way: str, frames: Frames, rows: pd.DataFrame) -> Frames:
        if way != "boost":
            return frames
        return [*frames, predictions.make(rows["id"], extra.encode(rows), map(str, range(extra.size)))]

    choice = choose(competition, table, {way: inputs(way, oofs, table) for way in ways}, score, how)
    join = BLENDS[choice.name](table, inputs(choice.name, oofs, table), score)
    tests = predictions.aligned(predictions.read_test(m) for m in members)
    test = join(inputs(choice.name, tests, tables.make_test(settings.folder, competition)))
    weights = join.keywords["weights"].tolist() if isinstance(join, partial) else None
    print(choice_lines(choice, how, dict(zip(names, weights or []))))
    write_run(paths, members, {"runs": names, "how": choice.name, "weights": weights})
    result = write_scores(paths, competition, folds, choice, test, members)
    note = (
        ": a little too good, see `optimistic` at the top of src/extras/ensemble/command.py"
        if result["optimistic"]
        else ""
    )
    print(f"OOF {result['metric']} {result['oof']:.4f}, spread of folds {result['spread']:.4f}{note}")
    return result


def check_members(paths: RunPaths, members: list[RunPaths]) -> Settings:
    """The settings of the first member, if all can be joined under this name. Raises ValueError."""
    unfinished = [m.name for m in members if not m.score.exists() or not m.test.exists()]
    if unfinished or len(members) < 2:
        finished = sorted(score.parent.name for score in paths.root.parent.glob("*/score.json"))
        raise ValueError(
            f"RUNS must name two or more finished runs; not finished: {', '.join(unfinished) or 'none'};"
            f" finished are {', '.join(finished) or 'none'}"
        )
    if paths.config.exists() and "ensemble" not in read_json(paths.config):
        raise ValueError(f"{paths.root} is a training run: choose another NAME")
    settings = [configure.load(m.config) for m in members]
    comps = sorted({one.comp for one in settings})
    if len(comps) > 1:
        raise ValueError(f"the members belong to differing competitions: {', '.join(comps)}")
    return settings[0]


def members_table(competition: Competition, members: list[RunPaths], oofs: Frames) -> str:
    """Each member's score, and the correlations of predictions: members that differ help each other."""
    correlations = np.corrcoef([m.to_numpy(dtype=np.float64).ravel() for m in oofs])
    width = max(len(m.name) for m in members)
    lines = [f"{'member':{width}}  {competition.metric_name:>9}  correlation of out-of-fold predictions"]
    for member, row in zip(members, correlations):
        values = " ".join(f"{value:.3f}" for value in row)
        lines.append(f"{member.name:{width}}  {member.scored()[1]['oof']:9.4f}  {values}")
    return "\n".join(lines)


def choice_lines(choice: Choice, how: str, weights: dict[str, float]) -> str:
    """The score of each way, and why one is taken."""
    lines = []
    for way, value in choice.scores.items():
        lines.append(f"  {way:8} {value:.4f}")
        if way in choice.gains:
            gain = choice.gains[way]
            lines[-1] += f"  {gain.gain:+.4f} +- {gain.margin:.4f} over the mean"
            if way not in UNFITTED:
                lines[-1] += ", each fold joined by a blend fitted on the others"
    reason = ""
    if how != "auto":
        reason = ", as asked for"
    elif choice.name == "mean" and choice.gains:
        reason = ", since nothing gains more than chance would (95 %, over images and over folds)"
    lines.append(f"chosen: {choice.name}{reason}" + (f", weights {weights}" if weights else ""))
    return "\n".join(lines)


def write_run(paths: RunPaths, members: list[RunPaths], blend: dict) -> None:
    """competition.json, folds.csv and config.json, after those of the first member."""
    first = members[0]
    for source, target in ((first.competition, paths.competition), (first.folds, paths.folds)):
        with atomic(target) as part:
            shutil.copyfile(source, part)
    write_json(read_json(first.config) | {"exp": "ensemble", "set": "", "ensemble": blend}, paths.config)


def write_scores(
    paths: RunPaths,
    competition: Competition,
    folds: pd.DataFrame,
    choice: Choice,
    test: pd.DataFrame,
    members: list[RunPaths],
) -> dict:
    """oof.parquet, score.json and test.parquet; returns the score."""
    oof = choice.frames[choice.name]
    with atomic(paths.oof) as part:
        predictions.write(predictions.check_ids(oof, folds["id"], "oof"), part)
        sha = file_sha(part)
    scores = {m.name: m.scored()[1] for m in members}
    recipes = {name: score["recipe"] for name, score in scores.items()}
    is_optimistic = any(score.get("optimistic", False) for score in scores.values())
    result = {
        "metric": competition.metric_name,
        "lower_is_better": competition.lower_is_better,
        **summary(competition, folds, oof),
        "tried": choice.scores,
        "gains": {way: {"gain": d.gain, "error_95": d.margin} for way, d in choice.gains.items()},
        "optimistic": choice.name not in UNFITTED or is_optimistic,
        "sha256": sha,
        "recipe": sha256([*recipes.values()]),
        "fold_hash": scores[members[0].name]["fold_hash"],
        "commit": provenance.commit(),
        "members": {name: score["oof"] for name, score in scores.items()},
    }
    write_json(result, paths.score)
    models = {m.name: {"recipe": recipes[m.name], "sha256": file_sha(m.test)} for m in members}
    predictions.write_test(test, paths, models)
    return result


def main(arguments: list[str]) -> None:
    # a stack need not be the best one
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")
    parser = argparse.ArgumentParser(prog="python -m src ensemble", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("members", nargs="*")
    parser.add_argument("--how", default="auto")
    options = parser.parse_args(arguments)
    check_run_name(options.run.name, "NAME")
    ensemble(RunPaths(options.run), options.members, options.how)
