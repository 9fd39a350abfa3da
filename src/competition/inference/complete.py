"""What is stated of a competition, completed from its files."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from src.competition import answers
from src.competition.facts import NUMBERS, Competition
from src.competition.inference import advice
from src.competition.inference.advice import Unclear
from src.competition.inference.cells import are_numbers
from src.competition.inference.check import check
from src.competition.inference.evidence import Evidence
from src.competition.inference.infer import infer_facts
from src.competition.metrics import LOWER_IS_BETTER, PROBABILITY_METRICS
from src.competition.stated import FILE


def infer(stated: Competition, root: Path) -> Competition:
    """What is stated, and the rest from the files: all but the metric, which they do not tell. Raises
    ValueError, with the statements that help: each was tried.
    """
    evidence: dict[bool, Evidence] = {}

    def complete(candidate: Competition) -> Competition:
        any_file = bool(candidate.read_image)
        if any_file not in evidence:
            evidence[any_file] = Evidence(root, any_file)
        return completed(candidate, evidence[any_file])

    try:
        return complete(stated)
    except Unclear as error:
        raise ValueError(f"{error}{advice.lines(error, stated, root, complete)}") from error


def completed(stated: Competition, evidence: Evidence) -> Competition:
    c = infer_facts(stated, evidence, reads_probabilities=stated.metric in PROBABILITY_METRICS)
    c = replace(c, metric=c.metric or usual_metric(c, evidence.root))
    c = replace(c, lower_is_better=c.lower_is_better or c.metric in LOWER_IS_BETTER)
    check(c)
    return replace(c, assumed=assumptions(c, stated))


def usual_metric(c: Competition, root: Path) -> str:
    """The metric of most hosts that want this form: log loss of probabilities, RMSE of numbers, kappa of
    grades, MAP of ranked labels.
    """
    if c.answer == "ranked":
        num = len(answers.sample(root, c)[c.header[1]].iloc[0].split()) if c.sample_csv else 5
        return next((f"map{k}" for k in (3, 5, 10) if k >= num), "map20")
    if c.task == "ordinal" and are_numbers(pd.Series(c.classes)):
        return "quadratic_weighted_kappa"
    if c.task in NUMBERS:
        return "rmse"
    return "log_loss" if c.answer in ("probability", "probabilities") else "macro_f1"


def assumptions(c: Competition, stated: Competition) -> str:
    """The metric, the mirrors and the form of the answer where nothing tells them, with how to state others,
    in one line.
    """
    guesses, others = [], []
    if not stated.metric:
        guesses.append(f"metric={c.metric!r}")
        usual = {"rmse": "mae", "log_loss": "roc_auc"}.get(str(c.metric), "accuracy")
        others.append(f"metric={usual!r}")
    if stated.flips == "auto":
        meaning = "a mirror image keeps its label" if c.flips else "no mirror images"
        guesses.append(f"flips={c.flips!r} ({meaning})")
        others.append("flips=''")
    if not c.sample_csv and not stated.header:
        guesses.append(f"header={c.header!r} (there is no sample submission)")
        others.append("header=('id', 'label')")
    if not guesses:
        return ""
    return (
        f"assumed, since no file tells it: {', '.join(guesses)}; to state another, such as {others[0]}, write"
        f" into {c.name}/{FILE} beside the data: def competition(): return Competition({others[0]})"
    )
