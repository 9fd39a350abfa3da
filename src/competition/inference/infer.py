"""What a competition's files tell: which table is which, what its columns are, what is to be predicted, where
the images lie.

The facts come from contents (evidence.py): which images a column names, which labels a sample holds. Where
the files tell none or two, the functions of columns, problem, folders and places raise Unclear with the
statements that may answer.
"""

import posixpath
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition.facts import OUTPUT, Competition
from src.competition.formats import COLUMN
from src.competition.host_tables import ROW, check_columns, host_table, read_part
from src.competition.inference import columns, doubts, evidence, folders, places, problem, table_roles
from src.competition.inference.advice import Code, Unclear
from src.competition.inference.doubts import are_numbers, is_idle
from src.competition.inference.evidence import Evidence, Naming, Table
from src.competition.inference.patterns import Located
from src.competition.inference.table_roles import Roles
from src.competition.listing import dead_links, packed
from src.competition.messages import listed, state

__all__ = ["Unclear", "are_numbers", "facts"]


@dataclass(frozen=True, eq=False)
class Sample:
    """The sample submission: its table, the column that names the rows, the columns to be filled, the cells
    of the only one.
    """

    table: Table
    row: str
    asked: list[str]
    cells: pd.Series


def facts(
    stated: Competition, root: Path, reads_probabilities: bool, known: Evidence | None = None
) -> Competition:
    """One fact after the other, from the files and from the facts before it; what is stated stays."""
    ev = known or Evidence(root, bool(stated.read_image))
    if not ev.images and not (stated.make_table and stated.read_image):
        raise no_images(ev, root)
    roles = find_roles(stated, ev)
    if not roles.sample and (
        lost := [
            text for file, text in ev.skipped.items() if re.search(table_roles.SAMPLE_NAME, file.lower())
        ]
    ):
        raise Unclear(f"{lost[0]}; it looks like the sample submission. Repair it, or {state('sample_csv')}")
    c, sample = with_sample(stated, roles, ev)
    c = with_files(c, stated, roles, sample, ev)
    long = (
        columns.long_form(sample.table, sample.row, ev, ev.table(c.train_csv))
        if sample.table.file and not c.row
        else None
    )
    if long:  # a line of the sample per image and output
        c = replace(c, row=long[0], labels=c.labels or long[1])
    c, frames = with_columns(c, stated, sample, ev)
    c = with_problem(c, frames["train"].frame, sample, reads_probabilities)
    c, notes = with_places(c, frames, ev)
    return with_lines(c, stated, sample, roles, frames, notes, ev)


def filled(c: Competition, **facts: Any) -> Competition:
    """The competition with these facts where nothing is stated. A function is asked only then."""
    for name, fact in facts.items():
        if getattr(c, name) == getattr(type(c), name):
            c = replace(c, **{name: fact() if callable(fact) else fact})
    return c


def find_roles(stated: Competition, ev: Evidence) -> Roles:
    train = the_table(ev, stated.train_csv) if stated.train_csv else None
    roles = table_roles.find_roles(ev, train, the_table(ev, stated.sample_csv) if stated.sample_csv else None)
    if len(roles.rivals) > 1:
        files = [table.file for table in roles.rivals]
        raise Unclear(
            f"which sample_csv? There are {listed(files)}: " + state("sample_csv"),
            *({"sample_csv": file} for file in files),
        )
    test = the_table(ev, stated.test_csv) if stated.test_csv else None if stated.make_test else roles.test
    return replace(roles, test=test)


def with_sample(c: Competition, roles: Roles, ev: Evidence) -> tuple[Competition, Sample]:
    """The sample's file and header; the rows are called by the stated column or by the one that tells them
    apart.
    """
    table = roles.sample or Table("", pd.DataFrame(), ())
    stated_row = c.header[0].strip() if c.header else ""
    row = (
        stated_row if stated_row in table.frame else table_roles.row_column(table, ev) if roles.sample else ""
    )
    if row.startswith("Unnamed"):
        raise Unclear(
            f"{table.file}: the first column has no name. Save the file without it beside, and"
            f" {state('sample_csv')}"
        )
    passed = columns.passed_through(table, row, roles.test, roles.train)
    c = filled(c, sample_csv=table.file, header=lambda: columns.host_header(table, row, passed))
    asked = [name.strip() for name in c.header[1:]]
    cells = table.frame[asked[0]] if len(asked) == 1 and asked[0] in table.frame else pd.Series(dtype=str)
    return c, Sample(table, row, asked, cells)


