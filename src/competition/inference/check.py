"""Can what was stated and inferred be submitted? Names that exist, and columns that can be filled."""

import re
import unicodedata

from src.competition.answers import ANSWERS
from src.competition.facts import OUTPUT, WORDS, Competition
from src.competition.inference.advice import Code, Statement, Unclear
from src.competition.messages import listed, state
from src.competition.metrics import LABEL_METRICS, METRICS, PROBABILITY_METRICS
from src.competition.tasks import TASKS

CHOICES = {
    "task": [*TASKS],
    "answer": [*ANSWERS],
    "metric": [*METRICS],
    "pool": ["mean", "max"],
    "flips": ["", "h", "v", "hv"],
}
ADD_IT = {
    "metric": ", or state a function of your own, or add it in src/competition/metrics.py",
    "task": ", or add it in src/competition/tasks.py",
    "answer": ", or state a function of your own",
    "pool": ", or state a function of your own",
}


def check(c: Competition) -> None:
    """Raises Unclear with all that does not fit together."""
    problems = unknown_names(c) + wrong_names(c) + wrong_columns(c) + wrong_metric(c)
    if c.task == "bounded" and not (len(c.bounds) == 2 and c.bounds[0] < c.bounds[1]):
        problems.append(
            f"bounds={c.bounds!r}: state the smallest and the largest value, such as bounds=(0, 100)"
        )
    if problems:
        raise Unclear("src/competitions.py, or what was inferred: " + "\n".join(problems), *statements(c))


def unknown_names(c: Competition) -> list[str]:
    values = {name: getattr(c, name) for name in CHOICES}
    return [
        f"{name}={value!r} is unknown; choose from {', '.join(CHOICES[name])}{ADD_IT.get(name, '')}"
        for name, value in values.items()
        if not callable(value) and value not in CHOICES[name]
    ]


def plainly(name: str) -> str:
    """A name without what spellings differ in: case, spaces, marks, and how a Mac writes an accent."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFC", name).casefold())


def misspelt(c: Competition) -> dict[str, str]:
    """Label -> the sample's column that is the same but for its spelling."""
    asked = c.names[1:]
    labels = {plainly(name): name for name in c.outputs if name not in asked}
    columns = [name for name in asked if name not in (c.scored or c.outputs)]
    is_by_column = c.answer == "probabilities"
    return {labels[plainly(name)]: name for name in columns if is_by_column and plainly(name) in labels}


def wrong_names(c: Competition) -> list[str]:
    pairs = [f"the label {label!r} is the column {name!r}" for label, name in misspelt(c).items()]
    if not pairs:
        return []
    fact = "a make_table that gives the labels their columns' names"
    return [f"{c.sample_csv or 'header'}: {', '.join(pairs[:5])}: {state(fact)}"]


def wrong_columns(c: Competition) -> list[str]:
    """Columns that the answer can't fill. Some class of the sample may have no training image."""
    asked, outputs = c.names[1:], c.scored or c.outputs
    lost = [name for name in asked if name not in outputs]
    is_by_column = c.answer in ("probabilities", "value")
    if callable(c.answer):
        return []
    if len(asked) == 1 and (not is_by_column or len(outputs) == 1 or OUTPUT in c.row):
        return []
    is_lost = bool(lost) if len(c.labels) > 1 else len(lost) == len(asked)
    if len(asked) > 1 and is_by_column and not is_lost:
        return []
    columns = listed(lost or list(asked)) or "(none)"
    return [
        f"{c.sample_csv or 'header'}: {c.answer} of {listed(list(outputs))} can't fill the columns {columns};"
        " state sample_csv, labels, scored, answer or header"
    ]


def wrong_metric(c: Competition) -> list[str]:
    """A metric that can't read the answer."""
    metric, answer = c.metric, c.answer
    if callable(metric) or callable(answer):
        return []
    problems = []
    is_order_of_values = (metric, answer) == ("spearman", "value")
    if metric in PROBABILITY_METRICS and answer in ("label", *WORDS, "value") and not is_order_of_values:
        problems.append(
            f"metric={metric!r} reads probabilities, the submission holds a {answer}; state metric, answer or"
            " header"
        )
    if metric in LABEL_METRICS and answer == "value":
        problems.append(
            f"metric={metric!r} reads labels, the submission holds numbers that are not rounded: state"
            " task='ordinal' for grades (its answer is the nearest one), or a function that rounds as answer"
        )
    if metric.startswith("map") != (answer == "ranked"):
        problems.append(
            f"metric={metric!r} and answer={answer!r} don't go together: map3 and its like read"
            " answer='ranked', the others don't"
        )
    return problems


def statements(c: Competition) -> list[Statement]:
    """What may help: a sample's column that is copied, such as a confidence; labels called as its columns."""
    some: list[Statement] = []
    if len(c.header) > 2:
        some = [{"header": (c.header[0], name)} for name in c.header[1:] if (name,) == c.labels]
    renamed = misspelt(c)
    if renamed and c.train_csv and len(c.labels) == 1:
        code = f"lambda root: reshape.recoded(root, {c.train_csv!r}, {c.labels[0]!r}, {renamed!r})"
        some.append({"make_table": Code(code)})
    return some
