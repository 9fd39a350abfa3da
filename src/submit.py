"""Decode the mean test predictions, write the host's form, check it.  test.parquet, oof.parquet, sample ->
submissions/<name>.{csv,json}, ledger.csv; of one fold alone submissions/<name>.fold0.{csv,json}
"""

import csv
import io
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import answers, decoders, scoring, tables
from src.competition.facts import Competition
from src.config import Settings
from src.data.recipe import check_trained, make_recipe, scoring_code
from src.data.run import Run
from src.run import locks, predictions, provenance
from src.run.files import atomic, file_sha, make_folder, read_json, write_json, write_text
from src.run.paths import RunPaths, check_run_name

SUBMISSIONS = Path("submissions")
KAGGLE = Path("/kaggle/working")
# the last two are yours to fill in
LEDGER = ("when", "submission", "metric", "oof", "spread", "folds", "commit", "sha256", "public", "private")


def submit(run: Run, fold: int | None = None, folder: Path = SUBMISSIONS) -> Path:
    """Write and check the submission; returns its path. Raises ValueError when it would be refused, and then
    nothing is left behind.

    The csv is the last, so that the same command repairs what a kill between the files has left.
    """
    paths, settings, competition = run.paths, run.settings, run.competition
    check_run_name(paths.name, "RUN")
    test, sample = (
        tables.make_test(settings.folder, competition),
        answers.sample(settings.folder, competition),
    )
    trained = [k for k in paths.finished() if fold in (None, k)]  # an ensemble has none
    if trained:
        check_trained(
            paths, trained, make_recipe(settings, competition, paths, tables.read_folds(paths.folds))
        )
    images = predictions.read_test(paths) if fold is None else predictions.read_fold_test(paths.fold(fold))
    predictions.check_ids(images, test["id"], "test predictions")
    by_row = predictions.pool(images, test.set_index("id")["row"], competition.pool)
    decoded = fit_decoder(settings, paths, competition) if fold is None else {}
    answer = answers.answer_rows(competition, decoders.apply(decoded, by_row), sample)
    path = make_folder(folder) / f"{paths.name if fold is None else f'{paths.name}.fold{fold}'}.csv"
    note, spent = (
        describe(settings, paths, path, fold) | decoded | {"code": scoring_code(competition)},
        seconds(paths),
    )
    with atomic(path) as part:
        answers.write(competition, answer, part)
        # what lies on the disk, as the host will read it
        check(tables.read_csv(part, header=competition.has_header), sample, competition)
        note["sha256"] = file_sha(part)
        write_json(note, path.with_suffix(".json"))
        add_to_ledger(folder / "ledger.csv", note)
        if KAGGLE.is_dir() and fold is None:
            with atomic(KAGGLE / "submission.csv") as copy:
                shutil.copyfile(part, copy)
    say(competition, settings, sample, answer, note, spent)
    return path


def fit_decoder(settings: Settings, paths: RunPaths, competition: Competition) -> dict:
    """For the note beside the csv: the decoder, its parameters and scores, and where its gain is more than
    chance the nested ones as the OOF; {} for none.
    """
    name, table = settings.config.decode, tables.read_folds(paths.folds)
    decoder = decoders.choose(name, competition)
    if not decoder:
        return {}
    found = decoders.fit(decoder, competition, table[table["fold"] >= 0], predictions.read(paths.scored()[0]))
    note = {
        "decode": {
            "name": name,
            "parameters": found.parameters,
            "plain": found.plain,
            "in_sample": found.in_sample,
            "nested": found.nested,
            "error_95": found.gain.margin,
            "is_sure": found.gain.is_gain,
        }
    }
    scores = np.array(list(found.folds.values()))
    better = {
        "oof": found.nested,
        "folds": found.folds,
        "mean": scores.mean(),
        "spread": scores.std(ddof=min(len(scores) - 1, 1)),
    }
    return note | (better if found.parameters and found.gain.is_gain else {})


def check(answer: pd.DataFrame, sample: pd.DataFrame, competition: Competition) -> None:
    """Compare the written submission with the sample: header, rows, order, no gaps, labels that exist,
    numbers that are. Raises ValueError.
    """
    if list(answer.columns) != list(sample.columns):
        raise ValueError(
            f"submission: the columns are {list(answer.columns)[:6]}, the sample has"
            f" {list(sample.columns)[:6]}"
        )
    row, *asked = competition.header
    problems = []
    repeated = answer[row][answer[row].duplicated()]
    if len(repeated):
        problems.append(f"{len(repeated)} rows stand twice, the first is {repeated.iloc[0]!r}")
    missing, unasked = set(sample[row]) - set(answer[row]), set(answer[row]) - set(sample[row])
    if missing or unasked:
        problems.append(
            f"{len(missing)} rows of the sample are missing {sorted(missing)[:3]}, {len(unasked)} are not in"
            f" it {sorted(unasked)[:3]}"
        )
    elif not repeated.size and list(answer[row]) != list(sample[row]):
        problems.append("the rows are not in the sample's order")
    for column in asked:
        empty = answer[row][answer[column].isin(["", "nan", "NaN", "inf", "-inf"])]
        if len(empty):
            problems.append(
                f"column {column!r} has {len(empty)} empty or non-finite values, the first in row"
                f" {empty.iloc[0]!r}"
            )
        elif strange := answers.invalid_cells(competition, answer[column]):
            problems.append(f"column {column!r} holds what can't be an answer: {strange[:5]}")
    if problems:
        raise ValueError("submission: " + "; ".join(problems))


