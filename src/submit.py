"""Decode the mean test predictions, write the host's form, check it.  test.parquet, oof.parquet, sample ->
submissions/<name>.{csv,json}, ledger.csv; of one fold alone submissions/<name>.fold0.{csv,json}
"""

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import answers, decoders, scoring, tables
from src.data.recipe import check_trained, make_recipe, scoring_code
from src.data.run import Run
from src.model.pretrained import pretrained_hash
from src.run import predictions, provenance
from src.run.files import atomic, file_sha, make_folder, read_json, write_json
from src.run.ledger import add_to_ledger
from src.run.paths import RunPaths, check_run_name

SUBMISSIONS = Path("submissions")
KAGGLE = Path("/kaggle/working")


def submit(run: Run, fold: int | None = None, folder: Path = SUBMISSIONS) -> Path:
    """Write and check the submission; returns its path. Raises ValueError when it would be refused, and then
    nothing is left behind.

    The csv is the last, so that the same command repairs what a kill between the files has left.
    """
    check_run_name(run.paths.name, "RUN")
    competition = run.competition
    sample = answers.sample(run.inputs, competition)
    by_row = test_predictions(run, fold)
    decode = fit_decoder(run) if fold is None else {}
    answer = answers.answer_rows(competition, decoders.apply(decode, by_row), sample)
    name = run.paths.name if fold is None else f"{run.paths.name}.fold{fold}"
    path = make_folder(folder) / f"{name}.csv"
    note = describe(run, path, fold) | decode | {"code": scoring_code(competition)}
    note["test_rows"] = len(answer)
    spent = seconds(run.paths)
    with atomic(path) as part:
        answers.write_checked(competition, answer, sample, part)
        note["sha256"] = file_sha(part)
        write_json(note, path.with_suffix(".json"))
        add_to_ledger(folder / "ledger.csv", note)
        if KAGGLE.is_dir() and fold is None:
            with atomic(KAGGLE / "submission.csv") as copy:
                shutil.copyfile(part, copy)
    report(run, answer, note, spent)
    return path


def test_predictions(run: Run, fold: int | None) -> pd.DataFrame:
    """The test predictions by row, of the run or of one fold. Raises ValueError where a fold was trained by
    another recipe than the settings and files now give.
    """
    paths = run.paths
    trained = [k for k in paths.finished() if fold in (None, k)]  # an ensemble has none
    if trained:
        folds = tables.read_folds(paths.folds)
        check_trained(paths, trained, make_recipe(run, folds, pretrained_hash(run.config)))
    test = tables.make_test(run.inputs, run.competition)
    images = predictions.read_test(paths) if fold is None else predictions.read_fold_test(paths.fold(fold))
    predictions.check_ids(images, test["id"], "test predictions")
    return predictions.pool(images, test.set_index("id")["row"], run.competition.pool)


def fit_decoder(run: Run) -> dict:
    """For the note beside the csv: the decoder, its parameters and scores, and where its gain is more than
    chance the nested ones as the OOF; {} for none.
    """
    name = run.config.decode
    decoder = decoders.choose(name, run.competition)
    if not decoder:
        return {}
    table = tables.read_folds(run.paths.folds)
    oof = predictions.read(run.paths.scored()[0])
    fit = decoders.fit(decoder, run.competition, table[table["fold"] >= 0], oof)
    decode = {
        "name": name,
        "parameters": fit.parameters,
        "plain": fit.plain,
        "in_sample": fit.in_sample,
        "nested": fit.nested,
        "error_95": fit.gain.margin,
        "is_sure": fit.gain.is_gain,
    }
    if not fit.parameters or not fit.gain.is_gain:
        return {"decode": decode}
    scores = np.array(list(fit.folds.values()))
    spread = scores.std(ddof=min(len(scores) - 1, 1))
    return {"decode": decode, "oof": fit.nested, "folds": fit.folds, "mean": scores.mean(), "spread": spread}


