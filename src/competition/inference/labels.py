"""Which column of the training table holds the label."""

import re
from collections.abc import Callable

import pandas as pd

from src.competition.facts import Competition
from src.competition.inference.advice import Code, Unclear
from src.competition.inference.cells import is_number, telling
from src.competition.inference.columns import longer_names, plain_name, without_affixes
from src.competition.inference.evidence import Naming, Table
from src.competition.messages import listed, state

Sign = Callable[[str], bool]  # of a column's name
LABEL_WORDS = {"label", "labels", "target", "class", "category", "answer", "ans", "y"}


def find_labels(
    train: pd.DataFrame,
    test: pd.DataFrame,
    c: Competition,
    asked: list[str],
    sample: Table,
    key: Naming | None,
) -> tuple[str, ...]:
    """The sample's columns found in train; else the column whose values are the sample's columns or cells;
    else the only one that is nothing else. Raises Unclear.
    """
    paths = {key.column} if key and key.is_path else set()
    known = {"id", "path", "row", c.id, c.row, c.group, *c.features, *paths}
    free = [name for name in train if name not in known]
    columns = tuple(name for name in asked if name in free)
    if not columns and len(asked) > 1:
        columns = without_affixes(asked, free)
        refuse_longer_names(asked, free, columns, c)
    return columns or (find_label(train, test, telling(train, known), asked, sample),)


def refuse_longer_names(asked: list[str], free: list[str], columns: tuple[str, ...], c: Competition) -> None:
    """Training columns that are called longer than the sample's. Raises Unclear."""
    longer = longer_names(asked, free) if not columns else {}
    if longer:
        text = f"lambda root: tables.read_table(root / {c.train_csv!r}).rename(columns={longer!r})"
        raise Unclear(
            f"the sample's {listed(asked)} are called {listed(list(longer))} in {c.train_csv}: "
            + state("a make_table that renames them"),
            {"make_table": Code(text)},
        )


def find_label(
    train: pd.DataFrame, test: pd.DataFrame, columns: list[str], asked: list[str], sample: Table
) -> str:
    """The only column that the signs leave, the surest sign first. Raises Unclear."""
    cells = sample_cells(sample, asked)
    possible = narrowed(columns, signs_of_contents(train, test, columns, asked, cells))
    left = narrowed(possible, signs_of_names(asked))
    twins = twins_of(left[0], train, possible) if len(left) == 1 else left
    words = {word for cell in cells for word in (cell, *cell.split())}
    if twin := one_of_twins(train, twins, words):
        return twin
    if len(left) != 1:
        raise Unclear(
            f"which column is the label? Candidates: {listed(left) or 'none'}: "
            + state('labels=("column",)'),
            *({"labels": (name,)} for name in left),
        )
    return left[0]


def narrowed(columns: list[str], signs: list[Sign]) -> list[str]:
    """The columns that each sign in turn leaves; a sign that leaves none tells nothing."""
    for sign in signs:
        columns = [name for name in columns if sign(name)] or columns
    return columns


def signs_of_contents(
    train: pd.DataFrame, test: pd.DataFrame, columns: list[str], asked: list[str], cells: list[str]
) -> list[Sign]:
    """It holds the sample's columns, with something before or after, or joined in a cell; the test images
    have no such column; it holds the sample's cells.
    """
    values = {name: set(train[name].unique()) - {""} for name in columns}
    words = {cell for cell in cells if not is_number(cell)}

    def is_affixed(name: str) -> bool:
        longest_first = sorted(values[name], key=len, reverse=True)
        return 0 < len(longest_first) <= len(asked) + 5 and bool(without_affixes(asked, longest_first))

    several: list[Sign] = [
        lambda name: 2 * len(values[name] & {*asked}) >= max(len(values[name]), 1),
        is_affixed,
        lambda name: words_of(values[name]) <= {*asked},
    ]
    return [
        *(several if len(asked) > 1 else []),
        lambda name: name not in test,
        lambda name: bool(words) and 2 * len(words & values[name]) >= len(words),
    ]


def signs_of_names(asked: list[str]) -> list[Sign]:
    names = LABEL_WORDS | {name.lower() for name in asked}
    plain = {plain_name(name) for name in names}
    return [lambda name: name.lower() in names, lambda name: plain_name(name) in plain]


def words_of(cells: set[str]) -> set[str]:
    """The labels that cells join by |, ; or comma."""
    return {word.strip() for cell in cells for word in re.split(r"[|;,]", cell)}


def sample_cells(sample: Table, asked: list[str]) -> list[str]:
    """The different cells of the only column that is to be filled."""
    if len(asked) != 1 or asked[0] not in sample.frame:
        return []
    return [cell for cell in sample.frame[asked[0]].unique()[:2000] if cell]


def twins_of(name: str, train: pd.DataFrame, columns: list[str]) -> list[str]:
    """The columns that say the same as this one, such as a class's number and its name; this one first."""
    codes = codes_of(train[name])
    return [name, *(other for other in columns if other != name and codes_of(train[other]) == codes)]


def one_of_twins(train: pd.DataFrame, columns: list[str], words: set[str]) -> str:
    """Of columns that say the same: the only one that holds what the sample holds, else ""."""
    if any(codes_of(train[name]) != codes_of(train[columns[0]]) for name in columns[1:]):
        return ""
    holding = [name for name in columns if words & {*train[name]}]
    return holding[0] if len(holding) == 1 else ""


def codes_of(cells: pd.Series) -> list[int]:
    return pd.factorize(cells)[0].tolist()
