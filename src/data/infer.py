"""What a competition's files tell: which table is which, what its columns are, what is to be predicted, where the images lie.

The facts come from contents (evidence.py): which images a column names, which labels a sample holds. Each function looks for one fact, and raises
Unclear with the statements that may answer where the files tell none or two."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from src.data import doubts, evidence, tables
from src.data.advice import Code
from src.data.doubts import are_numbers, are_words, is_idle, joined_by
from src.data.evidence import Evidence, Located, Naming, Roles, Table, located, part_of
from src.data.formats import TABLES
from src.data.listing import dead_links, packed
from src.data.tables import NUMBER, NUMBERS, OUTPUT, listed, state

if TYPE_CHECKING:
    from src.competitions import Competition

__all__ = ["are_numbers", "are_words", "is_idle", "part_of"]

LABEL_WORDS = {"label", "labels", "target", "class", "category", "answer", "ans", "y"}
PART_FOLDER = re.compile(
    r"(.*(image|img|photo|pic|part|batch|chunk|split|fold|train|data|archive|zip|vol|set|dir|folder|shard).*?)[ _-]?\d+",
    re.I,
)


class Unclear(ValueError):
    """The files tell none or several. candidates: statements, each the fields of a Competition, that may be the answer."""

    def __init__(self, message: str, *candidates: dict[str, Any]) -> None:
        super().__init__(message)
        self.candidates = candidates


def facts(
    stated: "Competition", root: Path, reads_probabilities: bool, known: Evidence | None = None
) -> "Competition":
    """One fact after the other, from the files and from the facts before it; what is stated stays."""
    c = stated
    ev = known or Evidence(root, bool(c.read_image))
    if not ev.images:
        raise no_images(ev, root)

    def fill(name: str, look: Callable[[], Any]) -> None:
        nonlocal c
        if getattr(c, name) == getattr(type(c), name):
            c = replace(c, **{name: look()})

    # which files
    has_names = bool(c.make_table) or "{label}" in c.train_images
    roles = evidence.find_roles(
        ev,
        the_table(ev, c.train_csv) if c.train_csv else None,
        the_table(ev, c.sample_csv) if c.sample_csv else None,
    )
    if len(roles.rivals) > 1:
        files = [table.file for table in roles.rivals]
        raise Unclear(
            f"which sample_csv? There are {listed(files)}: " + state("sample_csv"),
            *({"sample_csv": file} for file in files),
        )
    sample = roles.sample or Table("", pd.DataFrame(), ())
    fill("sample_csv", lambda: sample.file)
    header = c.header[0].strip() if c.header else ""
    row_name = header if header in sample.frame else evidence.row_column(sample, ev) if roles.sample else ""
    if row_name.startswith("Unnamed"):
        raise Unclear(
            f"{sample.file}: the first column has no name. Save the file without it beside, and {state('sample_csv')}"
        )
    test = the_table(ev, c.test_csv) if c.test_csv else None if c.make_test else roles.test
    if (
        test
        and not stated.test_csv
        and row_name
        and row_name not in test.frame
        and not (roles.train and roles.train.key and roles.train.key.column in test.frame)
    ):
        test = None  # names the sample's rows by a column that nothing else has
    passed = passed_through(sample, row_name, test, roles.train)
    fill("header", lambda: host_header(sample, row_name, passed))
    first, asked = row_name, [name.strip() for name in c.header[1:]]
    train = (
        None
        if has_names
        else the_table(ev, c.train_csv)
        if c.train_csv
        else chosen_train(roles, ev, asked, stated)
    )
    fill("train_csv", lambda: train.file if train else "")
    if not c.train_csv and not c.make_table:
        fill("train_images", lambda: class_folders(ev, roles, asked))
    fill("test_csv", lambda: test.file if test else "")
    if not c.test_csv and not c.sample_csv and not c.make_test:
        names_files = not train or not train.key or train.key.is_path
        fill("test_images", lambda: find_test_folder(ev) + ("" if names_files else ".*"))

    # one line of the sample per image and output
    long = long_form(sample, first, ev, train) if roles.sample and not c.row else None
    if long:
        c = replace(c, row=long[0], labels=c.labels or long[1])

    # which columns
    frames = {
        part: as_table(tables.read_part(root, as_read(c, part), part), ev) for part in ("train", "test")
    }
    frame, tested = frames["train"].frame, frames["test"].frame
    fill(
        "id",
        lambda: (
            "id"
            if not c.train_csv or long and "id" in frame
            else find_id(frames["train"], tested, first, stated)
        ),
    )
    fill("row", lambda: find_row(frame, tested, first, c.id) if first not in ("", c.id) else "")
    fill("labels", lambda: find_labels(frame, tested, c, asked, sample, frames["train"].key))
    fill("header", lambda: (c.id, *c.labels))
    if c.test_csv and not stated.test_csv and {c.id, first}.isdisjoint(tested) and not long:
        c = replace(c, test_csv="")  # names no row of the sample
        if not c.sample_csv:
            fill(
                "test_images",
                lambda: (
                    find_test_folder(ev)
                    + (".*" if not frames["train"].key or not frames["train"].key.is_path else "")
                ),
            )
    frames = {part: as_table(tables.read_part(root, c, part), ev, frames[part]) for part in ("train", "test")}
    frame, tested = frames["train"].frame, frames["test"].frame
    tables.check_columns(frame, list(c.labels), "the train table")

    # which problem
    cells = sample.frame[asked[0]] if len(asked) == 1 and asked[0] in sample.frame else pd.Series(dtype=str)
    wants_float = bool(len(cells)) and are_numbers(cells) and bool(cells.str.contains(r"[.eE]").any())
    fill(
        "task",
        lambda: find_task(
            frame,
            c.labels,
            [] if long else asked,
            wants_float and not long,
            has_folders=not (c.train_csv or c.make_table),
            file=c.train_csv,
        ),
    )
    fill("classes", lambda: find_classes(frame, c.labels, c.task))
    fill("bounds", lambda: find_bounds(frame[list(c.labels)]) if c.task == "bounded" else ())
    fill("answer", lambda: find_answer(c, wants_float or reads_probabilities, cells))
    fill(
        "scored",
        lambda: (
            wanted
            if len(wanted := tuple(name for name in c.outputs if name in c.names)) < len(c.outputs)
            else ()
        ),
    )
    fill("flips", lambda: doubts.find_flips(c.classes))

    # which images
    taken: frozenset[int] = frozenset()
    notes: list[str] = []
    parts: dict[str, Located] = {}
    for part in ("test", "train"):  # the test's first: what is left may be the training's
        is_stated, make = (
            bool(getattr(c, f"{part}_images")),
            getattr(c, "make_test" if part == "test" else "make_table"),
        )
        if not is_stated and make and "path" in frames[part].frame:
            c, is_stated = with_images(c, part, "{path}"), True
        if not is_stated:
            parts[part] = find_images(frames[part], ev, part, c.id, taken, notes)
            taken = parts[part].places
    for part in ("train", "test"):
        if part in parts:
            like = c.train_images if part == "test" else ""
            c = with_images(c, part, only_pattern(parts[part], frames[part], ev, part, like))
    others = doubts.telling(frame, {"id", "path", "row", c.id, c.row, c.group, *c.labels, *c.features})
    c = replace(c, suspects=doubts.find_suspects(frame[others]))
    is_guess = not (stated.task or stated.answer)
    said = [
        *notes,
        *doubts.find_warnings(c, [name for name in others if name in tested], sample.frame),
        *(doubts.find_doubts(c, frame[list(c.labels)], sample.frame, asked) if is_guess else []),
        *doubts.account(c, ev, frames, roles),
    ]
    return replace(c, warnings=tuple(said))


def with_images(c: "Competition", part: str, pattern: str) -> "Competition":
    return replace(c, train_images=pattern) if part == "train" else replace(c, test_images=pattern)


def no_images(ev: Evidence, root: Path) -> ValueError:
    kinds = Counter(posixpath.splitext(file)[1].lower() or "without a suffix" for file in ev.files)
    there = listed([f"{number} {kind}" for kind, number in kinds.most_common()]) or "nothing"
    dead = f" {len(links)} links lead to nothing, such as {links[0]}." if (links := dead_links(root)) else ""
    archives = f" ({listed(packed(ev.files))})" if packed(ev.files) else ""
    return Unclear(
        f"no image in {root}, there is {there}.{dead} Still packed{archives}? Then `make data COMP={root.name}`. Of another format, or pixels "
        f"in a csv? Then {state('a read_image (and make_table)')}",
        *doubts.other_formats(ev),
    )


def the_table(ev: Evidence, file: str) -> Table:
    """The stated file as a table. Raises ValueError where it is none."""
    if table := ev.table(file):
        return table
    frame = tables.read_table(ev.root / file).rename(columns=lambda name: str(name).strip())
    return Table(file, frame, tuple(frame.columns), {})


def as_table(frame: pd.DataFrame, ev: Evidence, before: Table | None = None) -> Table:
    """A frame with the columns that name images; those that are as they were are not looked up again."""

    def is_same(name: str) -> bool:
        return (
            before is not None
            and name in before.frame
            and len(frame) == len(before.frame)
            and frame[name].equals(before.frame[name])
        )

    known = (
        {name: before.namings[name] for name in frame if is_same(name) and name in before.namings}
        if before
        else {}
    )
    names = [name for name in frame if not is_same(name)]
    namings = known | {
        name: naming for name in names if (naming := evidence.naming_of(frame[name], ev.index))
    }
    if not namings:
        namings = {
            name: naming for name in list(frame)[:3] if (naming := evidence.with_affix(frame[name], ev.index))
        }
    return Table("", frame, tuple(frame.columns), namings)


def as_read(c: "Competition", part: str) -> "Competition":
    """For a first look: an id that stands in the part's table, whatever it will be in the end."""
    return replace(c, id=c.id if part == "train" or c.train_csv or c.make_table else "id")