def with_files(
    c: Competition, stated: Competition, roles: Roles, sample: Sample, ev: Evidence
) -> Competition:
    """The tables of both parts, or the patterns of names where there are none."""
    has_names = bool(c.make_table) or "{label}" in c.train_images
    train = (
        None
        if has_names
        else the_table(ev, c.train_csv)
        if c.train_csv
        else chosen_train(roles, ev, sample.asked, stated)
    )
    if train and not stated.train_csv:
        refuse_split(train, roles, ev)
        refuse_join(train, ev)
        refuse_folders(train, roles, sample, ev)
    c = filled(c, train_csv=train.file if train else "")
    if not c.train_csv and not c.make_table:
        c = filled(c, train_images=lambda: folders.class_folders(ev, roles, sample.asked))
    c = filled(c, test_csv=roles.test.file if roles.test else "")
    return (
        c
        if c.test_csv or c.sample_csv or c.make_test
        else filled(c, test_images=lambda: test_folder(ev, train))
    )


def refuse_split(train: Table, roles: Roles, ev: Evidence) -> None:
    """A table of all images, with a column that says which are for training. Raises Unclear."""
    for name in train.frame:
        parts = {cell: evidence.part_of(cell) for cell in train.frame[name].unique()[:20]}
        if (
            not 2 <= train.frame[name].nunique() <= 5
            or not all(parts.values())
            or "train" not in parts.values()
        ):
            continue
        cells = {
            kind: [cell for cell, its in parts.items() if its == kind] for kind in ("train", "test", "valid")
        }

        def lines(wanted: str | tuple[str, ...], column: str = name) -> Code:
            return Code(f"lambda root: reshape.where(root, {train.file!r}, **{{{column!r}: {wanted!r}}})")

        tests = cells["test"] or cells["valid"]
        statement: dict[str, Any] = {"make_table": lines(cells["train"][0])}
        if not roles.sample and tests:
            statement["make_test"] = lines(tests[0])
        more = (
            statement | {"make_table": lines((cells["train"][0], *cells["valid"]))}
            if cells["valid"] and cells["test"]
            else {}
        )
        why = f"column {name!r} of {train.file} says which images are for training ({listed(list(parts))}): "
        raise Unclear(why + state("make_table and make_test"), statement, *([more] if more else []))


def refuse_folders(train: Table, roles: Roles, sample: Sample, ev: Evidence) -> None:
    """A table whose cells name folders of images, not images. Raises Unclear."""
    if train.key:
        return
    names = {name for file in ev.images for name in posixpath.dirname(file).split("/")}
    for column in train.frame:
        if train.frame[column].isin(names).mean() > 0.9 and train.frame[column].nunique() > 0.5 * len(
            train.frame
        ):
            table = f"lambda root: reshape.in_folders(root, {train.file!r}, {column!r})"
            tests = (
                f"lambda root: reshape.in_folders(root, {(roles.test or sample.table).file!r},"
                f" {sample.row!r})"
            )
            raise Unclear(
                f"column {column!r} of {train.file} names folders of images: "
                + state("a make_table with a line per image"),
                {"make_table": Code(table), "make_test": Code(tests), "row": sample.row, "id": "image"},
            )


def refuse_join(train: Table, ev: Evidence) -> None:
    """A table whose images stand in another one, by a number that both have. Raises Unclear."""
    for table in ev.tables if not train.key else []:
        shared = [
            name
            for name in train.frame
            if name in table.frame and train.frame[name].isin(table.frame[name]).mean() > 0.9
        ]
        if (
            table is not train
            and table.key
            and table.key.share >= 0.5
            and table.key.column not in train.frame
            and shared
        ):
            raise Unclear(
                f"{train.file} names no image, {table.file} does, and both have {shared[0]!r}: "
                + state("a make_table that joins them"),
                {"make_table": Code(f"lambda root: reshape.beside(root, {train.file!r}, {table.file!r})")},
            )


def test_folder(ev: Evidence, train: Table | None) -> str:
    """The pattern of the test images that no table lists, with the suffix in the id where the training ids
    have it.
    """
    return folders.find_test_folder(ev, train) + (
        ".*" if train and train.key and not train.key.is_path else ""
    )


