"""Is a finished run as it was written, does it give its score and its csv again, and what is different here
by now?  runs/<name>/ -> lines, exit code

Run: python -m src.extras.verify runs/<name>
"""

import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src import competitions, config, predict, submit
from src.competition import answers, decoders, scoring, tables
from src.competition.facts import Competition
from src.config import Settings
from src.data.recipe import differences, image_contents
from src.data.run import Run
from src.data.training_table import make_job
from src.run import configure, predictions, process, provenance, reuse
from src.run.errors import CheckFailed
from src.run.files import Damaged, file_sha, read_json, sha256
from src.run.paths import RunPaths


class Case(NamedTuple):
    settings: Settings
    paths: RunPaths
    competition: Competition
    table: pd.DataFrame
    score: dict
    done: dict  # of the first fold; {} of an ensemble, which has none
    ensemble: dict  # what config.json says of it; {} of a training


def verify(settings: Settings, paths: RunPaths) -> None:
    """Print a line per check. Raises CheckFailed when a file is not what was written, or does not give what
    follows from it.
    """
    if not paths.score.exists():
        raise ValueError(f"{paths.root} has no score.json: only a finished run can be verified")
    case = Case(
        settings,
        paths,
        competitions.load(settings.comp, settings.inputs),
        tables.read_folds(paths.folds),
        read_json(paths.score),
        read_json(paths.fold(paths.finished()[0]).done) if paths.finished() else {},
        read_json(paths.config).get("ensemble", {}),
    )
    wrong = 0
    for name, check in CHECKS.items():
        found = attempt(check, case)
        wrong += len(found)
        print("\n".join(f"  DIFFERS  {name}: {line}" for line in found) or f"  equal    {name}", flush=True)
    for check in (versions, members) if case.ensemble else NOW:
        print("".join(f"  by now   {line}\n" for line in attempt(check, case)), end="", flush=True)
    if wrong:
        raise CheckFailed(f"{paths.root}: {wrong} differ")
    print(f"{paths.root} is as it was written")


def attempt(check: Callable[[Case], list[str]], case: Case) -> list[str]:
    """What a check found; what makes it impossible is a finding too."""
    try:
        return check(case)
    except Damaged as damage:
        return [str(damage)]
    except (ValueError, OSError, KeyError) as error:
        return [f"{type(error).__name__}: {error}"]


# -- what was written


def jsons(case: Case) -> list[str]:
    """Each has its own checksum."""
    found = []
    for path in [
        *sorted(case.paths.root.glob("*.json")),
        *sorted(case.paths.root.glob("[fr]*/*.json")),
        submission_of(case).with_suffix(".json"),
    ]:
        try:
            read_json(path)
        except (ValueError, OSError) as error:
            found.append(str(error))
    return found


def files(case: Case) -> list[str]:
    """Hash again what the jsons beside them have hashed."""
    found = []
    for path, note in (
        (case.paths.oof, case.paths.score),
        (case.paths.oof_tta, case.paths.tta),
        (case.paths.test, case.paths.test_json),
    ):
        if note.exists() and (sha := read_json(note).get("sha256")):
            real = file_sha(path) if path.exists() else "missing"
            found += [f"{path.name} was {sha}, is {real}"] * (real != sha)
    for k in {*case.paths.finished(), *predicting(case)}:
        fold = case.paths.fold(k)
        beside = {fold.test: fold.test_json, fold.valid_views: fold.views_json}
        written = read_json(fold.done)["files"] | {
            file.name: read_json(note)["sha256"] for file, note in beside.items() if note.exists()
        }
        for name, sha in written.items():
            real = file_sha(fold.root / name) if (fold.root / name).exists() else "missing"
            found += [f"{fold.root.name}/{name} was {sha}, is {real}"] * (real != sha)
    return found


def oof(case: Case) -> list[str]:
    """Of the plain pictures; and where test images are predicted in several views, of their mean."""
    if case.ensemble:
        # what it is made of may be gone; files has looked at its hash
        return []
    found = differing(
        predictions.join(predictions.read(case.paths.fold(k).valid) for k in case.paths.finished()),
        predictions.read(case.paths.oof),
    )
    if case.paths.scored()[0] != case.paths.oof:
        made, mean = predict.score_views(
            case.settings, case.paths, case.competition, case.table, case.paths.finished()
        )
        found += [
            f"oof_tta.parquet: {line}" for line in differing(mean, predictions.read(case.paths.oof_tta))
        ]
        was = {key: value for key, value in read_json(case.paths.tta).items() if key != "sha256"}
        found += ["tta.json is not what the folds' valid_views.parquet give"] * (made != was)
    return found


def test(case: Case) -> list[str]:
    """Is it of all models, and their mean?"""
    predictions.read_test(case.paths)
    if case.ensemble:
        return []
    return differing(
        predictions.mean(predictions.read(case.paths.fold(k).test) for k in predicting(case)),
        predictions.read(case.paths.test),
    )


def predicting(case: Case) -> list[int]:
    return case.paths.predicting(case.settings.config.refit)