# -- the sample's columns


def host_header(sample: Table, row: str, passed: set[str]) -> tuple[str, ...]:
    """The submission's columns as they are written there: the row's first, without those that only have to be copied."""
    if not sample.file:
        return ()
    named = dict(zip(sample.frame.columns, sample.header))
    return (named[row], *(raw for name, raw in named.items() if name != row and name not in passed))


def passed_through(sample: Table, row: str, test: Table | None, train: Table | None) -> set[str]:
    """Columns of the sample that are copied as they stand: paths, line numbers, what the test table says of the image."""
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
        and evidence.is_line_number(sample.frame[name])
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
            and not evidence.is_constant(sample.frame[name])
        }
    return copied if len(copied) < len(others) else set()


def long_form(
    sample: Table, row: str, ev: Evidence, train: Table | None
) -> tuple[str, tuple[str, ...]] | None:
    """(row, labels) where the sample has a line per image and output, such as ID_1__target: row is "{id}__{output}"."""
    rows = sample.frame[row].tolist()
    if (
        len(sample.frame.columns) != 2
        or len(rows) < 4
        or row in sample.namings
        and sample.namings[row].share > 0.5
    ):
        return None
    for mark in ("__", "_", "-", "|", ":", " "):
        pairs = [cell.rpartition(mark) for cell in rows]
        ids, outputs = dict.fromkeys(pair[0] for pair in pairs), dict.fromkeys(pair[2] for pair in pairs)
        if (
            "" in ids
            or not 2 <= len(outputs) <= 200
            or len(ids) * len(outputs) != len(rows)
            or len(set(rows)) != len(rows)
        ):
            continue
        named = sum(bool(ev.index.named(name)) for name in list(ids)[:200]) / min(len(ids), 200)
        if named < 0.5 and not (
            train
            and row in train.frame
            and train.frame[row].str.endswith(tuple(f"{mark}{name}" for name in outputs)).all()
        ):
            continue
        is_long = (
            train is not None
            and row in train.frame
            and train.frame[row].str.endswith(tuple(f"{mark}{name}" for name in outputs)).all()
        )
        is_wide = train is not None and {*outputs} <= {*train.frame}
        return f"{{id}}{mark}{OUTPUT}", tuple(outputs) if is_long or is_wide else ()
    return None