def with_columns(
    c: Competition, stated: Competition, sample: Sample, ev: Evidence
) -> tuple[Competition, dict[str, Table]]:
    """The columns of both parts, and their frames with the id's column as `id`."""
    known = {"train": ev.table(c.train_csv), "test": ev.table(c.test_csv or c.sample_csv)}
    first = {
        part: as_table(read_part(ev.root, as_read(c, part, ev), part), ev, known[part]) for part in known
    }
    frame, tested = first["train"].frame, first["test"].frame
    is_named = "id" in frame if c.make_table or OUTPUT in c.row else not c.train_csv
    c = filled(
        c, id="id" if is_named else lambda: columns.find_id(first["train"], tested, sample.row, stated)
    )
    if sample.row not in ("", c.id):
        c = filled(c, row=lambda: columns.find_row(frame, tested, sample.row, c.id))
    c = filled(
        c,
        labels=lambda: columns.find_labels(frame, tested, c, sample.asked, sample.table, first["train"].key),
    )
    c = filled(c, header=(c.id, *c.labels))
    if c.test_csv and not stated.test_csv and {c.id, sample.row}.isdisjoint(tested) and OUTPUT not in c.row:
        c = replace(c, test_csv="")  # it names no row of the sample
        c = c if c.sample_csv else filled(c, test_images=lambda: test_folder(ev, first["train"]))
    frames = {part: as_table(read_part(ev.root, c, part), ev, first[part]) for part in ("train", "test")}
    check_columns(frames["train"].frame, list(c.labels), "the train table")
    return c, frames


def with_problem(
    c: Competition, frame: pd.DataFrame, sample: Sample, reads_probabilities: bool
) -> Competition:
    """The task, its classes, and the form of the answer."""
    is_long = OUTPUT in c.row
    cells = sample.cells
    wants_float = bool(len(cells)) and are_numbers(cells) and bool(cells.str.contains(r"[.eE]").any())
    asked, has_folders = [] if is_long else sample.asked, not (c.train_csv or c.make_table)
    c = filled(
        c,
        task=lambda: problem.find_task(
            frame, c.labels, asked, wants_float and not is_long, has_folders=has_folders, file=c.train_csv
        ),
    )
    c = filled(c, classes=lambda: problem.find_classes(frame, c.labels, c.task))
    if c.task == "bounded":
        c = filled(c, bounds=problem.find_bounds(frame[list(c.labels)]))
    c = filled(c, answer=lambda: problem.find_answer(c, wants_float or reads_probabilities, cells))
    wanted = tuple(name for name in c.outputs if name in c.names)
    return filled(
        c, scored=wanted if len(wanted) < len(c.outputs) else (), flips=doubts.find_flips(c.classes)
    )


def with_places(c: Competition, frames: dict[str, Table], ev: Evidence) -> tuple[Competition, list[str]]:
    """The patterns of both parts' images, the test's first: what is left may be the training's; and what is
    to be said of them.
    """
    taken: frozenset[int] = frozenset()
    notes: list[str] = []
    found: dict[str, Located] = {}
    for part in ("test", "train"):
        is_stated, make = (
            (bool(c.train_images), c.make_table) if part == "train" else (bool(c.test_images), c.make_test)
        )
        if not is_stated and make and "path" in frames[part].frame:
            c = with_images(c, part, "{path}")
        elif not is_stated:
            found[part] = places.find_images(
                frames[part], ev, part, c.id, taken or trained(part, frames["train"], ev), notes
            )
            taken = found[part].places if len(found[part].patterns) == 1 else frozenset()
    for part in sorted(found, reverse=True):  # train decides what test's is most like
        like = c.train_images if part == "test" else ""
        c = with_images(c, part, places.only_pattern(found[part], frames[part], ev, part, like))
    return c, notes


def trained(part: str, train: Table, ev: Evidence) -> frozenset[int]:
    """The images of the training folder that the training table names: no test image is looked for among
    them.
    """
    if part == "train" or not train.key:
        return frozenset()
    return frozenset(place for row in train.key.places for place in row if ev.parts[place] == "train")


