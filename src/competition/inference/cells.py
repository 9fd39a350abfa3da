"""Small tests of a column's cells, which the guesses rest on."""

import re

import pandas as pd

from src.competition.listing import IMAGE_SUFFIXES
from src.competition.tables import NUMBER

GROUP_WORDS = (
    r"patient|person|people|subject|participant|group|source|site|driver|location|camera|hospital|session"
    r"|individual|user"
)


def is_number(cell: str) -> bool:
    return bool(re.fullmatch(NUMBER, cell))


def are_numbers(cells: pd.Series) -> bool:
    return bool(cells.str.fullmatch(NUMBER).all())


def are_words(cells: pd.Series) -> bool:
    """Several labels joined by spaces, not names with a space in them: a small vocabulary makes many values,
    and its words occur alone, or always in the same order.
    """
    distinct = set(cells.str.strip()) - {""}
    rows = [cell.split() for cell in distinct]
    words = {word for row in rows for word in row}
    if distinct > words or (distinct & words and 2 * len(words) < len(distinct)):
        return True
    return len(words) < len(distinct) and are_sorted([row for row in rows if len(row) > 1])


def are_sorted(rows: list[list[str]]) -> bool:
    """Are the words of all rows sorted? Tags often are, names of two words by chance in half of the cases."""
    if len(rows) < 8 or any(len({*row}) < len(row) for row in rows):
        return False
    return all(row == sorted(row, key=str.casefold) for row in rows)


def is_constant(cells: pd.Series) -> bool:
    return cells.nunique() <= 1


def is_line_number(cells: pd.Series) -> bool:
    values = cells.tolist()
    start = int(values[0]) if values and values[0] in ("0", "1") else None
    return start is not None and values == [str(number) for number in range(start, start + len(values))]


def is_idle(cells: pd.Series) -> bool:
    """One value for all, or the number of the line: says nothing of an image."""
    return is_constant(cells) or is_line_number(cells)


def is_path(cells: pd.Series) -> bool:
    cells = cells.str.strip().str.lower()
    return bool(
        cells.head(20).str.endswith(IMAGE_SUFFIXES).all() and cells.str.endswith(IMAGE_SUFFIXES).all()
    )


def telling(frame: pd.DataFrame, known: set[str]) -> list[str]:
    """The columns that are neither known, nor paths, nor idle."""
    others = [name for name in frame if name not in known]
    return [name for name in others if not is_path(frame[name]) and not is_idle(frame[name])]


def joined_by(cells: pd.Series, columns: list[str]) -> str:
    """What joins several labels in a cell, "" when nothing does. The words are all columns of the sample or,
    where it has one, occur alone too.
    """
    values = list(cells.unique())
    for mark in (" ", "|", ";", ","):
        if not any(mark in value.strip() for value in values):
            continue
        rows = [[word.strip() for word in value.split(mark) if word.strip()] for value in values]
        words = {word for row in rows if len(row) > 1 for word in row}
        if len(columns) > 1:
            is_joined = words <= {*columns}
        else:
            is_joined = are_words(pd.Series([" ".join(map(without_spaces, row)) for row in rows], dtype=str))
        if words and is_joined:
            return mark
    return ""


def without_spaces(word: str) -> str:
    return "_".join(word.split())


def find_suspects(frame: pd.DataFrame) -> tuple[str, ...]:
    """Columns that look like a group (a patient, a site): by name, or because their values return a few times
    each.
    """
    suspects, num = [], len(frame)
    for name, count in frame.nunique().items():
        is_named = re.search(GROUP_WORDS, name.lower()) and 2 < count < num
        if is_named or 10 <= count <= 0.4 * num <= 20 * count:
            suspects.append(name)
    return tuple(suspects)