# -- the training table


def chosen_train(roles: Roles, ev: Evidence, asked: list[str], stated: "Competition") -> Table | None:
    """The table of the training images; None where folders are the classes that the sample asks for and no column is."""
    train = roles.train
    if train is None:
        return None
    rivals = [
        table
        for table in ev.tables
        if table not in (train, roles.sample, roles.test) and labels_alike(table, train, ev, stated)
    ]
    for rival in rivals:
        column = labels_alike(rival, train, ev, stated)
        images, differ = differing(train, rival, column)
        if differ and not re.search(evidence.ANSWER_NAME, rival.name):
            raise Unclear(
                f"which train_csv? {train.file} and {rival.file} both have {column!r} of the same {images} images, "
                f"and {differ} differ: " + state("train_csv"),
                {"train_csv": train.file},
                {"train_csv": rival.file},
            )
    halves = [
        table
        for table in ev.tables
        if table not in (train, roles.sample, roles.test)
        and table.header == train.header
        and table.key
        and train.key
        and re.sub(r"\d+", "", table.name) == re.sub(r"\d+", "", train.name)
        and table.name != train.name
    ]
    if halves:
        files = sorted([train.file, *(table.file for table in halves)])
        raise Unclear(
            f"which train_csv? There are {listed(files)}: " + state("train_csv"),
            {"train_csv": "+".join(files)},
            *({"train_csv": file} for file in files),
        )
    if stated.labels or stated.id:
        return train
    if not {*asked} & {*train.frame} and (folders := sure_folders(ev, roles, asked)):
        vocabulary = sample_words(roles, asked)
        if (
            not any(
                len({*train.frame[name].unique()} & vocabulary) >= 0.5 * len(vocabulary)
                for name in train.frame
            )
            and folders
        ):
            return None
    return train