def describe(settings: Settings, paths: RunPaths, path: Path, fold: int | None) -> dict:
    """What the csv was made of, for the json beside it."""
    note = {
        "submission": path.name,
        "run": paths.name,
        "comp": settings.comp,
        "exp": settings.exp,
        "set": settings.set,
        "commit": provenance.commit(),
        "tta": settings.config.tta,
        "when": datetime.now().isoformat(timespec="seconds"),
    }
    notes = [
        paths.fold(k).test_json for k in (paths.predicting(settings.config.refit) if fold is None else [fold])
    ]
    tested = [file for file in notes if file.exists()]  # an ensemble has none
    note["unreadable"] = read_json(tested[0]).get("unreadable", {}) if tested else {}
    if fold is not None:
        done = read_json(paths.fold(fold).done)
        return note | {
            "partial": f"fold {fold} only",
            "recipe": done["recipe"],
            "fold_hash": done["fold_hash"],
            "fold_score": done["score"],
        }
    score = paths.scored()[1]
    if settings.config.refit and tested:
        share = 1 - 1 / len(score["folds"])
        note["refit"] = (
            f"{settings.config.refit} models of all images; the OOF score is of the fold models, which saw"
            f" {share:.0%} of them"
        )
    return note | {
        key: score[key] for key in ("metric", "oof", "mean", "spread", "folds", "recipe", "fold_hash")
    }


def add_to_ledger(path: Path, note: dict) -> None:
    """One line per differing submission of each run, for ever: the place to write down what the leaderboard
    said.
    """
    with locks.lock(path.with_name(f"{path.name}.lock"), wait=True):
        add_line(path, note)


def add_line(path: Path, note: dict) -> None:
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    if any(
        (line.get("submission"), line.get("sha256")) == (note["submission"], note["sha256"])
        for line in csv.DictReader(io.StringIO(known))
    ):
        return
    lines = io.StringIO()
    writer = csv.DictWriter(lines, LEDGER, extrasaction="ignore", restval="", lineterminator="\n")
    if not known:
        writer.writeheader()
    writer.writerow(
        note
        | {
            "oof": f"{note['oof']:.5f}" if "oof" in note else "",
            "spread": f"{note['spread']:.5f}" if "spread" in note else "",
            "folds": note.get("partial", len(note.get("folds", {}))),
        }
    )
    # not appended: a full disk must not tear it
    write_text(known + "\n" * (known[-1:] not in ("", "\n")) + lines.getvalue(), path)


def say(
    competition: Competition,
    settings: Settings,
    sample: pd.DataFrame,
    answer: pd.DataFrame,
    note: dict,
    spent: dict[str, float],
) -> None:
    """The last lines that a competitor sees."""
    print()
    for name, score in note.get("folds", {}).items():
        print(f"  fold {name}      {score:.4f}")
    if "oof" in note:
        print(f"  OOF         {note['oof']:.4f}  {note['metric']}, spread of folds {note['spread']:.4f}")
    else:
        undecoded = f", not decoded: decode={settings.config.decode} takes all folds" * (
            settings.config.decode not in ("auto", "plain")
        )
        print(f"  PARTIAL     {note['partial']}: {note['fold_score']:.4f}{undecoded}")
    if made := note.get("decode"):
        used = f"used, {made['parameters']}" if made["parameters"] else "no gain, so plain is kept"
        if made["parameters"] and not made["is_sure"]:
            used += (
                f"; the OOF stays the plain one's, since a gain within {made['error_95']:.4f} may be chance"
            )
        print(
            f"  {made['name']:<11} {made['nested']:.4f}  each fold by the others, in sample"
            f" {made['in_sample']:.4f}, plain {made['plain']:.4f}: " + used
        )
    if note["unreadable"]:
        some = ", ".join(list(note["unreadable"])[:5])
        print(
            f"  WARNING     {len(note['unreadable'])} test images can't be read and got an average answer:"
            f" {some}"
        )
    private = settings.folder / ".private.csv"
    if private.exists():
        truth = tables.read_csv(private)
        print(
            f"  private     {scoring.metric_value(competition, truth, answer):.4f}  on the demo's {len(truth)} test"
            " images, whose labels were kept aside"
        )
    print(f"  seconds     {', '.join(f'{stage} {time:.0f}' for stage, time in spent.items())}")
    print(
        f"  submission  {SUBMISSIONS / note['submission']}  {len(answer)} rows, checked against the sample",
        flush=True,
    )


def seconds(paths: RunPaths) -> dict[str, float]:
    """How long each stage took, from what the stages wrote down."""
    done = [read_json(path) for path in sorted(paths.root.glob("[fr]*/done.json"))]
    tested = [read_json(path)["seconds"] for path in sorted(paths.root.glob("[fr]*/test.json"))]
    return {
        "split": read_json(paths.competition)["seconds"],
        "train": sum(d["seconds"] for d in done),
        "predict": max(tested, default=0.0),
    }
