"""Is a finished run as it was written, does it give its score and its csv again, and what has changed here
since?  runs/<name>/ -> lines, exit code

Run: python -m src verify runs/<name>        make verify RUN=name
"""

import platform
from argparse import Namespace
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

import pandas as pd

from src import config, submit
from src.competition import answers, decoders, scoring, tables
from src.data.recipe import differences, image_contents, make_recipe
from src.data.run import Run
from src.data.scores import score_views
from src.experiments import EXPERIMENTS
from src.model.pretrained import pretrained_hash
from src.run import configure, predictions, provenance, reuse
from src.run.errors import CheckFailed
from src.run.files import Damaged, file_sha, read_json, sha256
from src.run.inputs import is_for_test, look
from src.run.paths import RunPaths


class FinishedRun:
    """A run with what its files say."""

    def __init__(self, run: Run) -> None:
        self.run, self.settings, self.paths, self.competition = run, run.settings, run.paths, run.competition
        self.table = tables.read_folds(run.paths.folds)
        self.score = read_json(run.paths.score)
        self.is_ensemble = bool(read_json(run.paths.config).get("ensemble"))
        self.submission = submit.SUBMISSIONS / f"{run.paths.name}.csv"
        self.finished = run.paths.finished()  # folds; an ensemble has none
        self.predicting = run.paths.predicting(run.config.refit)

    @cached_property
    def done(self) -> dict:
        """done.json of the first fold."""
        return read_json(self.paths.fold(self.finished[0]).done)


Check = Callable[[FinishedRun], list[str]]


def verify(run: Run) -> None:
    """Print a line per check. Raises CheckFailed where a file is not as written or does not follow."""
    if not run.paths.score.exists():
        raise ValueError(f"{run.paths.root} has no score.json: only a finished run can be verified")
    finished, num_wrong = FinishedRun(run), 0
    for name, check in CHECKS.items():
        lines = attempt(check, finished)
        num_wrong += len(lines)
        for line in lines:
            print(f"  DIFFERS  {name}: {line}", flush=True)
        if not lines:
            print(f"  equal    {name}", flush=True)
    for check in CHANGES_OF_ENSEMBLE if finished.is_ensemble else CHANGES:
        for line in attempt(check, finished):
            print(f"  by now   {line}", flush=True)
    if num_wrong:
        raise CheckFailed(f"{run.paths.root}: {num_wrong} differ")
    print(f"{run.paths.root} is as it was written")


def attempt(check: Check, finished: FinishedRun) -> list[str]:
    """What differs; what makes the check impossible does too."""
    try:
        return check(finished)
    except Damaged as damage:
        return [str(damage)]
    except (ValueError, OSError, KeyError) as error:
        return [f"{type(error).__name__}: {error}"]


# -- what was written


def jsons(finished: FinishedRun) -> list[str]:
    """Each has its own checksum."""
    root, lines = finished.paths.root, []
    files = [*sorted(root.glob("*.json")), *sorted(root.glob("[fr]*/*.json"))]
    for path in [*files, finished.submission.with_suffix(".json")]:
        try:
            read_json(path)
        except (ValueError, OSError) as error:
            lines.append(str(error))
    return lines


def files(finished: FinishedRun) -> list[str]:
    """Hash again what the jsons beside them have hashed."""
    paths, written = finished.paths, {}
    for path, note in ((paths.oof, paths.score), (paths.oof_tta, paths.tta), (paths.test, paths.test_json)):
        if note.exists() and (sha := read_json(note).get("sha256")):
            written[path] = sha
    for k in {*finished.finished, *finished.predicting}:
        fold = paths.fold(k)
        written |= {fold.root / name: sha for name, sha in read_json(fold.done)["files"].items()}
        for path, note in ((fold.test, fold.test_json), (fold.valid_views, fold.views_json)):
            if note.exists():
                written[path] = read_json(note)["sha256"]
    hashes = {path: file_sha(path) if path.exists() else "missing" for path in written}
    return [
        f"{path.relative_to(paths.root)} was {sha}, is {hashes[path]}"
        for path, sha in written.items()
        if hashes[path] != sha
    ]


def oof(finished: FinishedRun) -> list[str]:
    """Of the plain pictures; and where test images are predicted in several views, of their mean."""
    if finished.is_ensemble:  # its members may be gone; `files` has looked at its hash
        return []
    paths, folds = finished.paths, finished.finished
    valid = predictions.join(predictions.read(paths.fold(k).valid) for k in folds)
    lines = differing(valid, predictions.read(paths.oof))
    if paths.scored()[0] == paths.oof:
        return lines
    views, mean = score_views(finished.run, finished.table, folds)
    lines += [f"oof_tta.parquet: {line}" for line in differing(mean, predictions.read(paths.oof_tta))]
    saved = {key: value for key, value in read_json(paths.tta).items() if key != "sha256"}
    if views != saved:
        lines.append("tta.json is not what the folds' valid_views.parquet give")
    return lines


def test(finished: FinishedRun) -> list[str]:
    """Is it of all models, and their mean?"""
    predictions.read_test(finished.paths)
    if finished.is_ensemble:
        return []
    mean = predictions.mean(predictions.read(finished.paths.fold(k).test) for k in finished.predicting)
    return differing(mean, predictions.read(finished.paths.test))