def differing(train: Table, rival: Table, column: str) -> tuple[int, int]:
    """How many images both tables name by the same cell, and for how many of them the column differs."""
    if not train.key or not rival.key:
        return 0, 0
    mine, its = (
        table.frame.drop_duplicates(table.key.column).set_index(table.key.column)[column]
        for table in (train, rival)
        if table.key
    )
    shared = mine.index.intersection(its.index)
    return len(shared), int((mine[shared] != its[shared]).sum())


def labels_alike(table: Table, train: Table, ev: Evidence, stated: "Competition") -> str:
    """The column that both tables have beside the key, where they name the same images."""
    if not table.key or not train.key or table.key.share < 0.5 or train.key.share < 0.5:
        return ""
    same = len({*table.frame[table.key.column]} & {*train.frame[train.key.column]})
    shared = [
        name
        for name in train.frame
        if name in table.frame
        and name not in (train.key.column, table.key.column)
        and not is_idle(train.frame[name])
    ]
    named = [name for name in shared if name.lower() in LABEL_WORDS or name in stated.labels]
    return (named or shared or [""])[0] if same >= 0.5 * len(train.frame) else ""


def find_id(train: Table, test: pd.DataFrame, first: str, stated: "Competition") -> str:
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
            if tables.fill(made, test) == test[first].tolist():
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


# -- labels


def find_labels(
    train: pd.DataFrame,
    test: pd.DataFrame,
    c: "Competition",
    asked: list[str],
    sample: Table,
    key: Naming | None,
) -> tuple[str, ...]:
    """The sample's columns found in train; else the column whose values are the sample's columns or cells; else the only one that is nothing else."""
    naming = {key.column} if key and key.is_path else set()
    known = {"id", "path", "row", c.id, c.row, c.group, *c.features, *naming}
    if found := [column for column in asked if column in train and column not in known]:
        return tuple(found)
    cells = {
        word
        for cell in (
            sample.frame[asked[0]].unique()[:2000] if len(asked) == 1 and asked[0] in sample.frame else []
        )
        for word in (cell, *cell.split())
    } - {""}
    if len(asked) > 1 and (columns := with_affixes(asked, [name for name in train if name not in known])):
        return columns
    left, names = doubts.telling(train, known), LABEL_WORDS | {column.lower() for column in asked}
    values = {name: set(train[name].unique()) - {""} for name in left}
    signs: tuple[Callable[[str], bool], ...] = (
        lambda column: (
            len(asked) > 1
            and 0 < len(values[column] - {*asked}) <= 0.5 * len(asked)
            or len(asked) > 1
            and bool(values[column])
            and values[column] <= {*asked}
        ),
        lambda column: len(asked) > 1 and is_affixed(asked, values[column]),
        lambda column: column not in test,  # what test images come with is no label
        lambda column: (
            bool(cells)
            and not all(are_number(cell) for cell in cells)
            and len(cells & values[column]) >= 0.5 * len(cells & {*sample_cells(sample, asked)})
        ),
        lambda column: column.lower() in names,
        lambda column: plain_name(column) in {plain_name(name) for name in names},
    )
    for sign in signs:
        left = [column for column in left if sign(column)] or left
    if len(left) > 1 and (twin := one_of_twins(train, left, cells)):
        left = [twin]
    if len(left) != 1:
        raise Unclear(
            f"which column is the label? Candidates: {listed(left) or 'none'}: "
            + state('labels=("column",)'),
            *({"labels": (name,)} for name in left),
        )
    return (left[0],)


