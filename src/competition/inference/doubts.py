"""What was guessed, and what lies there unused: each in one line, with what to type where it is wrong.

And the small tests of columns that guesses rest on."""

import posixpath
import re
from collections import Counter
from typing import Any

import pandas as pd

from src.competition.facts import OUTPUT, Competition
from src.competition.inference.advice import Code
from src.competition.inference.evidence import Evidence, Table
from src.competition.inference.table_roles import Roles
from src.competition.listing import IMAGE_SUFFIXES
from src.competition.messages import listed, state
from src.competition.reshape import is_pixel
from src.competition.tables import NUMBER

GROUP_WORDS = r"patient|person|people|subject|participant|group|source|site|driver|location|camera|hospital|session|individual|user"
ONE_SIDED = r"(?<![a-z])(left|right|l|r|links|rechts|gauche|droite|izquierda|derecha|clockwise|counterclockwise|ccw|cw|arrow|b_or_d)(?![a-z])"
MOST_LINES = 5  # of unused things; the others are counted


# -- columns


def are_numbers(values: pd.Series) -> bool:
    return bool(values.str.fullmatch(NUMBER).all())


def are_words(values: pd.Series) -> bool:
    """Several labels joined by spaces, not names with a space in them: a small vocabulary makes many values,
    and its words occur alone, or always in the same order.
    """
    distinct = set(values.str.strip()) - {""}
    rows = [value.split() for value in distinct]
    words = {word for row in rows for word in row}
    if distinct > words or bool(distinct & words) and 2 * len(words) < len(distinct):
        return True
    return len(words) < len(distinct) and have_an_order([row for row in rows if len(row) > 1])


def have_an_order(rows: list[list[str]]) -> bool:
    """Are the words of all rows sorted, as tags often are and names of two words are by chance in half of the
    cases?
    """
    return len(rows) >= 8 and all(
        row == sorted(row, key=str.casefold) and len({*row}) == len(row) for row in rows
    )


def is_idle(values: pd.Series) -> bool:
    """Tells nothing: one value for all, or the number of the line."""
    if values.nunique() < 2:
        return True
    cells = values.tolist()
    return any(
        cells == [str(number) for number in range(start, start + len(cells))]
        for start in (0, 1)
        if cells[0] == str(start)
    )


def joined_by(values: pd.Series, asked: list[str]) -> str:
    """What joins several labels in a cell, "" when nothing does: the words are all columns of the sample or,
    where it has one, occur alone too.
    """
    cells = list(values.unique())
    for mark in (" ", "|", ";", ","):
        if not any(mark in cell.strip() for cell in cells):
            continue
        rows = [[word.strip() for word in cell.split(mark) if word.strip()] for cell in cells]
        several = {word for row in rows if len(row) > 1 for word in row}
        plain = pd.Series([" ".join("_".join(word.split()) for word in row) for row in rows], dtype=str)
        if several and (several <= {*asked} if len(asked) > 1 else are_words(plain)):
            return mark
    return ""


def has_suffix(values: pd.Series) -> bool:
    first = values.head(20).str.strip().str.lower()
    return bool(first.str.endswith(IMAGE_SUFFIXES).all()) and bool(
        values.str.strip().str.lower().str.endswith(IMAGE_SUFFIXES).all()
    )


def telling(frame: pd.DataFrame, known: set[str]) -> list[str]:
    """The columns that are neither known, nor paths, nor idle."""
    return [
        name
        for name in frame
        if name not in known and not has_suffix(frame[name]) and not is_idle(frame[name])
    ]


def find_suspects(others: pd.DataFrame) -> tuple[str, ...]:
    """Columns that look like a group (a patient, a site): by name, or because their values return a few times
    each.
    """
    counts, num = others.nunique(), len(others)
    return tuple(
        name
        for name in others
        if re.search(GROUP_WORDS, name.lower())
        and 2 < counts[name] < num
        or 10 <= counts[name] <= 0.4 * num <= 20 * counts[name]
    )


# -- lines


