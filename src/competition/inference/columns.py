"""Which column is what: the id, the row of the submission, the labels; and which of the sample's columns are
to be filled.
"""

import re
from collections.abc import Callable

import pandas as pd

from src.competition.facts import OUTPUT, Competition
from src.competition.image_paths import fill
from src.competition.inference import doubts, table_roles
from src.competition.inference.advice import Code, Unclear
from src.competition.inference.doubts import is_idle
from src.competition.inference.evidence import Evidence, Naming, Table
from src.competition.messages import listed, state
from src.competition.tables import NUMBER

LABEL_WORDS = {"label", "labels", "target", "class", "category", "answer", "ans", "y"}


def host_header(sample: Table, row: str, passed: set[str]) -> tuple[str, ...]:
    """The submission's columns as they are written there: the row's first, without those that only have to be
    copied.
    """
    if not sample.file:
        return ()
    named = dict(zip(sample.frame.columns, sample.header))
    return (named[row], *(raw for name, raw in named.items() if name != row and name not in passed))


def passed_through(sample: Table, row: str, test: Table | None, train: Table | None) -> set[str]:
    """Columns of the sample that are copied as they stand: paths, line numbers, what the test table says of
    the image.
    """
    others = [name for name in sample.frame if name != row]
    if len(others) < 2:
        return set()
    copied = {
        name
        for name in others
        if name in sample.namings
        and sample.namings[name].is_path
        and sample.namings[name].share > 0.9
        or name.startswith("Unnamed")
        or len(sample.frame) > 2
        and table_roles.is_line_number(sample.frame[name])
    }
    if test:
        both = (
            sample.frame.merge(test.frame.drop_duplicates(row), on=row, suffixes=("", " of test"))
            if row in test.frame
            else sample.frame.iloc[:0]
        )
        copied |= {
            name
            for name in others
            if f"{name} of test" in both
            and len(both)
            and (both[name] == both[f"{name} of test"]).all()
            and not table_roles.is_constant(sample.frame[name])
        }
    return copied if len(copied) < len(others) else set()


def long_form(
    sample: Table, row: str, ev: Evidence, train: Table | None
) -> tuple[str, tuple[str, ...]] | None:
    """(row, labels) where the sample has a line per image and output, such as ID_1__target: row is
    "{id}__{output}".
    """
    rows = sample.frame[row].tolist()
    if (
        len(sample.frame.columns) != 2
        or len(rows) < 4
        or row in sample.namings
        and sample.namings[row].share > 0.5
    ):
        return None
    for mark, pairs in partitions(rows, ev):
        ids, outputs = dict.fromkeys(one for one, _ in pairs), dict.fromkeys(other for _, other in pairs)
        if (
            "" in ids
            or not 2 <= len(outputs) <= 200
            or len(ids) * len(outputs) != len(rows)
            or len(set(rows)) != len(rows)
        ):
            continue
        ends = tuple(f"{mark}{name}" for name in outputs)
        is_long = train is not None and row in train.frame and bool(train.frame[row].str.endswith(ends).all())
        named = sum(bool(ev.index.named(name)) for name in list(ids)[:200]) / min(len(ids), 200)
        if named < 0.5 and not is_long:
            continue
        is_wide = train is not None and {*outputs} <= {*train.frame}
        return f"{{id}}{mark}{OUTPUT}", tuple(outputs) if is_long or is_wide else ()
    return None


def partitions(rows: list[str], ev: Evidence) -> list[tuple[str, list[tuple[str, str]]]]:
    """(mark, pairs) for each way to take the rows apart: at the last mark, and after what names an image."""
    found = []
    for mark in ("__", "_", "-", "|", ":", " "):
        if not all(mark in row for row in rows):
            continue
        found.append((mark, [(row.rpartition(mark)[0], row.rpartition(mark)[2]) for row in rows]))
        parts = [row.split(mark) for row in rows]
        lengths = [
            number for number in range(1, len(parts[0])) if ev.index.named(mark.join(parts[0][:number]))
        ]
        found += [
            (mark, [(mark.join(one[:number]), mark.join(one[number:])) for one in parts])
            for number in lengths
        ]
    return found