def are_number(cell: str) -> bool:
    return bool(re.fullmatch(NUMBER, cell))


def sample_cells(sample: Table, asked: list[str]) -> list[str]:
    return [cell for cell in sample.frame[asked[0]].unique()[:2000] if cell]


def plain_name(name: str) -> str:
    return re.sub(r"[\W_]|ids?$|name$", "", name.casefold())


def with_affixes(asked: list[str], columns: list[str]) -> tuple[str, ...]:
    """The columns that the sample's are called after, with something before or after each: prob_cat, dog_score."""
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


def is_affixed(asked: list[str], values: set[str]) -> bool:
    """Are the sample's columns the values, with the same text before or after each?"""
    return (
        bool(values)
        and len(values) <= len(asked) + 5
        and bool(with_affixes(asked, sorted(values, key=len, reverse=True)))
    )


def one_of_twins(train: pd.DataFrame, columns: list[str], cells: set[str]) -> str:
    """Of columns that say the same, such as a class's number and its name: the one whose values the sample holds."""
    codes = [pd.factorize(train[name])[0].tolist() for name in columns]
    if any(code != codes[0] for code in codes):
        return ""
    holding = [name for name in columns if cells and cells & {*train[name]}]
    return (holding or [""])[0] if len(holding) == 1 else ""


# -- the problem


def find_task(
    train: pd.DataFrame,
    labels: tuple[str, ...],
    asked: list[str],
    wants_float: bool,
    *,
    has_folders: bool = False,
    file: str = "",
) -> str:
    values = train.loc[
        (train[list(labels)] != "").all(axis=1), list(labels)
    ]  # make_train reports the missing ones
    if len(labels) > 1:
        if not all(are_numbers(values[column]) for column in labels):
            raise Unclear(
                f"label columns {listed(list(labels))} are neither 0/1 nor numbers: "
                + state("labels or task"),
                *({"labels": (name,)} for name in labels),
            )
        cells = values.astype(float)
        if cells.isin([-1, 1]).all(axis=None) and (cells == -1).any(axis=None):
            return "multilabel"  # as in CelebA: -1 says no
        if not cells.isin([0, 1]).all(axis=None):
            return "regression"
        return (
            ("binary" if len(labels) == 2 else "multiclass")
            if (cells.sum(axis=1) == 1).all()
            else "multilabel"
        )
    label, num = values[labels[0]], values[labels[0]].nunique()
    if num > 2 and label.str.fullmatch(r"[+-]?\d+,\d+").all():
        raise Unclear(
            f"the numbers of {labels[0]!r} have a decimal comma: {state('a make_table that writes a point')}",
            {"make_table": Code(f'lambda root: tables.replaced(root, "{file}", {labels[0]!r}, ",", ".")')},
        )
    mark = joined_by(label, asked) if num > 2 else ""
    if mark.strip():
        raise Unclear(
            f"the cells of {labels[0]!r} join several labels by {mark!r}: {state('a make_table that joins them by spaces')}",
            {
                "make_table": Code(
                    f'lambda root: tables.replaced(root, "{file}", {labels[0]!r}, {mark!r}, " ")'
                )
            },
        )
    if mark:
        return "multilabel"
    if len(asked) <= 1 and num > 2:
        if are_numbers(label) and (
            wants_float or 2 * num > len(label) and not has_folders or (label.astype(float) % 1 > 0).any()
        ):
            return "regression"
        if wants_float:
            raise Unclear(
                f"the sample wants one number, but {labels[0]!r} has {num} classes: "
                + state("task or answer")
            )
    if num < 2:
        raise Unclear(
            f"label column {labels[0]!r} holds {''.join(set(label)) or 'nothing'} and no second value: {state('labels')}"
        )
    return "binary" if num == 2 else "multiclass"


def find_classes(train: pd.DataFrame, labels: tuple[str, ...], task: str) -> tuple[str, ...]:
    """Sorted as numbers when all are, else as text."""
    if task in NUMBERS or len(labels) > 1:
        return () if task in NUMBERS else labels
    found = pd.Series(train[labels[0]].unique())
    found = (
        found.str.split().explode().dropna().drop_duplicates() if task == "multilabel" else found[found != ""]
    )
    return tuple(sorted(found, key=(lambda name: (float(name), name)) if are_numbers(found) else None))


