"""Checks of folds, names and labels: all that needs no network."""

import numpy as np
import pandas as pd

from src.competition import answers, tables
from src.competition.tasks import TASKS
from src.data import folds
from src.data.training_table import load_training_table
from src.extras.doctor.setup import Check, Setup
from src.extras.findings import Finding, fail, good, some, warn
from src.model.pretrained import pretrained_hash
from src.run.device import make_accelerator
from src.train import check_names

SPLIT_AGAIN = "make split FORCE=1, then train again; what was trained on the old folds is kept in old/"


def check_folds(setup: Setup) -> Finding:
    """folds.csv keeps its promise, fits the files of today, and does not depend on their order."""
    competition, config = setup.competition, setup.config
    drops_images = config.bad_images == "drop"
    now = tables.make_train(setup.settings.folder, competition, tolerant=drops_images)
    then = tables.read_folds(setup.paths.folds)
    try:
        folds.check(then, config, competition.targets, task=competition.task)
    except ValueError as error:
        return fail(str(error), f"folds.csv holds each id once, in one fold: {SPLIT_AGAIN}")
    then = folds.of_host(then)
    gone, new = set(then["id"]) - set(now["id"]), set(now["id"]) - set(then["id"])
    if gone or new and not (config.limit or drops_images):
        names = f"gone: {some(sorted(gone)) or 'none'}; new: {some(sorted(new)) or 'none'}"
        return fail(f"the files have changed since the split: {names}", SPLIT_AGAIN)
    columns = ["id", *competition.targets]
    both = then[columns].merge(now[columns], on="id", suffixes=("", " now"))
    for name in competition.targets:
        changed = both["id"][both[name] != both[f"{name} now"]]
        if len(changed):
            seen = f"{len(changed)} labels of column {name} have changed since the split: {some(changed)}"
            return fail(seen, SPLIT_AGAIN)
    if config.fold_scheme != "file" and depends_on_order(setup, now[now["id"].isin(then["id"])]):
        return fail(
            "the folds depend on the order in which the files are listed",
            "sort by id before cutting: assign in src/data/folds.py",
        )
    num_folds = then["fold"].nunique()
    return good(
        f"{len(then)} images, each in one of {num_folds} folds; the order of the files does not matter"
    )


def depends_on_order(setup: Setup, table: pd.DataFrame) -> bool:
    """Are the folds others when the table is shuffled?"""

    def assign(rows: pd.DataFrame) -> pd.Series:
        rows, c = rows.reset_index(drop=True), setup.competition
        return folds.assign(rows, setup.config, task=c.task, targets=c.targets).set_axis(rows["id"])

    sorted_folds, shuffled = (
        assign(table),
        assign(table.reset_index(drop=True).sample(frac=1, random_state=0)),
    )
    return not sorted_folds.equals(shuffled.loc[sorted_folds.index])


def check_settings(setup: Setup) -> Finding:
    """Everything that train reads and refuses: names, weights, init_from."""
    check_names(setup.run)
    setup.training = load_training_table(setup.run, pretrained_hash(setup.config))
    setup.accelerator = make_accelerator(setup.run.machine)
    competition = setup.competition
    return good(f"every name is known; {competition.task}, {competition.metric_name}, {setup.device}")


def label_map(setup: Setup) -> Finding:
    """One list of classes: for the targets, for the head's outputs and for the submission."""
    competition, table, target = setup.competition, setup.table, setup.training.target
    encode, outputs, where = (
        TASKS[competition.task].encode,
        competition.outputs,
        "encode in src/competition/tasks.py",
    )
    if target.shape != (len(table), len(outputs)):
        seen = f"targets {target.shape} for {len(table)} images and {len(outputs)} outputs"
        return fail(seen, f"{where}: a column per output")
    first_rows = setup.labels.reset_index(drop=True).drop_duplicates().index[:200]  # of each label
    for i in first_rows:
        label, alone = setup.labels.iloc[i], encode(table.iloc[[i]], competition)
        if alone.shape != (1, len(outputs)) or not np.array_equal(alone[0], target[i]):
            codes = f"{alone[0].tolist()[:8]} alone, as {target[i].tolist()[:8]} with all others"
            return fail(
                f"label {label!r} is encoded as {codes}",
                f"build the class list once, as competition.classes, and not from the rows at hand: {where}",
            )
        if setup.is_single and outputs[target[i].argmax()] != label:
            seen = f"label {label!r} is encoded as class {outputs[target[i].argmax()]!r}"
            return fail(seen, f"use the order of competition.classes: {where}")
    return (
        submitted_labels(setup) if setup.is_single else good(f"{len(outputs)} outputs: {some(outputs, 10)}")
    )


def submitted_labels(setup: Setup) -> Finding:
    """A sure prediction of each class must come out of the submission's form as that class."""
    competition, classes = setup.competition, setup.competition.classes
    sample = answers.sample(setup.settings.folder, competition)
    rows = sample.drop_duplicates(sample.columns[0]).head(len(classes))
    index = pd.Index(rows.iloc[:, 0], name="row")
    sure = pd.DataFrame(np.eye(len(rows), len(classes), dtype=np.float32), index=index, columns=list(classes))
    answer = answers.answer_rows(competition, sure, rows).drop(columns=competition.header[0])
    expected = list(classes[: len(rows)])
    if {*answer} == {*classes}:
        submitted = answer.astype(float).idxmax(axis=1).tolist()
    elif len(answer.columns) == 1 and set(answer.iloc[:, 0].astype(str)) <= {*classes}:
        submitted = answer.iloc[:, 0].astype(str).tolist()
    else:
        submitted = expected  # a form of the host's own, whose columns don't say what they mean
    wrong = [f"{a!r} as {b!r}" for a, b in zip(expected, submitted) if a != b]
    if wrong:
        return fail(
            f"the submission writes {some(wrong)}: classes and the sample's columns are joined by position",
            "join by name, such as by_row[list(sample.columns[1:])]: answer in src/competitions.py",
        )
    strangers = set(sample.iloc[:, 1]) - {*classes, ""} if competition.answer == "label" else set()
    if strangers:
        names = f"{some(sorted(strangers))}, which is no class of train ({some(classes)})"
        return warn(
            f"the sample's column {sample.columns[1]!r} holds {names}",
            "if the host wants other names or codes, state answer in src/competitions.py",
        )
    columns = {*competition.header[1:]} if competition.answer == "probabilities" else {*classes}
    if columns != {*classes}:
        unseen, missing = (
            some(sorted(names)) or "none" for names in (columns - {*classes}, {*classes} - columns)
        )
        return warn(
            f"columns without a training image, which get 0: {unseen}; classes without a column: {missing}",
            "if labels are misspelt, correct them; else state labels or make_table in src/competitions.py",
        )
    names = some(classes, 10)
    return good(f"{len(classes)} classes, the same list for targets, outputs and submission: {names}")


# the others need what these read
BEFORE: dict[str, Check] = {"folds": check_folds, "settings": check_settings}
LABELS: dict[str, Check] = {"labels": label_map}
