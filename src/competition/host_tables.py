"""What the host's files say of the training or test images: a csv as it was read, brought into shape."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.competition.facts import OUTPUT, Competition
from src.competition.formats import COLUMN, read_table
from src.competition.image_paths import from_names
from src.competition.messages import listed, say_once, state

# what a line's row is called, kept where the host's own column has the name `id`
ROW = "row of the host"
MARKS = ("|", ";", ",")  # what may join labels in a cell, beside a space
WHOLE = r"(-?\d+\.0+)?"
# folders that are called so hold no class; the second is certain, the first is said
ASIDE = r"(test|testing|val|valid|validation|eval)(s|set|[_-][^/]*|\d+)?"
PARTS = r"(test|testing|val|valid|validation|eval)(s|set)?([_-]?(images?|imgs?|set|data|\d+))?"
UNLABELLED = r"(un|no|without|not)[ _-]?label(l?ed|s)?|unsup(ervised)?|unannotated"
NO_CLASS = f"are taken for no class, by its name: else {state('a make_table')}"


class Source(NamedTuple):
    """Where a part's images are listed: by the first of these that there is."""

    make: Callable | None
    file: str
    pattern: str  # of the images' paths


def source_of(c: Competition, part: str) -> Source:
    """part: train or test."""
    if part == "train":
        return Source(c.make_table, c.train_csv, c.train_images)
    return Source(c.make_test, c.test_csv or c.sample_csv, c.test_images)


def read_part(root: Path, c: Competition, part: str) -> pd.DataFrame:
    """What make_table (make_test), the part's csv or its images' names say, with the id's column as `id` too.
    Raises ValueError.
    """
    make, file, pattern = source_of(c, part)
    if make:
        frame = make(root).astype(object)
        frame = frame.where(frame.notna(), "").astype(str)
    elif file:
        frame = host_table(root, file, expected_columns(c, part, file))
    else:
        frame = from_names(root, pattern, bool(c.read_image))
        if part == "train":
            frame = without_parts(without_unlabelled(frame), pattern)
    frame = frame.rename(columns=lambda name: str(name).strip())
    if OUTPUT in c.row and file:
        frame = widened(frame, c, part)
    frame = with_plain_labels(frame, c).drop_duplicates(ignore_index=True)  # a line twice says nothing new
    name = c.names[0] if c.header else ""  # of the sample's rows
    if part == "test" and file and file == c.test_csv and c.sample_csv and name not in frame:
        rows = host_table(root, c.sample_csv, {c.header[0]})[c.header[0]]
        frame = with_rows(frame, rows, name)
    row = name if part == "test" and name in frame else c.row
    if row in frame:
        frame = frame.assign(**{ROW: frame[row]})
    column = id_column(frame, c, part)
    if not column:
        return frame
    check_columns(frame, [column], f"the {part} table")
    return frame.assign(id=frame[column])


def check_columns(frame: pd.DataFrame, columns: list[str], what: str) -> None:
    """Raises ValueError for columns that the frame lacks."""
    if unknown := [column for column in columns if column not in frame]:
        raise ValueError(
            f"{what} has no column {listed(unknown)}, only {', '.join(frame.columns)}: "
            + state("another, or a make_table or make_test that adds it,")
        )


def host_table(root: Path, file: str, columns: set[str]) -> pd.DataFrame:
    """A table of the host's, or several of the same columns, "a.csv+b.csv"; without a header where the
    columns that are expected say so.
    """
    if "+" in file and not (root / file).exists():
        frames = [host_table(root, one.strip(), columns) for one in file.split("+")]
        return pd.concat(frames, ignore_index=True)
    frame = read_table(root / file)
    is_bare = any(name.startswith(COLUMN) and name not in frame for name in columns)
    return read_table(root / file, header=False) if is_bare else frame


def expected_columns(c: Competition, part: str, file: str) -> set[str]:
    """The columns that the part's table must have, as far as they are known."""
    pattern = c.train_images if part == "train" else c.test_images
    in_pattern = re.findall(r"\{([^{}:]+)", pattern)
    if part == "train":
        return {c.id, *c.labels, *c.features, *in_pattern}
    if file == c.sample_csv:
        return {*c.header[:1]}
    return {*in_pattern, *c.features} | (set() if c.sample_csv else {c.id})


# -- class folders


