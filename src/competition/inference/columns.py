"""Which column is what: the id, the row of the submission, the labels; and which of the sample's columns are
to be filled.
"""

import re

import pandas as pd

from src.competition.facts import OUTPUT
from src.competition.image_paths import fill
from src.competition.inference.advice import Unclear
from src.competition.inference.cells import is_constant, is_idle, is_line_number
from src.competition.inference.evidence import Evidence, Table
from src.competition.messages import listed, state

Partition = tuple[str, list[tuple[str, str]]]  # a mark, and the two parts of each row


def host_header(sample: Table, row: str, copied: set[str]) -> tuple[str, ...]:
    """The submission's columns as they are written there: the row's first, without those to be copied."""
    if not sample.file:
        return ()
    names = dict(zip(sample.frame.columns, sample.header))
    return (names[row], *(raw for name, raw in names.items() if name != row and name not in copied))


def copied_columns(sample: Table, row: str, test: Table | None) -> set[str]:
    """Columns of the sample that are copied as they stand: paths, line numbers, what the test table says of
    the image.
    """
    frame = sample.frame
    others = [name for name in frame if name != row]
    if len(others) < 2:
        return set()
    copied = {name for name in others if name.startswith("Unnamed")}
    for name in others:
        naming = sample.namings.get(name)
        if naming and naming.is_path and naming.share > 0.9:
            copied.add(name)
        if len(frame) > 2 and is_line_number(frame[name]):
            copied.add(name)
    if test and row in test.frame:
        both = frame.merge(test.frame.drop_duplicates(row), on=row, suffixes=("", " of test"))
        twins = [name for name in others if f"{name} of test" in both and not is_constant(frame[name])]
        copied |= {name for name in twins if len(both) and (both[name] == both[f"{name} of test"]).all()}
    return copied if len(copied) < len(others) else set()


# -- a line per image and output


def long_form(
    sample: Table, row: str, ev: Evidence, train: Table | None
) -> tuple[str, tuple[str, ...]] | None:
    """(row, labels) where the sample has a line per image and output, such as ID_1__target: row is
    "{id}__{output}".
    """
    rows = sample.frame[row].tolist()
    names_images = row in sample.namings and sample.namings[row].share > 0.5
    if len(sample.frame.columns) != 2 or len(rows) < 4 or len({*rows}) < len(rows) or names_images:
        return None
    for mark, pairs in partitions(rows, ev):
        ids = dict.fromkeys(first for first, _ in pairs)
        outputs = dict.fromkeys(second for _, second in pairs)
        if "" in ids or not 2 <= len(outputs) <= 200 or len(ids) * len(outputs) != len(rows):
            continue
        ends = tuple(f"{mark}{name}" for name in outputs)
        is_long = train is not None and row in train.frame and bool(train.frame[row].str.endswith(ends).all())
        is_wide = train is not None and {*outputs} <= {*train.frame}
        some = list(ids)[:200]
        if is_long or sum(bool(ev.index.named(name)) for name in some) >= 0.5 * len(some):
            return f"{{id}}{mark}{OUTPUT}", tuple(outputs) if is_long or is_wide else ()
    return None


def partitions(rows: list[str], ev: Evidence) -> list[Partition]:
    """The ways to take the rows apart: at the last mark, and after what names an image."""
    found: list[Partition] = []
    for mark in ("__", "_", "-", "|", ":", " "):
        if not all(mark in row for row in rows):
            continue
        parts = [row.split(mark) for row in rows]
        lengths = [n for n in range(1, len(parts[0])) if ev.index.named(mark.join(parts[0][:n]))]
        for length in (-1, *lengths):
            pairs = [(mark.join(one[:length]), mark.join(one[length:])) for one in parts]
            found.append((mark, pairs))
    return found


# -- id and row


def find_id(train: Table, test: pd.DataFrame, first: str) -> str:
    """The sample's first column, where it tells the training images apart; else the column that names them.
    Raises Unclear.
    """
    frame, key = train.frame, train.key
    is_key = key is not None and key.share >= 0.3
    if first in frame and frame[first].is_unique:
        return first
    if key and is_key and key.is_unique and (first not in frame or key.column in test):
        return key.column
    if first in frame:
        return first  # an id stands twice: make_train says which
    if key and is_key and not is_idle(frame[key.column]):
        return key.column
    others = [name for name in frame if name != "id"]
    named = [name for name in others if not name.startswith("Unnamed")]
    if not first and named:
        return named[0]
    raise Unclear(
        f"which column names an image? Not the sample's {first!r}; there are {listed(list(frame))}: "
        + state("id, or train_images with a {label} where no csv tells it,"),
        *({"id": name} for name in others if frame[name].is_unique),
    )


def find_row(train: pd.DataFrame, test: pd.DataFrame, first: str, id: str) -> str:
    """The sample's first column, where it is not the id by another name but the name of several images' row.
    Raises Unclear.
    """
    if first in train:
        return first
    if first not in test or id not in test:
        return ""
    if test[first].is_unique or test[first].nunique() == test[id].nunique():
        return ""
    for pattern in composed([name for name in test if name in train and name != id]):
        if fill(pattern, test) == test[first].tolist():
            return pattern
    raise Unclear(
        f"each row of the sample is one {first!r}, which the train csv does not have: "
        + state('row, such as "{patient_id}_{side}", made of ' + ", ".join(train))
    )


def composed(columns: list[str]) -> list[str]:
    """Patterns of one or two of the columns."""
    cells = [f"{{{name}}}" for name in columns[:12]]
    return cells + [a + mark + b for mark in ("_", "-", "") for a in cells for b in cells if a != b]


# -- names of columns


def plain_name(name: str) -> str:
    return re.sub(r"[\W_]|ids?$|name$", "", name.casefold())


def without_affixes(names: list[str], columns: list[str]) -> tuple[str, ...]:
    """The columns that the names are made of, with the same text before or after each: prob_cat,
    dog_score.
    """
    for column in columns:
        for name in names:
            if not column or column not in name or column == name:
                continue
            before, _, after = name.partition(column)
            fitting = [one for one in names if one.startswith(before) and one.endswith(after)]
            bare = tuple(one[len(before) : len(one) - len(after)] for one in fitting)
            if len(bare) == len(names) and {*bare} <= {*columns}:
                return bare
    return ()


def longer_names(names: list[str], columns: list[str]) -> dict[str, str]:
    """Column -> name, where each column is a name with the same text before or after: X4_mean for X4."""
    first = names[0]
    for column in columns:
        if first in column and first != column:
            before, _, after = column.partition(first)
            renamed = {f"{before}{name}{after}": name for name in names}
            if {*renamed} <= {*columns}:
                return renamed
    return {}