def find_id(train: Table, test: pd.DataFrame, first: str, stated: Competition) -> str:
    """The sample's column, where it tells the training images apart; else the column that names them."""
    frame, key = train.frame, train.key
    if first in frame and frame[first].is_unique:
        return first
    if key and key.share >= 0.3 and key.is_unique and (first not in frame or key.column in test or not first):
        return key.column
    if first in frame:
        return first  # an id stands twice: make_train says which
    if key and key.share >= 0.3 and not is_idle(frame[key.column]):
        return key.column
    if not first and (names := [name for name in frame if name != "id" and not name.startswith("Unnamed")]):
        return names[0]
    unique = [name for name in frame if frame[name].is_unique and name != "id"]
    raise Unclear(
        f"which column names an image? Not the sample's {first!r}; there are {listed(list(frame))}: "
        + state("id, or train_images with a {label} where no csv tells it,"),
        *({"id": name} for name in unique),
    )


def find_row(train: pd.DataFrame, test: pd.DataFrame, first: str, id: str) -> str:
    """The sample's column, where it is not the id by another name but the name of several images' row."""
    if first in train:
        return first
    if (
        first in test
        and id in test
        and not (test[first].is_unique or test[first].nunique() == test[id].nunique())
    ):
        shared = [name for name in test if name in train and name != id]
        for made in composed(shared):
            if fill(made, test) == test[first].tolist():
                return made
        raise Unclear(
            f"each row of the sample is one {first!r}, which the train csv does not have: "
            + state('row, such as "{patient_id}_{side}", made of ' + ", ".join(train))
        )
    return ""


def composed(columns: list[str]) -> list[str]:
    """Patterns of one, two or three of the columns."""
    few = columns[:12]
    pairs = [
        f"{{{one}}}{mark}{{{other}}}"
        for mark in ("_", "-", "")
        for one in few
        for other in few
        if one != other
    ]
    return [*(f"{{{name}}}" for name in few), *pairs]


def find_labels(
    train: pd.DataFrame,
    test: pd.DataFrame,
    c: Competition,
    asked: list[str],
    sample: Table,
    key: Naming | None,
) -> tuple[str, ...]:
    """The sample's columns found in train; else the column whose values are the sample's columns or cells;
    else the only one that is nothing else.
    """
    naming = {key.column} if key and key.is_path else set()
    known = {"id", "path", "row", c.id, c.row, c.group, *c.features, *naming}
    free = [name for name in train if name not in known]
    if found := [column for column in asked if column in free]:
        return tuple(found)
    if len(asked) > 1 and (columns := with_affixes(asked, free)):
        return columns
    if len(asked) > 1 and (longer := longer_names(asked, free)):
        text = f"lambda root: tables.read_table(root / {c.train_csv!r}).rename(columns={longer!r})"
        raise Unclear(
            f"the sample's {listed(asked)} are called {listed(list(longer))} in {c.train_csv}: "
            + state("a make_table that renames them"),
            {"make_table": Code(text)},
        )
    left, cells = doubts.telling(train, known), sample_cells(sample, asked)
    values = {name: set(train[name].unique()) - {""} for name in left}
    for sign in signs_of_contents(asked, test, cells, values):
        left = [column for column in left if sign(column)] or left
    possible, names = left, LABEL_WORDS | {column.lower() for column in asked}
    plain = {plain_name(name) for name in names}
    for sign in (lambda column: column.lower() in names, lambda column: plain_name(column) in plain):
        left = [column for column in left if sign(column)] or left
    words = {word for cell in cells for word in (cell, *cell.split())}
    twins = left if len(left) > 1 else twins_of(left[0], train, possible) if left else []
    if twin := one_of_twins(train, twins, words):
        left = [twin]
    if len(left) != 1:
        raise Unclear(
            f"which column is the label? Candidates: {listed(left) or 'none'}: "
            + state('labels=("column",)'),
            *({"labels": (name,)} for name in left),
        )
    return (left[0],)


