"""Predict images that a finished run has not seen: a new test set of the competition -> its checked csv; a
folder of loose pictures -> a csv of predictions.

Of the run it needs config.json, competition.json, folds.csv and the models: no training image, and no cache.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from src import competitions
from src.competition import answers, decoders, tables
from src.competition.listing import list_files, only_images
from src.competition.tasks import TASKS
from src.data.run import Run
from src.predict_chunks import predict_images
from src.run import configure, predictions
from src.run.errors import warn
from src.run.files import atomic, read_json
from src.run.inputs import find_inputs
from src.run.paths import RunPaths
from src.submit import fit_decoder


def open_run(paths: RunPaths, inputs: Path | None = None) -> Run:
    """The run as its split and training have written it down. inputs: the folder with COMP; None where none
    is needed. Raises ValueError.
    """
    settings = configure.load(paths.config)
    if not paths.competition.exists():
        raise ValueError(f"{paths.root} has no competition.json: make train RUN={paths.name} first")
    note = read_json(paths.competition)
    if "competition" not in note:
        raise ValueError(
            f"{paths.competition} was written by earlier code: make split RUN={paths.name} FORCE=1"
        )
    if inputs:
        settings = replace(settings, inputs=find_inputs(inputs, settings.comp))
    competition = competitions.remembered(note["competition"], settings.comp, paths.root, settings.folder)
    return Run(paths, settings, competition)


def infer_test(run: Run, out: Path, hours: float = 0.0) -> None:
    """Predict the test set in run.inputs, and write the checked csv. Raises ValueError."""
    competition, paths = run.competition, run.paths
    sample = answers.sample(run.inputs, competition)
    test = tables.make_test(run.inputs, competition)
    answers.check_sample(competition, test, sample)
    decode = fit_decoder(run)
    result = predict_images(run, test, run.inputs, hours)
    frame = result.frame(test, prior_of(run))
    by_row = predictions.pool(frame, test.set_index("id")["row"], competition.pool)
    answer = answers.answer_rows(competition, decoders.apply(decode, by_row), sample)
    with atomic(out) as part:
        answers.write_checked(competition, answer, sample, part)
    if result.unreadable:
        warn(f"{named(result.unreadable)} can't be read and got an average answer")
    if left := result.left(test):
        warn(f"there was no time for {named(left)}, which got an average answer")
    print(f"{out}: {len(answer)} rows by {paths.name}, checked against the sample")


def infer_folder(run: Run, folder: Path, out: Path, hours: float = 0.0) -> None:
    """Predict the pictures of a folder, and write what the models say of each that can be read. Raises
    ValueError where it holds none.
    """
    competition = run.competition
    names = only_images(list_files(folder), bool(competition.read_image)) if folder.is_dir() else []
    if not names:
        raise ValueError(f"--images {folder}: there are no images in this folder")
    if competition.features:
        warn(f"nothing tells {', '.join(competition.features)} of these images: the mean stands for it")
    table = pd.DataFrame({"id": names, "row": names, "path": names}, dtype=object)
    table = table.assign(**dict.fromkeys(competition.features, ""))
    result = predict_images(run, table, folder, hours)
    lost = [*result.unreadable, *result.left(table)]
    frame = result.frame(table, prior_of(run)).drop(index=lost)
    with atomic(out) as part:
        frame.rename_axis("image").to_csv(part)
    if lost:
        warn(f"{named(lost)} can't be read, or there was no time for them: they are not in the csv")
    print(f"{out}: {TASKS[competition.task].kind} of {', '.join(frame.columns)} for {len(frame)} images")


def prior_of(run: Run) -> pd.Series:
    """Per output, what the training labels say on average."""
    table = tables.read_folds(run.paths.folds)
    mean = TASKS[run.competition.task].encode(table, run.competition).mean(axis=0)
    return pd.Series(mean, list(run.competition.outputs))


def named(ids: Iterable[str]) -> str:
    """How many images, and the first of them."""
    names = list(ids)
    more = ", ..." if len(names) > 5 else ""
    return f"{len(names)} images ({', '.join(names[:5])}{more})"
