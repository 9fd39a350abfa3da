"""Advice that was tried: each statement that may answer an open question is loaded in memory first, and shown
only where it leads to tables.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition import answers, tables
from src.competition.facts import Competition

MOST = 12  # statements that are tried
SHOWN = 4  # and shown at most


class Unclear(ValueError):
    """The files tell none or several. candidates: statements, each the fields of a Competition, that may be
    the answer.
    """

    def __init__(self, message: str, *candidates: dict[str, Any]) -> None:
        super().__init__(message)
        self.candidates = candidates


class Code(str):
    """A function as it is pasted."""


def value_of(value: Any) -> Any:
    if isinstance(value, Code):
        from src.competition import stated

        return eval(value, vars(stated) | {"pd": pd})  # the kit's own text, never a file's
    return value


def lines(
    error: Unclear, stated: Competition, root: Path, complete: Callable[[Competition], Competition]
) -> str:
    """The statements that work, each as the file that holds it; "" where none does."""
    working = sorted(tried(error, stated, root, complete, {}, [MOST]), key=lambda pair: -pair[2])[:SHOWN]
    if not working:
        return ""
    text = "".join(f"\n  {as_line(stated, statement)}    # {counts}" for statement, counts, _ in working)
    return (
        f"\nTried, and it works: one of these lines, alone in a file {root.name}/competition.py beside the"
        f" data:{text}"
    )


def tried(
    error: Unclear,
    stated: Competition,
    root: Path,
    complete: Callable[[Competition], Competition],
    before: dict[str, Any],
    left: list[int],
) -> list[tuple[dict[str, Any], str, int]]:
    """(statement, what it gives, images) of each candidate that leads to tables, alone or with one more
    statement.
    """
    working = []
    for candidate in error.candidates:
        if left[0] <= 0:
            break
        left[0] -= 1
        statement = before | candidate
        try:
            competition = complete(
                replace(stated, **{name: value_of(value) for name, value in statement.items()})
            )
            table, test = tables.make_train(root, competition), tables.make_test(root, competition)
            answers.check_sample(competition, test, answers.sample(root, competition))
            if {*table["path"]} & {*test["path"]} and table["path"].is_unique:
                continue  # it would learn the test images
        except Unclear as again:
            if not before:
                working += tried(again, stated, root, complete, statement, left)
        except ValueError:
            continue
        else:
            kinds = (
                f"{len(competition.classes)} classes"
                if competition.classes
                else f"{len(competition.outputs)} numbers"
            )
            working.append((statement, f"{kinds}, {len(table):,} images; test {len(test):,}", len(table)))
    return working


def as_line(stated: Competition, statement: dict[str, Any]) -> str:
    """The definition as one line: what was stated before, where it can be written, and the statement."""
    known = {
        f.name: getattr(stated, f.name)
        for f in fields(stated)
        if f.compare and f.name != "name" and getattr(stated, f.name) != f.default
    }
    known = {name: value for name, value in known.items() if not callable(value)}
    text = ", ".join(
        f"{name}={value if isinstance(value, Code) else repr(value)}"
        for name, value in (known | statement).items()
    )
    return f"def competition(): return Competition({text})"