def find_warnings(c: Competition, unused: list[str], sample: pd.DataFrame) -> list[str]:
    """What a competitor should know before trusting a fold."""
    lines = [
        f"column {name!r} looks like a group (a patient, a site): if its images belong together,"
        f" {state(f'group={name!r}')}"
        for name in c.suspects[:4]
        if not c.group
    ]
    if unused:
        lines.append(
            f"not used: {listed(unused)}; features=(...) in src/competitions.py gives columns to the head"
        )
    if (
        c.answer == "probability"
        and c.positive not in c.names
        and {*c.classes} not in ({"0", "1"}, {"-1", "1"})
    ):
        reverse = (
            tuple(name for name in (*c.classes, c.positive) if name != c.positive)
            if c.positive == c.classes[0]
            else c.classes[::-1]
        )
        lines.append(
            f"the submission's number is taken for the probability of {c.positive!r}: else"
            f" {state(f'classes={reverse}, that one last,')}"
        )
    if (
        OUTPUT not in c.row
        and c.answer == "probabilities"
        and (unseen := [name for name in c.names[1:] if name not in c.outputs])
    ):
        lines.append(f"no training image is of the class {listed(unseen)}: 0 is submitted")
    cells = (
        set(sample[c.names[1]]) - {""}
        if c.answer in ("label", "words", "ranked") and len(c.names) > 1 and c.names[1] in sample
        else set()
    )
    if cells and not {word for cell in cells for word in (cell, *cell.split(), cell.removesuffix(".0"))} & {
        *c.classes
    }:
        lines.append(
            f"{c.sample_csv} holds {listed(sorted(cells))}, none of the labels {listed(list(c.classes))}: if"
            f" the host wants other names or codes, {state('make_table or answer')}"
        )
    plain = Counter(name.lower() for name in c.classes)
    if alike := [name for name in c.classes if plain[name.lower()] > 1]:
        lines.append(f"classes that differ in case alone: {listed(alike)}")
    return lines


def find_doubts(c: Competition, labels: pd.DataFrame, sample: pd.DataFrame, asked: list[str]) -> list[str]:
    """Numbers that may be classes, classes that may be numbers, labels that may be wanted as probabilities,
    cells that may want several labels.
    """
    whole, name = (
        all(column.str.fullmatch(r"-?\d*").all() for _, column in labels.items()),
        listed(list(c.labels)),
    )
    num = labels.iloc[:, 0].nunique()
    if c.task == "regression" and whole and len(c.labels) > 1:
        return [
            f"the whole numbers of {name} are learned as amounts; are they codes of classes? Then "
            + state("a make_table whose one label joins them, and an answer that takes it apart")
        ]
    if c.task == "regression" and whole and num <= min(20, len(labels) / 3):
        return [
            f"the whole numbers of {name} are learned as amounts; are they classes? Then "
            + state('task="multiclass", or "ordinal" for grades,')
        ]
    numbers = sorted(map(int, c.classes)) if c.task == "multiclass" and whole and len(c.labels) == 1 else [0]
    if len(numbers) > 10:
        line = f"{len(numbers)} whole numbers of {name}, {numbers[0]} to {numbers[-1]}, are taken for classes"
        return [f"{line}; are they amounts, such as an age? Then " + state('task="regression"')]
    cells = sample[asked[0]] if len(asked) == 1 and asked[0] in sample else pd.Series(dtype=str)
    if (
        c.answer == "label"
        and len(cells)
        and cells.str.strip().str.contains(" ").mean() > 0.5
        and not any(" " in name for name in c.classes)
    ):
        return [
            f"a cell of {c.sample_csv} such as {cells.iloc[0]!r} holds several words, one label is submitted:"
            f" else {state('answer')}"
        ]
    if (
        c.task == "binary"
        and c.answer == "label"
        and len(cells)
        and set(cells) <= {"0", "1"}
        and {*c.classes} == {"0", "1"}
    ):
        return [
            f"the sample's {cells.iloc[0]!r} may stand for a label or for a probability, labels are"
            " submitted; probabilities: " + state('answer="probability"')
        ]
    words = (
        {word for value in labels.iloc[:, 0].unique() for word in value.split()}
        if c.task == "multiclass" and len(c.labels) == 1
        else set()
    )
    if c.task == "multiclass" and any(" " in value for value in c.classes) and len(words) < len(c.classes):
        return [
            f"the {len(c.classes)} values of {name} are made of {len(words)} words and are taken for one"
            " class each; are the words labels? Then " + state('task="multilabel"')
        ]
    return []


def find_flips(classes: tuple[str, ...]) -> str:
    """Mirrors that keep the label: none for digits, letters, and what lies left or right."""
    if classes and all(name in "0123456789" and len(name) == 1 for name in classes) and len(classes) >= 9:
        return ""
    letters = [name for name in classes if len(name) == 1 and name.isalpha()]
    if len(letters) >= 10 and len(letters) >= 0.7 * len(classes):
        return ""
    return "" if any(re.search(ONE_SIDED, name.lower()) for name in classes) else "h"


