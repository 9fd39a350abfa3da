"""Checks of folds, names and labels: all that needs no network."""

import numpy as np
import pandas as pd

from src import competitions
from src.competition import answers, tables
from src.competition.tasks import TASKS
from src.data import folds
from src.data.run import Run
from src.data.training_table import make_job
from src.extras.doctor.case import Case, Check
from src.extras.findings import Finding, fail, good, some, warn


def check_folds(case: Case) -> Finding:
    """folds.csv keeps its promise, is of the files that lie there now, and would be the same if these were
    listed in another order.
    """
    settings = case.settings
    competition = competitions.load(settings.comp, settings.inputs)
    now, then = (
        tables.make_train(settings.folder, competition, tolerant=settings.config.bad_images == "drop"),
        tables.read_folds(case.paths.folds),
    )
    again = "make split FORCE=1, then train anew; what was trained on the old folds is kept in old/"
    try:
        folds.check(then, settings.config, competition.targets, task=competition.task)
    except ValueError as error:
        return fail(str(error), f"folds.csv holds each id once, in one fold: {again}")
    then = folds.of_host(then)
    gone, new = set(then["id"]) - set(now["id"]), set(now["id"]) - set(then["id"])
    leaves_out = settings.config.limit or settings.config.bad_images == "drop"
    if gone or new and not leaves_out:
        return fail(
            f"the files have changed since the split: gone {some(sorted(gone)) or 'none'}; new"
            f" {some(sorted(new)) or 'none'}",
            again,
        )
    columns = ["id", *competition.targets]
    both = then[columns].merge(now[columns], on="id", suffixes=("", " now"))
    changed = [name for name in competition.targets if not both[name].equals(both[f"{name} now"])]
    if changed:
        ids = both["id"][both[changed[0]] != both[f"{changed[0]} now"]]
        return fail(
            f"{len(ids)} labels of column {changed[0]} have changed since the split: {some(ids)}", again
        )
    if settings.config.fold_scheme != "file":
        known = now[now["id"].isin(then["id"])].reset_index(drop=True)
        shuffled = known.sample(frac=1, random_state=0).reset_index(drop=True)
        one, other = (
            folds.assign(table, settings.config, task=competition.task, targets=competition.targets).set_axis(
                table["id"]
            )
            for table in (known, shuffled)
        )
        if not one.equals(other.loc[one.index]):
            return fail(
                "the folds depend on the order in which the files are listed",
                "sort by id before cutting: assign in src/data/folds.py",
            )
    return good(
        f"{len(then)} images, each in one of {then['fold'].nunique()} folds; the order of the files does not"
        " matter"
    )


def read_job(case: Case) -> Finding:
    """Everything that train reads and refuses: names, weights, init_from."""
    case.job = make_job(
        Run(case.paths, case.settings, competitions.load(case.settings.comp, case.settings.inputs))
    )
    return good(
        f"every name is known; {case.job.competition.task}, {case.job.competition.metric_name},"
        f" {case.job.accelerator.device}"
    )


def label_map(case: Case) -> Finding:
    """One list of classes: for the targets, for the head's outputs and for the submission."""
    competition, table, target = case.job.competition, case.job.table, case.job.target
    encode, outputs = TASKS[competition.task].encode, competition.outputs
    if target.shape != (len(table), len(outputs)):
        return fail(
            f"targets {target.shape} for {len(table)} images and {len(outputs)} outputs",
            "encode in src/competition/tasks.py: a column per output",
        )
    each = np.sort(case.labels.reset_index(drop=True).drop_duplicates().index[:200])
    for i in each:
        alone = encode(table.iloc[[i]], competition)
        if alone.shape != (1, len(outputs)) or not np.array_equal(alone[0], target[i]):
            return fail(
                f"label {case.labels.iloc[i]!r} is encoded as {alone[0].tolist()[:8]} alone, as"
                f" {target[i].tolist()[:8]} with all others",
                "build the class list once, as competition.classes, and not from the rows at hand: encode in"
                " src/competition/tasks.py",
            )
        if case.is_single and outputs[target[i].argmax()] != case.labels.iloc[i]:
            return fail(
                f"label {case.labels.iloc[i]!r} is encoded as class {outputs[target[i].argmax()]!r}",
                "use the order of competition.classes: encode in src/competition/tasks.py",
            )
    return answered(case) if case.is_single else good(f"{len(outputs)} outputs: {some(outputs, 10)}")


def answered(case: Case) -> Finding:
    """A sure prediction of each class must come out of the submission's form as that class."""
    competition = case.job.competition
    sample, classes = answers.sample(case.settings.folder, competition), competition.classes
    rows = sample.drop_duplicates(sample.columns[0]).head(len(classes))
    sure = pd.DataFrame(
        np.eye(len(classes), dtype=np.float32)[: len(rows)],
        columns=list(classes),
        index=pd.Index(rows.iloc[:, 0], name="row"),
    )
    answer = answers.answer_rows(competition, sure, rows).drop(columns=competition.header[0])
    wanted = list(classes[: len(rows)])
    if {*answer} == {*classes}:
        said = answer.astype(float).idxmax(axis=1).tolist()
    elif len(answer.columns) == 1 and set(answer.iloc[:, 0].astype(str)) <= {*classes}:
        said = answer.iloc[:, 0].astype(str).tolist()
    else:
        # another form of the host's own, whose columns don't say what they mean
        said = wanted
    wrong = [f"{w!r} as {s!r}" for w, s in zip(wanted, said) if w != s]
    if wrong:
        return fail(
            f"the submission says {some(wrong)}: classes and the sample's columns are joined by position",
            "join by name, such as by_row[list(sample.columns[1:])]: answer in src/competitions.py",
        )
    stray = set(sample.iloc[:, 1]) - {*classes, ""} if competition.answer == "label" else set()
    if stray:
        return warn(
            f"the sample's column {sample.columns[1]!r} holds {some(sorted(stray))}, no class of train"
            f" ({some(classes)})",
            "does the host want other names or codes? Then state answer in src/competitions.py",
        )
    columns = {*competition.header[1:]} if competition.answer == "probabilities" else {*classes}
    if columns != {*classes}:
        return warn(
            f"columns without a training image, which get 0: {some(sorted(columns - {*classes})) or 'none'}; "
            f"classes without a column: {some(sorted({*classes} - columns)) or 'none'}",
            "are labels misspelt? Else state labels or make_table in src/competitions.py",
        )
    return good(
        f"{len(classes)} classes, the same list for targets, outputs and submission: {some(classes, 10)}"
    )


# the others need what these read
BEFORE: dict[str, Check] = {"folds": check_folds, "settings": read_job}
LABELS: dict[str, Check] = {"labels": label_map}
