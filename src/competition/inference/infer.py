"""What a competition's files tell: which table is which, what its columns are, what is to be predicted, where
the images lie.

The facts come from contents (evidence.py): which images a column names, which labels a sample holds. Where
the files tell none or two, Unclear is raised, with the statements that may answer.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from src.competition.facts import OUTPUT, Competition
from src.competition.formats import COLUMN
from src.competition.host_tables import ROW, check_columns, host_table, read_part
from src.competition.inference import (
    columns,
    doubts,
    evidence,
    folders,
    labels,
    places,
    problem,
    table_roles,
    train_table,
    unused,
)
from src.competition.inference.advice import Unclear
from src.competition.inference.cells import are_numbers, find_suspects, telling
from src.competition.inference.evidence import Evidence, Naming, Table
from src.competition.inference.no_images import no_images
from src.competition.inference.patterns import Located
from src.competition.inference.table_roles import Roles
from src.competition.messages import listed, state

Frames = dict[str, Table]  # of both parts, train and test


@dataclass(frozen=True, eq=False)
class Sample:
    """The sample submission: its table, the column that names the rows, the columns to be filled, the cells
    of the only one.
    """

    table: Table
    row: str
    asked: list[str]
    cells: pd.Series


def infer_facts(stated: Competition, ev: Evidence, reads_probabilities: bool) -> Competition:
    """One fact after the other, from the files and from the facts before it; what is stated stays. Raises
    Unclear.
    """
    if not ev.images and not (stated.make_table and stated.read_image):
        raise no_images(ev)
    roles = find_roles(stated, ev)
    c, sample = with_sample(stated, roles, ev)
    c = with_files(c, roles, sample, ev)
    c = with_long_form(c, sample, ev)
    c, frames = with_columns(c, stated, sample, ev)
    c = with_problem(c, frames["train"].frame, sample, reads_probabilities)
    c, notes = with_places(c, frames, ev)
    return with_warnings(c, stated, sample, frames, notes, ev)


def filled(c: Competition, **facts: Any) -> Competition:
    """The competition with these facts where nothing is stated. A function is called only then."""
    for name, fact in facts.items():
        if getattr(c, name) == getattr(type(c), name):
            c = replace(c, **{name: fact() if callable(fact) else fact})
    return c


def find_roles(stated: Competition, ev: Evidence) -> Roles:
    """Which table is which. Raises Unclear where several may be the sample, or where it can't be read."""
    train, test, sample = (
        stated_table(ev, file) if file else None
        for file in (stated.train_csv, stated.test_csv, stated.sample_csv)
    )
    roles = table_roles.find_roles(ev, train, sample)
    if len(roles.rivals) > 1:
        files = [table.file for table in roles.rivals]
        raise Unclear(
            f"which sample_csv? There are {listed(files)}: " + state("sample_csv"),
            *({"sample_csv": file} for file in files),
        )
    for file, text in ev.skipped.items():
        if not roles.sample and re.search(table_roles.SAMPLE_NAME, file.lower()):
            raise Unclear(f"{text}; it looks like the sample submission. Repair it, or {state('sample_csv')}")
    return replace(roles, test=test or (None if stated.make_test else roles.test))


def with_sample(c: Competition, roles: Roles, ev: Evidence) -> tuple[Competition, Sample]:
    """The sample's file and header; the rows are called by the stated column or by the one that tells them
    apart.
    """
    table = roles.sample or Table("", pd.DataFrame(), ())
    row = c.header[0].strip() if c.header else ""
    if row not in table.frame:
        row = table_roles.row_column(table, ev) if roles.sample else ""
    if row.startswith("Unnamed"):
        raise Unclear(
            f"{table.file}: the first column has no name. Save the file without it beside, and"
            f" {state('sample_csv')}"
        )
    copied = columns.copied_columns(table, row, roles.test)
    c = filled(c, sample_csv=table.file, header=columns.host_header(table, row, copied))
    asked = [name.strip() for name in c.header[1:]]
    cells = table.frame[asked[0]] if len(asked) == 1 and asked[0] in table.frame else pd.Series(dtype=str)
    return c, Sample(table, row, asked, cells)