def differing(expected: pd.DataFrame, real: pd.DataFrame) -> list[str]:
    """In words, where the folds' predictions are not the run's."""
    predictions.check_ids(real, expected.index, "it")
    rows = expected.index[(expected != real.loc[expected.index, expected.columns]).any(axis=1)]
    return (
        [f"{len(rows)} of {len(expected)} ids are not what the folds give, the first is {rows[0]!r}"]
        if len(rows)
        else []
    )


def score(case: Case) -> list[str]:
    """The score of oof.parquet: of all, and by fold."""
    probs, held_out = predictions.read(case.paths.oof), case.table[case.table["fold"] >= 0]
    parts = {"OOF": (case.score["oof"], held_out)}
    parts |= {
        f"fold {k}": (was, held_out[held_out["fold"] == int(k)]) for k, was in case.score["folds"].items()
    }
    again = {
        name: (was, float(scoring.score(case.competition, rows, probs.loc[rows["id"]])))
        for name, (was, rows) in parts.items()
    }
    return [f"{name} was {was}, is {real}" for name, (was, real) in again.items() if was != real]


def submission(case: Case) -> list[str]:
    """The csv, made again from test.parquet and the sample."""
    path, folder = submission_of(case), case.settings.folder
    rows = tables.make_test(folder, case.competition).set_index("id")["row"]
    images = predictions.check_ids(predictions.read(case.paths.test), rows.index, "test.parquet")
    by_row = decoders.apply(
        read_json(path.with_suffix(".json")), predictions.pool(images, rows, case.competition.pool)
    )
    answer = answers.answer_rows(case.competition, by_row, answers.sample(folder, case.competition))
    again, real = (
        answer.to_csv(index=False).splitlines(),
        path.read_text(encoding="utf-8", errors="replace").splitlines(),
    )
    lines = [number for number, (one, other) in enumerate(zip(again, real), 1) if one != other]
    found = [f"{path} has other values in {len(lines)} lines, the first is line {lines[0]}"] if lines else []
    found += [f"{path} has {len(real)} lines, test.parquet gives {len(again)}"] * (len(real) != len(again))
    sha = read_json(path.with_suffix(".json"))["sha256"]
    return found + [f"{path} was {sha}, is {file_sha(path)}"] * (file_sha(path) != sha)


def submission_of(case: Case) -> Path:
    return submit.SUBMISSIONS / f"{case.paths.name}.csv"


# -- what is no longer here: the run is not wrong for it, it only would not come out again


def versions(case: Case) -> list[str]:
    written = case.score.get("versions", {})  # an ensemble has none
    pairs = {"commit": (case.score["commit"], provenance.commit())} | {
        name: (was, version_of(name)) for name, was in written.items()
    }
    return [f"{name} {was} -> {now}" for name, (was, now) in pairs.items() if was != now]


def version_of(name: str) -> str:
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return "not installed"


def code(case: Case) -> list[str]:
    changed = reuse.changed_code(case.done)
    return [f"edited: {', '.join(changed)}"] if changed else []


def data(case: Case) -> list[str]:
    is_same = sha256(image_contents(case.settings, case.table)) == case.done["images_hash"]
    return [] if is_same else ["the training images have other contents"]


def inputs(case: Case) -> list[str]:
    """The competition's files against those that were split, by size and time."""
    then = read_json(case.paths.settings("split"))
    files, folders = configure.look(case.settings.folder)
    training = {name: facts for name, facts in folders.items() if not configure.is_for_test(name)}
    was, now = then.get("files", {}) | then.get("folders", {}), files | training
    names = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    return [f"changed, new or gone since the split: {', '.join(names[:8])}"] if names else []


def settings(case: Case) -> list[str]:
    """What the experiment of that name and the run's SET would give now, and what else makes up the recipe."""
    asked = configure.settings_for(
        case.paths, {"INPUTS": str(case.settings.inputs), "CACHE": str(case.settings.cache)}
    ).config
    was, now = config.as_dict(case.settings.config), config.as_dict(asked)
    found = [f"setting {name}: {was[name]} -> {now[name]}" for name in was if was[name] != now[name]]
    job = make_job(Run(case.paths, case.settings, case.competition))
    return found + [f"recipe: {difference}" for difference in differences(case.done, job.recipe)]


def members(case: Case) -> list[str]:
    """Of an ensemble: the runs that predict something else than when they were joined."""
    models = read_json(case.paths.test_json)["models"]
    tests = {name: RunPaths(case.paths.root.parent / name).test for name in models}
    return [
        f"run {name} is gone" if not path.exists() else f"run {name} predicts something else"
        for name, path in tests.items()
        if not path.exists() or file_sha(path) != models[name]["sha256"]
    ]


CHECKS = {
    "json": jsons,
    "files": files,
    "oof.parquet": oof,
    "score": score,
    "test.parquet": test,
    "submission": submission,
}
NOW = (versions, code, inputs, data, settings)


def main() -> None:
    if len(sys.argv) != 2:
        raise ValueError("usage: make verify RUN=name")
    paths = RunPaths(Path(sys.argv[1]))
    verify(configure.load(paths.config), paths)


if __name__ == "__main__":
    process.main(main)
