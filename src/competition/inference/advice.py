"""Advice that was tried: each statement that may answer an open question is loaded in memory first, and shown
only where it leads to tables.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition import answers, tables
from src.competition.definition import stated_facts
from src.competition.facts import Competition
from src.competition.stated import NAMES

MOST = 12  # statements that are tried
SHOWN = 4  # and shown at most

Statement = dict[str, Any]  # fields of a Competition
Complete = Callable[[Competition], Competition]


class Unclear(ValueError):
    """The files tell none or several. candidates: statements that may be the answer."""

    def __init__(self, message: str, *candidates: Statement) -> None:
        super().__init__(message)
        self.candidates = candidates


class Code(str):
    """A function as it is pasted."""


def value_of(value: Any) -> Any:
    return (
        eval(value, dict(NAMES)) if isinstance(value, Code) else value
    )  # the kit's own text, never a file's


def lines(error: Unclear, stated: Competition, root: Path, complete: Complete) -> str:
    """The statements that work, each as the file that holds it; "" where none does."""
    working = try_all(error, stated, root, complete)
    working.sort(key=lambda trial: -trial[2])
    if not working:
        return ""
    text = "".join(
        f"\n  {as_line(stated, statement)}    # {counts}" for statement, counts, _ in working[:SHOWN]
    )
    return (
        f"\nTried, and it works: one of these lines, alone in a file {root.name}/competition.py beside the"
        f" data:{text}"
    )


def try_all(
    error: Unclear, stated: Competition, root: Path, complete: Complete
) -> list[tuple[Statement, str, int]]:
    """(statement, what it gives, images) of each candidate that leads to tables, alone or with one more
    statement.
    """
    working = []
    left = MOST
    waiting = [(candidate, True) for candidate in error.candidates]
    while waiting and left:
        statement, may_ask = waiting.pop(0)
        left -= 1
        try:
            competition, table, test = load(stated, statement, root, complete)
        except Unclear as again:
            if may_ask:
                waiting = [(statement | more, False) for more in again.candidates] + waiting
            continue
        except ValueError:
            continue
        if table["path"].is_unique and {*table["path"]} & {*test["path"]}:
            continue  # it would learn the test images
        num_classes = len(competition.classes)
        kinds = f"{num_classes} classes" if num_classes else f"{len(competition.outputs)} numbers"
        working.append((statement, f"{kinds}, {len(table):,} images; test {len(test):,}", len(table)))
    return working


def load(
    stated: Competition, statement: Statement, root: Path, complete: Complete
) -> tuple[Competition, pd.DataFrame, pd.DataFrame]:
    """The competition with this statement, and its tables, checked. Raises ValueError."""
    facts = {name: value_of(value) for name, value in statement.items()}
    competition = complete(replace(stated, **facts))
    table, test = tables.make_train(root, competition), tables.make_test(root, competition)
    answers.check_sample(competition, test, answers.sample(root, competition))
    return competition, table, test


def as_line(stated: Competition, statement: Statement) -> str:
    """The definition as one line: what was stated before, where it can be written, and the statement."""
    facts = {name: value for name, value in stated_facts(stated).items() if not callable(value)}
    facts = facts | statement
    facts.pop("name", None)
    words = [f"{name}={value if isinstance(value, Code) else repr(value)}" for name, value in facts.items()]
    return f"def competition(): return Competition({', '.join(words)})"