def account(c: Competition, ev: Evidence, frames: dict[str, Table], roles: Roles) -> list[str]:
    """Tables that name images, and folders of images, that are not used, with what they seem to hold."""
    used = (
        {*frames["train"].frame.get("path", []), *frames["test"].frame.get("path", [])}
        if c.make_table
        else set()
    )
    lines = [
        line
        for table in ev.tables
        if table.file not in (c.train_csv, c.test_csv, c.sample_csv)
        and table.file not in c.train_csv.split("+")
        and (line := of_table(table, frames, c))
    ]
    lines += of_images(c, ev, frames, used)
    return (
        lines
        if len(lines) <= MOST_LINES
        else [*lines[:MOST_LINES], f"{len(lines) - MOST_LINES} more tables or folders are not used"]
    )


def of_table(table: Table, frames: dict[str, Table], c: Competition) -> str:
    """What an unused table says of the training images."""
    train = frames["train"]
    key = table.key
    if not key or key.share < 0.5:
        return ""
    own = [
        name
        for name in table.frame
        if name != key.column and name not in train.frame and not is_idle(table.frame[name])
    ]
    groups = find_suspects(table.frame[own])
    known = {place for naming in train.namings.values() for row in naming.places for place in row}
    num = sum(any(place in known for place in row) for row in key.places)
    if not num:
        return f"not used: {table.file} names {key.rows} other images (columns {listed(list(table.frame))})"
    what = f"column {groups[0]} looks like a group" if groups else f"columns {listed(own)}" if own else ""
    if not what:
        return ""
    join = f"make_table=lambda root: reshape.beside(root, {c.train_csv!r}, {table.file!r})"
    as_group = f", group={groups[0]!r}" if groups else ""
    return (
        f"not used: {table.file} names {num} training images: {what}; to use it {state(join + as_group)}"
        if c.train_csv
        else f"not used: {table.file} names {num} training images: {what}"
    )


def of_images(c: Competition, ev: Evidence, frames: dict[str, Table], used: set[str]) -> list[str]:
    """Folders of images that neither part names, and images of the training folder that are in no table."""
    listed_files: set[str] = set(used)
    for part, pattern in (("train", c.train_images), ("test", c.test_images)):
        frame = frames[part].frame
        if "path" in frame and (
            pattern == "{path}" or not getattr(c, f"{part}_csv") and not (part == "test" and c.sample_csv)
        ):
            listed_files |= {*frame["path"]}
        else:
            places = [
                place for naming in frames[part].namings.values() for row in naming.places for place in row
            ]
            home = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
            listed_files |= {ev.images[place] for place in places if ev.images[place].startswith(home)}
    rest = Counter(posixpath.dirname(file) for file in ev.images if file not in listed_files)
    total = Counter(posixpath.dirname(file) for file in ev.images)
    merged: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for folder, count in rest.items():
        top = folder if count < total[folder] else top_unused(folder, rest, total)
        merged[top] += count
        whole[top] += total[folder]
    return [
        (
            f"not used: {count} images in {folder or 'the top folder'}/"
            if count == whole[folder]
            else (
                f"not used: {count} of {whole[folder]} images in {folder or 'the top folder'}/ are in no"
                " table"
            )
        )
        for folder, count in merged.most_common()
        if folder or count > 2
    ]


def top_unused(folder: str, rest: Counter[str], total: Counter[str]) -> str:
    """The highest folder above whose images are all unused."""
    while (above := posixpath.dirname(folder)) and all(
        rest[name] == count for name, count in total.items() if f"{name}/".startswith(f"{above}/")
    ):
        folder = above
    return folder


def other_formats(ev: Evidence) -> list[dict[str, Any]]:
    """Statements for files that are no pictures: DICOM, arrays, and tables of pixels."""
    if any(file.lower().endswith((".dcm", ".dicom")) for file in ev.files):
        return [{"read_image": Code("read_dicom")}]
    if any(file.lower().endswith(".npy") for file in ev.files):
        return [{"read_image": Code("reshape.npy")}]
    wide = [file for file, why in ev.skipped.items() if "as pixels have" in why]
    for table in ev.tables:
        if "pixels" in table.frame or sum(is_pixel(name) for name in table.frame) > 0.7 * len(
            table.frame.columns
        ):
            wide.append(table.file)
    train = sorted(file for file in wide if "test" not in file.lower())
    test = sorted(file for file in wide if file not in train)
    sample = next((table for table in ev.tables if re.search(r"sampl|submi", table.name)), None)
    if not train or not test:
        return []
    start = sample.frame.iloc[0, 0] if sample else "0"
    count = f", **{{{sample.frame.columns[0]!r}: {int(start)}}}" if sample and start.isdecimal() else ""
    lines, tests = (
        f"lambda root: reshape.pixels(root, {file!r}{more})"
        for file, more in ((train[0], ""), (test[0], count))
    )
    return [{"make_table": Code(lines), "make_test": Code(tests), "read_image": Code("reshape.read_pixels")}]