def find_bounds(labels: pd.DataFrame) -> tuple[float, ...]:
    """The smallest and the largest number that there is; () when there is none, or only one."""
    numbers = labels.apply(pd.to_numeric, errors="coerce")
    low, high = float(numbers.min(axis=None)), float(numbers.max(axis=None))
    return (low, high) if low < high else ()


def find_answer(c: "Competition", wants_probability: bool, cells: pd.Series) -> str:
    """The form that the sample's columns and numbers ask for; cells: its only column, where there is only one."""
    if OUTPUT in c.row:
        return "value" if c.task in NUMBERS else "probabilities"
    if (
        c.task in NUMBERS
        or len(c.names) > 2
        or c.task == "multilabel"
        and c.names[1] in c.labels[1:] + c.labels[:-1]
    ):
        return "value" if c.task in NUMBERS else "probabilities"
    if c.task == "ordinal":
        return "label"
    several = [cell.split() for cell in cells.unique() if cell not in c.classes and " " in cell.strip()]
    if (
        str(c.metric).startswith("map")
        or c.task == "multiclass"
        and several
        and all({*words} <= {*c.classes} for words in several)
    ):
        return "ranked"  # several labels wanted, where an image has one
    if c.task == "binary" and wants_probability:
        return "probability"
    return "words" if c.task == "multilabel" else "label"


# -- folders that are classes, and the test's folder


def sample_words(roles: Roles, asked: list[str]) -> set[str]:
    """What the sample's columns and cells say that is no number: labels, perhaps."""
    if len(asked) > 1:
        return {*asked}
    cells = (
        roles.sample.frame[asked[0]].unique()[:2000]
        if roles.sample and asked and asked[0] in roles.sample.frame
        else []
    )
    return {cell for cell in cells if cell and not re.fullmatch(r"[+-]?\d*\.\d+|0|1|0\.0", cell)}


def folder_levels(ev: Evidence) -> tuple[str, list[list[str]]]:
    """The folder that all training images share, and for each folder below it the names of its levels."""
    folders = sorted({posixpath.dirname(file) for file in ev.images})
    for parts in (("train",), ("train", "")):
        own = [
            folder
            for folder in folders
            if part_of(folder) in parts or part_of(posixpath.dirname(folder)) == "train"
        ]  # a class train/valid
        home = posixpath.commonpath(own) if own else ""
        below = [folder.removeprefix(home).strip("/").split("/") for folder in own if folder != home]
        if len({tuple(names) for names in below}) > 1:
            return home, below
    return "", []


def level_patterns(home: str, below: list[list[str]]) -> dict[str, set[str]]:
    """The patterns that may name the class, a level each, and the classes that each gives."""
    found: dict[str, set[str]] = {}
    for level in range(min(5, max(map(len, below), default=0))):
        names = {row[level] for row in below if len(row) > level}
        if len(names) < 2:
            continue
        rest = {"/".join(row[level + 1 :]) for row in below if len(row) > level}
        before = {"/".join(row[:level]) for row in below if len(row) > level}
        start = before.pop() if len(before) == 1 else "/".join("*" * level)
        end = (*rest, "*") if len(rest) == 1 else ("**/*",)
        found[posixpath.join(home, start, "{label}", *end)] = names
    return found


def sure_folders(ev: Evidence, roles: Roles, asked: list[str]) -> str:
    """The pattern of the only level of folders whose names are the sample's labels, "" where there is none."""
    words = sample_words(roles, asked)
    fitting = [
        pattern
        for pattern, names in level_patterns(*folder_levels(ev)).items()
        if words and len(names & words) >= 0.5 * len(words)
    ]
    return fitting[0] if len(fitting) == 1 else ""