def with_lines(
    c: Competition,
    stated: Competition,
    sample: Sample,
    roles: Roles,
    frames: dict[str, Table],
    notes: list[str],
    ev: Evidence,
) -> Competition:
    """The competition with what is to be said: guesses, doubts, what is not used."""
    frame, tested = frames["train"].frame, frames["test"].frame
    others = doubts.telling(frame, {"id", "path", "row", ROW, c.id, c.row, c.group, *c.labels, *c.features})
    c = replace(c, suspects=doubts.find_suspects(frame[others]))
    lines = [
        *notes,
        *doubts.find_warnings(c, [name for name in others if name in tested], sample.table.frame),
    ]
    if not (stated.task or stated.answer):
        lines += doubts.find_doubts(c, frame[list(c.labels)], sample.table.frame, sample.asked)
    return replace(c, warnings=(*lines, *doubts.account(c, ev, frames, roles)))


def with_images(c: Competition, part: str, pattern: str) -> Competition:
    return replace(c, train_images=pattern) if part == "train" else replace(c, test_images=pattern)


def no_images(ev: Evidence, root: Path) -> ValueError:
    kinds = Counter(posixpath.splitext(file)[1].lower() or "without a suffix" for file in ev.files)
    there = listed([f"{number} {kind}" for kind, number in kinds.most_common()]) or "nothing"
    dead = f" {len(links)} links lead to nothing, such as {links[0]}." if (links := dead_links(root)) else ""
    archives = f" ({listed(packed(ev.files))})" if packed(ev.files) else ""
    return Unclear(
        f"no image in {root}, there is {there}.{dead} Still packed{archives}? Then `make data"
        f" COMP={root.name}`. Of another format, or pixels in a csv? Then"
        f" {state('a read_image (and make_table)')}",
        *doubts.other_formats(ev),
    )


def the_table(ev: Evidence, file: str) -> Table:
    """The stated file as a table. Raises ValueError where it is none."""
    if table := ev.table(file):
        return table
    frame = host_table(ev.root, file, set()).rename(columns=lambda name: str(name).strip())
    return replace(as_table(frame, ev), file=file)


def as_table(frame: pd.DataFrame, ev: Evidence, before: Table | None = None) -> Table:
    """A frame with the columns that name images. Those that were looked up before, and `id` where it repeats
    another, are not looked up again.
    """
    frame_columns = [name for name in frame if name != ROW]
    namings: dict[str, Naming] = {}
    for name in frame_columns:
        twin = (
            next((other for other in frame_columns if other != name and frame[name].equals(frame[other])), "")
            if name == "id"
            else ""
        )
        if (
            before
            and name in before.frame
            and len(before.frame) == len(frame)
            and frame[name].equals(before.frame[name])
        ):
            namings |= {key: one for key, one in before.namings.items() if one.column == name}
        elif twin:
            namings |= {
                key.replace(twin, name, 1): replace(one, column=name)
                for key, one in namings.items()
                if one.column == twin
            }
        elif naming := evidence.naming_of(frame[name], ev.index):
            namings[name] = naming
    if not namings:
        namings = evidence.with_affixes(frame[frame_columns], ev.index)
    return Table("", frame, tuple(frame.columns), namings)


def as_read(c: Competition, part: str, ev: Evidence) -> Competition:
    """For a first look: an id that stands in the part's table, whatever it will be in the end."""
    table = ev.table(c.train_csv if part == "train" else c.test_csv)
    if table and not c.id and table.header[0].startswith(COLUMN):
        return replace(c, features=(table.header[0],))  # so that it is read without a header
    return replace(c, id=c.id if part == "train" or c.train_csv or c.make_table else "id")


def chosen_train(roles: Roles, ev: Evidence, asked: list[str], stated: Competition) -> Table | None:
    """The table of the training images; None where folders are the classes that the sample asks for and no
    column is.
    """
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
        if differ and not re.search(table_roles.ANSWER_NAME, rival.name):
            raise Unclear(
                f"which train_csv? {train.file} and {rival.file} both have {column!r} of the same {images}"
                f" images, and {differ} differ: " + state("train_csv"),
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
    if not {*asked} & {*train.frame} and folders.sure_folders(ev, roles, asked):
        words = folders.sample_words(roles, asked)
        if not any(len({*train.frame[name].unique()} & words) >= 0.5 * len(words) for name in train.frame):
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


def labels_alike(table: Table, train: Table, ev: Evidence, stated: Competition) -> str:
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
    named = [name for name in shared if name.lower() in columns.LABEL_WORDS or name in stated.labels]
    return (named or shared or [""])[0] if same >= 0.5 * len(train.frame) else ""