def without_unlabelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Class folders without one whose name says that its images have no label."""
    if "label" not in frame:
        return frame
    is_unlabelled = frame["label"].str.lower().str.fullmatch(UNLABELLED)
    for name, count in frame["label"][is_unlabelled].value_counts().sort_index().items():
        say_once(f"warning: the {count} images in {name}/ {NO_CLASS}")
    return frame[~is_unlabelled]


def without_parts(frame: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Class folders without those of other parts, such as test/ among them."""
    home = pattern.partition("{")[0]
    if "train" in home.lower():
        return frame
    folders = frame["path"].str.slice(len(home)).str.partition("/")[0]
    is_aside = folders.str.lower().str.fullmatch(ASIDE)
    for name in sorted({*folders[is_aside]}):
        if not re.fullmatch(PARTS, name.lower()):
            say_once(f"warning: the images in {home}{name}/ {NO_CLASS}")
    return frame[~is_aside]


# -- labels


def with_plain_labels(frame: pd.DataFrame, c: Competition) -> pd.DataFrame:
    """Labels without spaces around them; several of a cell joined by spaces."""
    labels = {}
    for name in {*c.labels} & {*frame}:
        cells = frame[name].str.strip()
        if len(cells) and cells.str.fullmatch(WHOLE).all() and {*c.classes}.isdisjoint(cells):
            cells = cells.str.partition(".")[0]  # 1.0 is 1: a gap once made pandas write so
        labels[name] = spaced(cells, c.classes) if c.task == "multilabel" and len(c.labels) == 1 else cells
    return frame.assign(**labels)


def label_separator(cells: pd.Series, classes: tuple[str, ...]) -> str:
    """What joins the labels of a cell: |, ; or comma where it is in a cell and in no class, else a space."""
    for mark in MARKS:
        is_in_class = any(mark in name for name in classes)
        if not is_in_class and cells.str.contains(mark, regex=False).any():
            return mark
    return " "


def spaced(cells: pd.Series, classes: tuple[str, ...]) -> pd.Series:
    """The same labels joined by spaces."""
    mark = label_separator(cells, classes)
    if mark == " ":
        return cells
    return cells.str.split(mark).map(lambda words: " ".join(word.strip() for word in words))


# -- ids and rows


def id_column(frame: pd.DataFrame, c: Competition, part: str) -> str:
    """The column that names an image: the id; in a test table that lacks it the sample's first. "" where that
    is not known yet.
    """
    if OUTPUT in c.row and "id" in frame:
        return "id"
    if part == "train" or c.id in frame:
        return c.id
    make, file, _ = source_of(c, part)
    if not (make or file):
        return "id"
    return c.names[0] if c.header else ""


def with_rows(frame: pd.DataFrame, rows: pd.Series, name: str) -> pd.DataFrame:
    """A test table that calls the sample's rows otherwise, with a column of that name too."""
    wanted = set(rows)
    shares = {column: len(wanted & {*frame[column]}) / max(len(wanted), 1) for column in frame}
    best = max(shares, key=lambda column: shares[column], default="")
    return frame.assign(**{name: frame[best]}) if best and shares[best] >= 0.5 else frame


def widened(frame: pd.DataFrame, c: Competition, part: str) -> pd.DataFrame:
    """A table with a line per image and output, such as ID_1__target, with a line per image and a column per
    output instead.
    """
    key, mark = c.names[0], c.row.partition("}")[2].removesuffix(OUTPUT)
    if key not in frame:
        return frame
    outputs = [name for name in c.labels if frame[key].str.endswith(mark + name).any()]
    if outputs:
        longest_first = sorted(outputs, key=len, reverse=True)
        ends = "|".join(re.escape(name) for name in longest_first)
        parts = frame[key].str.extract(f"(.*){re.escape(mark)}({ends})$")
        ids, output = parts[0].fillna(frame[key]), parts[1]
    elif part == "train":  # a column per output stands there already
        return frame
    else:
        ids, output = frame[key].str.rpartition(mark)[0], None
    lines = frame.assign(id=ids)
    value = c.names[1] if len(c.names) > 1 else ""
    wide = lines.drop(columns=[key, value], errors="ignore").drop_duplicates("id", ignore_index=True)
    if value in frame:
        for name in outputs:
            cells = lines[output == name].drop_duplicates("id").set_index("id")[value]
            wide[name] = wide["id"].map(cells).fillna("")
    return wide