def describe(run: Run, path: Path, fold: int | None) -> dict:
    """What the csv was made of, for the json beside it."""
    paths, settings, refit = run.paths, run.settings, run.config.refit
    numbers = paths.predicting(refit) if fold is None else [fold]
    tested = [
        paths.fold(k).test_json for k in numbers if paths.fold(k).test_json.exists()
    ]  # none: an ensemble
    note = {
        "submission": path.name,
        "run": paths.name,
        "comp": settings.comp,
        "exp": settings.exp,
        "set": settings.set,
        "commit": provenance.commit(),
        "tta": run.config.tta,
        "when": datetime.now().isoformat(timespec="seconds"),
        "unreadable": read_json(tested[0]).get("unreadable", {}) if tested else {},
    }
    if fold is not None:
        done = read_json(paths.fold(fold).done)
        made_of = {"recipe": done["recipe"], "fold_hash": done["fold_hash"]}
        return note | {"partial": f"fold {fold} only"} | made_of | {"fold_score": done["score"]}
    oof, score = paths.scored()
    note["oof_rows"] = len(predictions.read(oof))
    if refit and tested:
        share = 1 - 1 / len(score["folds"])
        note["refit"] = (
            f"{refit} models of all images; the OOF score is of the fold models, which saw {share:.0%} of"
            " them"
        )
    note["lower_is_better"] = run.competition.lower_is_better
    names = ("metric", "oof", "mean", "spread", "folds", "recipe", "fold_hash")
    return note | {name: score[name] for name in names}


def report(run: Run, answer: pd.DataFrame, note: dict, spent: dict[str, float]) -> None:
    """The last lines that a competitor sees."""
    print()
    for name, score in note.get("folds", {}).items():
        print(f"  fold {name}      {score:.4f}")
    if "oof" in note:
        print(f"  OOF         {note['oof']:.4f}  {note['metric']}, spread of folds {note['spread']:.4f}")
    else:
        decode = run.config.decode
        is_plain = decode in ("auto", "plain")
        undecoded = "" if is_plain else f", not decoded: decode={decode} takes all folds"
        print(f"  PARTIAL     {note['partial']}: {note['fold_score']:.4f}{undecoded}")
    if "decode" in note:
        print(decode_line(note["decode"]))
    if unreadable := list(note["unreadable"]):
        some = ", ".join(unreadable[:5])
        print(f"  WARNING     {len(unreadable)} test images can't be read and got an average answer: {some}")
    private = run.inputs / ".private.csv"
    if private.exists():
        truth = tables.read_csv(private)
        score = scoring.metric_value(run.competition, truth, answer)
        print(
            f"  private     {score:.4f}  on the demo's {len(truth)} test images, whose labels were kept aside"
        )
    print(f"  seconds     {', '.join(f'{stage} {time:.0f}' for stage, time in spent.items())}")
    csv = SUBMISSIONS / note["submission"]
    print(f"  submission  {csv}  {len(answer)} rows, checked against the sample", flush=True)


def decode_line(decode: dict) -> str:
    used = f"used, {decode['parameters']}" if decode["parameters"] else "no gain, so plain is kept"
    if decode["parameters"] and not decode["is_sure"]:
        used += f"; the OOF stays the plain one's, since a gain within {decode['error_95']:.4f} may be chance"
    return (
        f"  {decode['name']:<11} {decode['nested']:.4f}  each fold by the others, in sample"
        f" {decode['in_sample']:.4f}, plain {decode['plain']:.4f}: {used}"
    )


def seconds(paths: RunPaths) -> dict[str, float]:
    """How long each stage took, from what the stages wrote down."""
    done = [read_json(path)["seconds"] for path in sorted(paths.root.glob("[fr]*/done.json"))]
    tested = [read_json(path)["seconds"] for path in sorted(paths.root.glob("[fr]*/test.json"))]
    split = read_json(paths.competition)["seconds"]
    return {"split": split, "train": sum(done), "predict": max(tested, default=0.0)}