def class_folders(ev: Evidence, roles: Roles, asked: list[str]) -> str:
    """The pattern of images in a folder per class, wherever it lies."""
    home, below = folder_levels(ev)
    patterns = level_patterns(home, below)
    if pattern := sure_folders(ev, roles, asked):
        return pattern
    has_parts = {pattern for pattern, names in patterns.items() if are_parts(names)}
    tables_left = [
        table
        for table in ev.tables
        if table is not roles.sample
        and table is not roles.test
        and table.key
        and table.key.share >= 0.5
        and len(table.frame.columns) > 1
    ]
    depths = {len(row) for row in below}
    if len(patterns) == 1 and not has_parts and len(depths) == 1 and not tables_left:
        return next(iter(patterns))
    if len(patterns) == 1 and not has_parts and len(depths) == 1:
        raise Unclear(
            f"do the folders of {next(iter(patterns))} name the class, or does {tables_left[0].file}, which names {tables_left[0].key.rows} of these "  # type: ignore[union-attr]
            f"images? {state('train_csv, or train_images')}",
            {"train_images": next(iter(patterns))},
            *({"train_csv": table.file} for table in tables_left),
        )
    if patterns:
        folders = sorted({posixpath.join(home, *row) for row in below})
        why = ", whose names are those of parts" if has_parts else ""
        above = posixpath.join(home, "")
        raise Unclear(
            f"which folder names the class in {listed(folders)}{why}: "
            + state(f'train_images, such as "{above}{{label}}/**/*" or "{above}*/{{label}}/*"'),
            *({"train_images": pattern} for pattern in patterns),
            *name_patterns(ev),
            *({"train_csv": table.file} for table in tables_left),
        )
    names = [file for file in ev.files if file.lower().endswith(TABLES)]
    raise Unclear(
        f"no train.csv and no folder per class (train/<class>/<image>): {state('train_csv')} (there are {listed(names) or 'none'}), "
        'or train_images with a {label} in it, such as "train/{label}.{number}.jpg"',
        *name_patterns(ev),
        *({"train_csv": table.file} for table in ev.tables if table is not roles.sample),
    )


def are_parts(names: set[str]) -> bool:
    """images_001, images_002: the same word and a number, and a word that says no class."""
    return (
        all(PART_FOLDER.fullmatch(name) for name in names)
        and len({re.sub(r"\d+", "", name) for name in names}) == 1
    )


def name_patterns(ev: Evidence) -> list[dict[str, Any]]:
    """Statements for labels that stand in the images' own names, such as cat.12.jpg or 12_cat.jpg."""
    own = [file for file, part in zip(ev.images, ev.parts) if part == "train"] or [
        file for file, part in zip(ev.images, ev.parts) if not part
    ]
    found = []
    home = (
        posixpath.join(posixpath.commonpath({posixpath.dirname(file) for file in own}), "")
        if own and all(map(posixpath.dirname, own))
        else ""
    )
    stems = [posixpath.splitext(posixpath.basename(file))[0] for file in own]
    for mark in ("__", "_", ".", "-", " "):
        for pattern, regex in (
            (f"{{label}}{mark}{{number}}", rf"(.+?){re.escape(mark)}([^/]*\d[^/]*)"),
            (f"{{number}}{mark}{{label}}", rf"([^/]*\d[^/]*?){re.escape(mark)}(\D+)"),
        ):
            hits = [hit for stem in stems if (hit := re.fullmatch(regex, stem))]
            labels = Counter(hit[1 if pattern.startswith("{label}") else 2] for hit in hits)
            if len(hits) >= 0.98 * len(stems) and 2 <= len(labels) <= 0.5 * len(stems):
                deeper = any(posixpath.dirname(file) != home.strip("/") for file in own)
                found.append({"train_images": f"{home}{'**/' if deeper else ''}{pattern}.*"})
    return found


def find_test_folder(ev: Evidence) -> str:
    """The pattern of the images below the folder that says test, for a competition that lists them in no csv."""
    homes = {posixpath.dirname(file) for file, part in zip(ev.images, ev.parts) if part == "test"}
    homes = {
        home for home in homes if part_of(posixpath.dirname(home)) != "train"
    } or homes  # train/test_tube is a class
    if not homes:
        others = sorted(
            {
                posixpath.dirname(file).split("/")[0]
                for file, part in zip(ev.images, ev.parts)
                if part != "train" and posixpath.dirname(file)
            }
        )
        raise Unclear(
            "no sample_submission.csv, no test.csv and no image in a folder named test: "
            + state("test_images, test_csv or make_test"),
            *(
                {
                    "test_images": f"{name}/**/{{id}}"
                    if any(
                        "/" in file.removeprefix(f"{name}/")
                        for file in ev.images
                        if file.startswith(f"{name}/")
                    )
                    else f"{name}/{{id}}"
                }
                for name in others[:4]
            ),
        )
    return posixpath.join(posixpath.commonpath(homes), "" if len(homes) == 1 else "**/", "{id}")