def with_files(c: Competition, roles: Roles, sample: Sample, ev: Evidence) -> Competition:
    """The tables of both parts, or the patterns of names where there are none."""
    train = None
    has_names = bool(c.make_table) or "{label}" in c.train_images
    if c.train_csv and not has_names:
        train = stated_table(ev, c.train_csv)
    elif not c.train_csv and not has_names:
        train = train_table.choose_train(roles, ev, sample.asked, c)
        if train:
            train_table.refuse_shape(train, roles, sample.row, ev)
            c = replace(c, train_csv=train.file)
        else:
            c = filled(c, train_images=lambda: folders.class_folders(ev, roles, sample.asked))
    c = filled(c, test_csv=roles.test.file if roles.test else "")
    if c.test_csv or c.sample_csv or c.make_test:
        return c
    return filled(c, test_images=lambda: test_folder(ev, train))


def test_folder(ev: Evidence, train: Table | None) -> str:
    """The pattern of the test images that no table lists, with the suffix in the id where the training ids
    have it.
    """
    has_bare_ids = train and train.key and not train.key.is_path
    return folders.find_test_folder(ev, train) + (".*" if has_bare_ids else "")


def with_long_form(c: Competition, sample: Sample, ev: Evidence) -> Competition:
    """The row and the labels where the sample has a line per image and output."""
    if c.row or not sample.table.file:
        return c
    long = columns.long_form(sample.table, sample.row, ev, ev.table(c.train_csv))
    return replace(c, row=long[0], labels=c.labels or long[1]) if long else c


def with_columns(
    c: Competition, stated: Competition, sample: Sample, ev: Evidence
) -> tuple[Competition, Frames]:
    """The columns of both parts, and their frames with the id's column as `id`."""
    known = {"train": ev.table(c.train_csv), "test": ev.table(c.test_csv or c.sample_csv)}
    first = {part: part_table(for_first_look(c, part, ev), part, ev, known[part]) for part in known}
    frame, tested = first["train"].frame, first["test"].frame
    if c.make_table or OUTPUT in c.row:
        has_id = "id" in frame
    else:
        has_id = not c.train_csv
    c = filled(c, id="id" if has_id else lambda: columns.find_id(first["train"], tested, sample.row))
    if sample.row not in ("", c.id):
        c = filled(c, row=lambda: columns.find_row(frame, tested, sample.row, c.id))
    key = first["train"].key
    c = filled(c, labels=lambda: labels.find_labels(frame, tested, c, sample.asked, sample.table, key))
    c = filled(c, header=(c.id, *c.labels))
    names_rows = c.id in tested or sample.row in tested or OUTPUT in c.row
    if c.test_csv and not stated.test_csv and not names_rows:
        c = replace(c, test_csv="")
        if not c.sample_csv:
            c = filled(c, test_images=lambda: test_folder(ev, first["train"]))
    frames = {part: part_table(c, part, ev, first[part]) for part in ("train", "test")}
    check_columns(frames["train"].frame, list(c.labels), "the train table")
    return c, frames


def with_problem(
    c: Competition, frame: pd.DataFrame, sample: Sample, reads_probabilities: bool
) -> Competition:
    """The task, its classes, and the form of the answer."""
    cells = sample.cells
    wants_float = bool(len(cells)) and are_numbers(cells) and bool(cells.str.contains(r"[.eE]").any())
    is_long = OUTPUT in c.row
    c = filled(
        c,
        task=lambda: problem.find_task(
            frame,
            c.labels,
            [] if is_long else sample.asked,
            wants_float and not is_long,
            has_folders=not (c.train_csv or c.make_table),
            file=c.train_csv,
        ),
    )
    c = filled(c, classes=lambda: problem.find_classes(frame, c.labels, c.task))
    if c.task == "bounded":
        c = filled(c, bounds=problem.find_bounds(frame[list(c.labels)]))
    c = filled(c, answer=lambda: problem.find_answer(c, wants_float or reads_probabilities, cells))
    wanted = tuple(name for name in c.outputs if name in c.names)
    is_part = len(wanted) < len(c.outputs)
    return filled(c, scored=wanted if is_part else (), flips=doubts.find_flips(c.classes))


