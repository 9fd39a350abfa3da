"""The host's metric of predictions, which go through pool, answer and metric as the submission does."""

import inspect
from collections.abc import Callable

import pandas as pd

from src.competition import answers
from src.competition.facts import Competition
from src.competition.messages import listed, state
from src.competition.metrics import METRICS, split_words
from src.competition.tasks import TASKS
from src.run import predictions

Score = Callable[[pd.DataFrame], float]


def score(competition: Competition, table: pd.DataFrame, oof: pd.DataFrame) -> float:
    """The metric of predictions for images of the table."""
    return score_of(competition, table)(oof)


def score_of(competition: Competition, table: pd.DataFrame) -> Score:
    """`score` as a function of the predictions alone. Called again for the same images, epoch by epoch, it
    makes their truth only once.
    """
    rows = pd.Index([])
    score_rows: Score | None = None

    def score_images(oof: pd.DataFrame) -> float:
        nonlocal rows, score_rows
        part, by_row = pooled(competition, table, oof)
        if score_rows is None or not rows.equals(by_row.index):
            rows = by_row.index
            score_rows = scorer(competition, part, rows)
        return score_rows(by_row)

    return score_images


def scorer(competition: Competition, table: pd.DataFrame, rows: pd.Index) -> Score:
    """The metric as a function of predictions for these rows, whose truth is made only once."""
    blank = answers.blank(competition, rows)
    if competition.make_solution:
        solution = competition.make_solution(table, competition)
    else:
        solution = answers.answer_rows(competition, truth(competition, table), blank)

    def score_rows(by_row: pd.DataFrame) -> float:
        return metric_value(competition, solution, answers.answer_rows(competition, by_row, blank))

    return score_rows


def truth(competition: Competition, table: pd.DataFrame) -> pd.DataFrame:
    """What perfect predictions by row would be. Raises ValueError where images of one row differ in label."""
    encoded = TASKS[competition.task].encode(table, competition)
    images = predictions.make(table["id"], encoded, competition.outputs)
    row = table.set_index("id")["row"]
    largest = predictions.pool(images, row, "max")
    smallest = predictions.pool(images, row, "min")
    differing = largest.index[(largest != smallest).any(axis=1)]
    if len(differing):
        raise ValueError(
            f"images of one row differ in label: {listed(list(differing))}: {state('make_solution')}"
        )
    return largest


def pooled(
    competition: Competition, table: pd.DataFrame, oof: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The part of the table that is predicted, and the predictions by row."""
    if not pd.Index(table["id"]).equals(oof.index):  # they usually are equal, and isin is slow
        table = table[table["id"].isin(oof.index)]
    return table, predictions.pool(oof, table.set_index("id")["row"], competition.pool)


def metric_value(competition: Competition, solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """The metric of two frames in the host's form, joined by row."""
    row = submission.columns[0]
    solution = solution.rename(columns={solution.columns[0]: row}).set_index(row)
    submission = submission.set_index(row)
    if not submission.index.equals(solution.index):
        submission = submission.loc[solution.index]
    # the truth may come from a csv, as text
    numeric = [name for name in submission.select_dtypes("number") if name in solution]
    if numeric:
        solution = solution.assign(**{name: pd.to_numeric(solution[name]) for name in numeric})
    metric = competition.metric
    if not callable(metric):
        if competition.answer == "words":
            solution, submission = split_words(solution, submission)
        return named_metric(competition, metric, solution, submission)
    required = [p for p in inspect.signature(metric).parameters.values() if p.default is p.empty]
    if len(required) < 3:
        return float(metric(solution, submission))
    return float(metric(solution.reset_index(), submission.reset_index(), row))


def named_metric(
    competition: Competition, name: str, solution: pd.DataFrame, submission: pd.DataFrame
) -> float:
    """One of METRICS. The task says whether each row has one class: the sums of rows don't, where these are
    pooled by max or have a label each.
    """
    metric = METRICS[name]
    if "is_single" in inspect.signature(metric).parameters:
        return metric(solution, submission, is_single=competition.is_single)
    return metric(solution, submission)


def usual_scores(competition: Competition, table: pd.DataFrame, oof: pd.DataFrame) -> dict[str, float]:
    """Accuracy and log loss, or RMSE and MAE of values, whatever the host's metric is."""
    table, by_row = pooled(competition, table, oof)
    columns = list(competition.scored or competition.outputs)
    solution = truth(competition, table)[columns]
    names = ("rmse", "mae") if TASKS[competition.task].kind == "value" else ("accuracy", "log_loss")
    return {name: named_metric(competition, name, solution, by_row[columns]) for name in names}
