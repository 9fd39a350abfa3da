"""What is stated of a competition, completed from its files; and the check that it can be submitted."""

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pandas as pd

from src.competition import answers
from src.competition.answers import ANSWERS
from src.competition.facts import NUMBERS, OUTPUT, WORDS, Competition
from src.competition.inference import advice
from src.competition.inference import infer as inference
from src.competition.inference.evidence import Evidence
from src.competition.messages import listed, state
from src.competition.metrics import LABEL_METRICS, LOWER_IS_BETTER, METRICS, PROBABILITY_METRICS
from src.competition.stated import FILE
from src.competition.tasks import TASKS


def infer(stated: Competition, root: Path) -> Competition:
    """What is stated, and the rest from the files: all but the metric, which they do not tell. Raises
    ValueError, with the statements that help: each was tried.
    """
    evidence: list[Evidence] = []

    def complete(candidate: Competition) -> Competition:
        if not evidence or candidate.read_image != stated.read_image:
            evidence[:] = [Evidence(root, bool(candidate.read_image))]
        return inferred(candidate, root, evidence[0])

    try:
        return complete(stated)
    except inference.Unclear as error:
        raise ValueError(f"{error}{advice.lines(error, stated, root, complete)}") from error


def inferred(stated: Competition, root: Path, evidence: Evidence) -> Competition:
    c = inference.facts(
        stated, root, reads_probabilities=stated.metric in PROBABILITY_METRICS, known=evidence
    )
    c = replace(c, metric=c.metric or usual_metric(c, root))
    c = replace(c, lower_is_better=c.lower_is_better or c.metric in LOWER_IS_BETTER)
    check(c)
    return replace(c, assumed=guesses(c, stated))


def guesses(c: Competition, stated: Competition) -> str:
    """The metric, the mirrors and the form of the answer where nothing tells them, with how to state others,
    in one line.
    """
    guessed = [] if stated.metric else [f"metric={c.metric!r}"]
    if stated.flips == "auto":
        guessed.append(
            f"flips={c.flips!r} ({'a mirror image keeps its label' if c.flips else 'no mirror images'})"
        )
    if not c.sample_csv and not stated.header:
        guessed.append(f"header={c.header!r} (there is no sample submission)")
    if not guessed:
        return ""
    usual = {"rmse": "mae", "log_loss": "roc_auc"}.get(str(c.metric), "accuracy")
    other = (
        f"metric='{usual}'"
        if not stated.metric
        else "flips=''"
        if stated.flips == "auto"
        else "header=('id', 'label')"
    )
    return (
        f"assumed, since no file tells it: {', '.join(guessed)}; to state another, such as {other}, write"
        f" into {c.name}/{FILE} beside the data: def competition(): return Competition({other})"
    )


def plainly(name: str) -> str:
    """A name without what spellings differ in: case, spaces, marks, and how a Mac writes an accent."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFC", name).casefold())


def usual_metric(c: Competition, root: Path) -> str:
    """The metric of most hosts that want this form: log loss of probabilities, RMSE of numbers, kappa of
    grades, MAP of ranked labels.
    """
    if c.answer == "ranked":
        most = len(answers.sample(root, c)[c.header[1]].iloc[0].split()) if c.sample_csv else 5
        return next((f"map{k}" for k in (3, 5, 10) if k >= most), "map20")
    if c.task == "ordinal" and inference.are_numbers(pd.Series(c.classes)):
        return "quadratic_weighted_kappa"
    if c.task in NUMBERS:
        return "rmse"
    return "log_loss" if c.answer in ("probability", "probabilities") else "macro_f1"


ADD_IT = {
    "metric": ", or state a function of your own, or add it in src/competition/metrics.py",
    "task": ", or add it in src/competition/tasks.py",
    "answer": ", or state a function of your own",
    "pool": ", or state a function of your own",
}


def check(c: Competition) -> None:
    """Names that exist, and a submission whose columns can be filled. Raises ValueError."""
    choices = {
        "task": [*TASKS],
        "answer": [*ANSWERS],
        "metric": [*METRICS],
        "pool": ["mean", "max"],
        "flips": ["", "h", "v", "hv"],
    }
    problems = [
        f"{name}={getattr(c, name)!r} is unknown; choose from {', '.join(known)}{ADD_IT.get(name, '')}"
        for name, known in choices.items()
        if not callable(getattr(c, name)) and getattr(c, name) not in known
    ]
    asked, outputs = c.names[1:], c.scored or c.outputs
    # some class of the sample may have no training image
    lost = [name for name in asked if name not in outputs]
    alike = {plainly(name): name for name in c.outputs if name not in asked}
    meant = [(alike[plainly(name)], name) for name in lost if plainly(name) in alike]
    if c.answer == "probabilities" and meant:
        problems.append(
            f"{c.sample_csv or 'header'}:"
            f" {', '.join(f'the label {label!r} is the column {name!r}' for label, name in meant[:5])}: "
            + state("a make_table that gives the labels their columns' names")
        )
    one = len(asked) == 1 and (c.answer not in ("probabilities", "value") or len(outputs) == 1)
    if OUTPUT in c.row and len(asked) == 1:
        one = True
    several = (
        len(asked) > 1
        and c.answer in ("probabilities", "value")
        and not (lost if len(c.labels) > 1 else len(lost) == len(asked))
    )
    if not (one or several or callable(c.answer)):
        problems.append(
            f"{c.sample_csv or 'header'}: {c.answer} of {listed(list(outputs))} can't fill the columns"
            f" {listed(lost or list(asked)) or '(none)'}; state sample_csv, labels, scored, answer or"
            " header"
        )
    if (
        c.metric in PROBABILITY_METRICS
        and c.answer in ("label", *WORDS, "value")
        and (c.metric, c.answer) != ("spearman", "value")
    ):
        problems.append(
            f"metric={c.metric!r} reads probabilities, the submission holds a {c.answer}; state metric,"
            " answer or header"
        )
    if c.metric in LABEL_METRICS and c.answer == "value":
        problems.append(
            f"metric={c.metric!r} reads labels, the submission holds numbers that are not rounded: state"
            " task='ordinal' for grades (its answer is the nearest one), or a function that rounds as answer"
        )
    if (
        not callable(c.metric)
        and not callable(c.answer)
        and c.metric.startswith("map") != (c.answer == "ranked")
    ):
        problems.append(
            f"metric={c.metric!r} and answer={c.answer!r} don't go together: map3 and its like read"
            " answer='ranked', the others don't"
        )
    if c.task == "bounded" and not (len(c.bounds) == 2 and c.bounds[0] < c.bounds[1]):
        problems.append(
            f"bounds={c.bounds!r}: state the smallest and the largest value, such as bounds=(0, 100)"
        )
    if problems:
        renamed = dict(meant) if c.train_csv and len(c.labels) == 1 and c.answer == "probabilities" else {}
        # a sample with one more column, such as a confidence, whose cells are handed on as they are
        parts = [
            {"header": (c.header[0], name)}
            for name in c.header[1:]
            if len(c.header) > 2 and (name,) == c.labels
        ]
        named = (
            [
                {
                    "make_table": advice.Code(
                        f"lambda root: reshape.recoded(root, {c.train_csv!r}, {c.labels[0]!r}, {renamed!r})"
                    )
                }
            ]
            if renamed
            else []
        )
        raise inference.Unclear(
            "src/competitions.py, or what was inferred: " + "\n".join(problems), *parts, *named
        )