# -- which images


def find_images(
    table: Table, ev: Evidence, part: str, id: str, taken: frozenset[int], notes: list[str]
) -> Located:
    """Where the part's images lie. The id names them, or a path that stands beside it, which is said where both name different ones."""
    namings = {
        name: naming
        for name, naming in table.namings.items()
        if name == "id" or name != id or "id" not in table.namings
    }
    places = {name: located(naming, ev, part, taken) for name, naming in namings.items()}
    if part == "train" and taken and all(place.rows < 0.5 * len(table.frame) for place in places.values()):
        places = {
            name: located(naming, ev, part) for name, naming in namings.items()
        }  # the same images are to be told: make_train says which
    most = max((place.rows for place in places.values()), default=0)
    full = {name: place for name, place in places.items() if place.rows >= 0.9 * most and most}
    if not full:
        raise nothing_found(table, ev, part)
    several = {
        name: namings[name]
        for name in full
        if namings[name].images >= 0.5 * max(namings[one].images for one in full)
    }
    paths = {name: naming for name, naming in several.items() if naming.is_path}
    own = several.get("id")
    if own and (
        not paths
        or "id" in paths
        or not disagree(own, next(iter(paths.values())), full["id"], full[next(iter(paths))])
    ):
        paths = {"id": own}
    elif own and paths:
        path = next(iter(paths))
        notes.append(f"{part}: {id!r} and {path!r} name different images: the images are those of {path!r}")
    chosen = list(paths or several)
    if len(chosen) > 1 and not all(
        disagree(several[chosen[0]], several[name], full[chosen[0]], full[name]) for name in chosen[1:]
    ):
        chosen = chosen[:1]
    if len(chosen) > 1:
        patterns = sorted(pattern for name in chosen for pattern in full[name].patterns)
        return Located(tuple(patterns), most, frozenset().union(*(full[name].places for name in chosen)))
    naming = several[chosen[0]]
    if naming.prefix or naming.suffix:
        notes.append(f"{part}: the files are called {naming.prefix}{{{naming.column}}}{naming.suffix}")
    return full[chosen[0]]


def disagree(one: Naming, other: Naming, its: Located, others: Located) -> bool:
    """Do two columns name different images in some row?"""
    return any(
        a and b and {*a} & its.places and {*b} & others.places and not {*a} & {*b}
        for a, b in zip(one.places, other.places)
    )


def only_pattern(where: Located, table: Table, ev: Evidence, part: str, like: str) -> str:
    """The only pattern; of several the one that is most like the training's; else a question."""
    patterns = list(where.patterns)
    if len(patterns) > 1 and like:
        suffix = posixpath.splitext(like)[1]
        patterns = [pattern for pattern in patterns if posixpath.splitext(pattern)[1] == suffix] or patterns
        alike = {
            pattern: SequenceMatcher(None, pattern.replace("test", "train"), like).ratio()
            for pattern in patterns
        }
        nearest = max(alike.values())
        patterns = [pattern for pattern in patterns if alike[pattern] > nearest - 0.02]
    if len(patterns) > 1:
        raise Unclear(
            f"which {part} images? The same names are found as {listed(patterns)}: "
            + state(f"{part}_images"),
            *({f"{part}_images": pattern} for pattern in patterns),
        )
    return patterns[0]


def nothing_found(table: Table, ev: Evidence, part: str) -> Unclear:
    own = [file for file, its in zip(ev.images, ev.parts) if its == part]
    ids = table.frame["id"] if "id" in table.frame else table.frame.iloc[:, 0]
    dead = (
        f" {len(links)} links lead to nothing, such as {links[0]}." if (links := dead_links(ev.root)) else ""
    )
    archives = f": {listed(packed(ev.files))}" if packed(ev.files) else ""
    return Unclear(
        f"none of {len(ids)} {part} ids ({listed(list(ids[:3]))} ...) names an image; of {len(ev.images)} images "
        f"({', '.join((own or ev.images)[:1]) or 'none'} ...) {len(own)} lie in a folder named {part}.{dead} "
        f"Is it empty, or still packed{archives} (then `make data COMP=...` unpacks it)? Else "
        + state(
            f"{part}_images, or a {'make_test' if part == 'test' else 'make_table'} that adds a column path,"
        )
    )