def signs_of_contents(
    asked: list[str], test: pd.DataFrame, cells: list[str], values: dict[str, set[str]]
) -> list[Callable[[str], bool]]:
    """What tells the label's column, the surest first: it holds the sample's columns, with something before
    or after, or joined in a cell; the test images have no such column; it holds the sample's cells.
    """
    words = {cell for cell in cells if not are_number(cell)}
    several: list[Callable[[str], bool]] = [
        lambda column: 2 * len(values[column] & {*asked}) >= max(len(values[column]), 1),
        lambda column: is_affixed(asked, values[column]),
        lambda column: words_of(values[column]) <= {*asked},
    ]
    return [
        *(several if len(asked) > 1 else []),
        lambda column: column not in test,
        lambda column: bool(words) and 2 * len(words & values[column]) >= len(words),
    ]


def words_of(cells: set[str]) -> set[str]:
    """The labels that cells join by |, ; or comma."""
    return {word.strip() for cell in cells for word in re.split(r"[|;,]", cell)}


def are_number(cell: str) -> bool:
    return bool(re.fullmatch(NUMBER, cell))


def sample_cells(sample: Table, asked: list[str]) -> list[str]:
    """The different cells of the only column that is to be filled."""
    is_one = len(asked) == 1 and asked[0] in sample.frame
    return [cell for cell in sample.frame[asked[0]].unique()[:2000] if cell] if is_one else []


def plain_name(name: str) -> str:
    return re.sub(r"[\W_]|ids?$|name$", "", name.casefold())


def with_affixes(asked: list[str], columns: list[str]) -> tuple[str, ...]:
    """The columns that the sample's are called after, with something before or after each: prob_cat,
    dog_score.
    """
    for name in columns:
        for one in asked:
            if name and name in one and name != one:
                before, _, after = one.partition(name)
                bare = [
                    other[len(before) : len(other) - len(after)]
                    for other in asked
                    if other.startswith(before) and other.endswith(after)
                ]
                if len(bare) == len(asked) and {*bare} <= {*columns}:
                    return tuple(bare)
    return ()


def longer_names(asked: list[str], columns: list[str]) -> dict[str, str]:
    """Training column -> sample's column, where the first is the second with the same text before or after:
    X4_mean for X4.
    """
    for name in columns:
        if asked[0] in name and asked[0] != name:
            before, _, after = name.partition(asked[0])
            renamed = {f"{before}{one}{after}": one for one in asked}
            if {*renamed} <= {*columns}:
                return renamed
    return {}


def is_affixed(asked: list[str], values: set[str]) -> bool:
    """Are the sample's columns the values, with the same text before or after each?"""
    return (
        bool(values)
        and len(values) <= len(asked) + 5
        and bool(with_affixes(asked, sorted(values, key=len, reverse=True)))
    )


def twins_of(name: str, train: pd.DataFrame, columns: list[str]) -> list[str]:
    """The columns that say the same as this one, such as a class's number and its name; this one first."""
    codes = pd.factorize(train[name])[0].tolist()
    return [
        name,
        *(other for other in columns if other != name and pd.factorize(train[other])[0].tolist() == codes),
    ]


def one_of_twins(train: pd.DataFrame, columns: list[str], cells: set[str]) -> str:
    """Of columns that say the same, such as a class's number and its name: the one whose values the sample
    holds.
    """
    codes = [pd.factorize(train[name])[0].tolist() for name in columns]
    if any(code != codes[0] for code in codes):
        return ""
    holding = [name for name in columns if cells and cells & {*train[name]}]
    return (holding or [""])[0] if len(holding) == 1 else ""