def differing(expected: pd.DataFrame, real: pd.DataFrame) -> list[str]:
    """A line where the folds' predictions are not the run's."""
    predictions.check_ids(real, expected.index, "it")
    ids = expected.index[(expected != real.loc[expected.index, expected.columns]).any(axis=1)]
    if not len(ids):
        return []
    return [f"{len(ids)} of {len(expected)} ids are not what the folds give, the first is {ids[0]!r}"]


def score(finished: FinishedRun) -> list[str]:
    """The score of oof.parquet: of all, and by fold."""
    frame, table = predictions.read(finished.paths.oof), finished.table
    parts = {"OOF": (finished.score["oof"], table[table["fold"] >= 0])}
    for k, saved in finished.score["folds"].items():
        parts[f"fold {k}"] = (saved, table[table["fold"] == int(k)])
    lines = []
    for name, (saved, rows) in parts.items():
        now = float(scoring.score(finished.competition, rows, frame.loc[rows["id"]]))
        if saved != now:
            lines.append(f"{name} was {saved}, is {now}")
    return lines


def submission(finished: FinishedRun) -> list[str]:
    """The csv, made again from test.parquet and the sample."""
    path, folder, competition = finished.submission, finished.settings.folder, finished.competition
    note = read_json(path.with_suffix(".json"))
    rows = tables.make_test(folder, competition).set_index("id")["row"]
    images = predictions.check_ids(predictions.read(finished.paths.test), rows.index, "test.parquet")
    by_row = decoders.apply(note, predictions.pool(images, rows, competition.pool))
    answer = answers.answer_rows(competition, by_row, answers.sample(folder, competition))
    again = answer.to_csv(index=False).splitlines()
    real = path.read_text(encoding="utf-8", errors="replace").splitlines()
    changed = [number for number, (one, other) in enumerate(zip(again, real), 1) if one != other]
    lines = []
    if changed:
        lines.append(f"{path} has other values in {len(changed)} lines, the first is line {changed[0]}")
    if len(real) != len(again):
        lines.append(f"{path} has {len(real)} lines, test.parquet gives {len(again)}")
    if file_sha(path) != note["sha256"]:
        lines.append(f"{path} was {note['sha256']}, is {file_sha(path)}")
    return lines


# -- what has changed here since: the run is not wrong for it, but it would not come out again


def versions(finished: FinishedRun) -> list[str]:
    saved = {
        "commit": finished.score["commit"],
        **finished.score.get("versions", {}),
    }  # an ensemble has no versions
    now = {name: version_of(name) for name in saved}
    return [f"{name} {saved[name]} -> {now[name]}" for name in saved if saved[name] != now[name]]


def version_of(name: str) -> str:
    if name == "commit":
        return provenance.commit()
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return "not installed"


def code(finished: FinishedRun) -> list[str]:
    changed = reuse.changed_code(finished.done)
    return [f"edited: {', '.join(changed)}"] if changed else []


def inputs(finished: FinishedRun) -> list[str]:
    """The competition's files against those that were split, by size and time."""
    saved = read_json(finished.paths.settings("split"))
    files, folders = look(finished.settings.folder)
    training = {name: facts for name, facts in folders.items() if not is_for_test(name)}
    then, now = saved.get("files", {}) | saved.get("folders", {}), files | training
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    return [f"changed, new or gone since the split: {', '.join(names[:8])}"] if names else []


def data(finished: FinishedRun) -> list[str]:
    is_same = sha256(image_contents(finished.run, finished.table)) == finished.done["images_hash"]
    return [] if is_same else ["the training images have other contents"]


def settings(finished: FinishedRun) -> list[str]:
    """What the run's experiment and SET would give now, and what else makes up the recipe."""
    environment = {"INPUTS": str(finished.settings.inputs), "CACHE": str(finished.settings.cache)}
    now = config.as_dict(configure.settings_for(finished.paths, environment, EXPERIMENTS).config)
    saved = config.as_dict(finished.settings.config)
    lines = [f"setting {name}: {saved[name]} -> {now[name]}" for name in saved if saved[name] != now[name]]
    recipe = make_recipe(finished.run, finished.table, pretrained_hash(finished.run.config))
    return lines + [f"recipe: {difference}" for difference in differences(finished.done, recipe)]


def members(finished: FinishedRun) -> list[str]:
    """Of an ensemble: the runs that predict something else than when they were blended."""
    lines = []
    for name, model in read_json(finished.paths.test_json)["models"].items():
        predicted = RunPaths(finished.paths.root.parent / name).test
        if not predicted.exists():
            lines.append(f"run {name} is gone")
        elif file_sha(predicted) != model["sha256"]:
            lines.append(f"run {name} predicts something else")
    return lines


CHECKS: dict[str, Check] = {
    "json": jsons,
    "files": files,
    "oof.parquet": oof,
    "score": score,
    "test.parquet": test,
    "submission": submission,
}
CHANGES: tuple[Check, ...] = (versions, code, inputs, data, settings)
CHANGES_OF_ENSEMBLE: tuple[Check, ...] = (versions, members)


def command(run: Run, options: Namespace) -> None:
    verify(run)