def with_places(c: Competition, frames: Frames, ev: Evidence) -> tuple[Competition, list[str]]:
    """The patterns of both parts' images, the test's first: what is left may be the training's; and what is
    to be said of them.
    """
    # no test image is looked for among those of the training table, and no training image among the test's
    taken = {"test": trained(frames["train"], ev), "train": frozenset()}
    notes: list[str] = []
    found: dict[str, Located] = {}
    for part, make, pattern in (
        ("test", c.make_test, c.test_images),
        ("train", c.make_table, c.train_images),
    ):
        if not pattern and make and "path" in frames[part].frame:
            c = with_images(c, part, "{path}")
        elif not pattern:
            found[part] = places.find_images(frames[part], ev, part, c.id, taken[part], notes)
            if part == "test" and len(found[part].patterns) == 1:
                taken["train"] = found[part].places
    for part in sorted(found, reverse=True):  # train decides what test's is most like
        like = c.train_images if part == "test" else ""
        c = with_images(c, part, places.only_pattern(found[part], frames[part], ev, part, like))
    return c, notes


def trained(train: Table, ev: Evidence) -> frozenset[int]:
    """The images of the training folder that the training table names."""
    rows = train.key.places if train.key else []
    return frozenset(place for row in rows for place in row if ev.parts[place] == "train")


def with_images(c: Competition, part: str, pattern: str) -> Competition:
    return replace(c, train_images=pattern) if part == "train" else replace(c, test_images=pattern)


def with_warnings(
    c: Competition, stated: Competition, sample: Sample, frames: Frames, notes: list[str], ev: Evidence
) -> Competition:
    """The competition with what is to be said: guesses, doubts, what is not used."""
    frame, tested = frames["train"].frame, frames["test"].frame
    known = {"id", "path", "row", ROW, c.id, c.row, c.group, *c.labels, *c.features}
    others = telling(frame, known)
    c = replace(c, suspects=find_suspects(frame[others]))
    in_both = [name for name in others if name in tested]
    lines = [*notes, *doubts.find_warnings(c, in_both, sample.table.frame)]
    if not (stated.task or stated.answer):
        lines += doubts.find_doubts(c, frame[list(c.labels)], sample.table.frame, sample.asked)
    return replace(c, warnings=(*lines, *unused.find_unused(c, ev, frames)))


# -- tables


def stated_table(ev: Evidence, file: str) -> Table:
    """The stated file as a table. Raises ValueError where it is none."""
    if table := ev.table(file):
        return table
    frame = host_table(ev.root, file, set()).rename(columns=lambda name: str(name).strip())
    return replace(as_table(frame, ev), file=file)


def part_table(c: Competition, part: str, ev: Evidence, before: Table | None) -> Table:
    return as_table(read_part(ev.root, c, part), ev, before)


def as_table(frame: pd.DataFrame, ev: Evidence, before: Table | None = None) -> Table:
    """A frame with the columns that name images. Those that were looked up before, and `id` where it repeats
    another, are not looked up again.
    """
    names = [name for name in frame if name != ROW]
    namings: dict[str, Naming] = {}
    for name in names:
        twins = [one for one in names if name == "id" and one != name and frame[name].equals(frame[one])]
        if before and name in before.frame and frame[name].equals(before.frame[name]):
            namings |= {key: one for key, one in before.namings.items() if one.column == name}
        elif twins:
            namings |= {
                key.replace(twins[0], name, 1): replace(one, column=name)
                for key, one in namings.items()
                if one.column == twins[0]
            }
        elif naming := evidence.naming_of(frame[name], ev.index):
            namings[name] = naming
    namings = namings or evidence.with_affixes(frame[names], ev.index)
    return Table("", frame, tuple(frame.columns), namings)


def for_first_look(c: Competition, part: str, ev: Evidence) -> Competition:
    """The competition with an id that stands in the part's table, whatever it will be in the end."""
    table = ev.table(c.train_csv if part == "train" else c.test_csv)
    if table and not c.id and table.header[0].startswith(COLUMN):
        return replace(c, features=(table.header[0],))  # so that it is read without a header
    return replace(c, id=c.id if part == "train" or c.train_csv or c.make_table else "id")
