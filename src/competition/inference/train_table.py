"""The table of the training images, and the questions that its cells raise."""

import posixpath
import re

from src.competition.facts import Competition
from src.competition.inference import folders
from src.competition.inference.advice import Code, Statement, Unclear
from src.competition.inference.cells import is_idle
from src.competition.inference.evidence import Evidence, Naming, Table, part_of
from src.competition.inference.labels import LABEL_WORDS
from src.competition.inference.table_roles import ANSWER_NAME, Roles
from src.competition.messages import listed, state


def choose_train(roles: Roles, ev: Evidence, asked: list[str], stated: Competition) -> Table | None:
    """The table of the training images; None where folders are the classes that the sample asks for and no
    column is. Raises Unclear where several tables may be it.
    """
    train = roles.train
    if train is None:
        return None
    others = [table for table in ev.tables if table not in (train, roles.sample, roles.test)]
    for rival in others:
        refuse_rival(train, rival, stated)
    refuse_parts(train, others)
    if stated.labels or stated.id or {*asked} & {*train.frame} or not folders.sure_folders(ev, roles, asked):
        return train
    words = folders.sample_words(roles, asked)
    columns = (train.frame[name] for name in train.frame)
    return train if any(len({*cells.unique()} & words) >= 0.5 * len(words) for cells in columns) else None


def refuse_rival(train: Table, rival: Table, stated: Competition) -> None:
    """Two tables with differing labels of the same images. Raises Unclear."""
    if not is_key(train.key) or not is_key(rival.key) or re.search(ANSWER_NAME, rival.name):
        return
    own, other = train.key.column, rival.key.column  # type: ignore[union-attr]
    if len({*rival.frame[other]} & {*train.frame[own]}) < 0.5 * len(train.frame):
        return
    both = [name for name in train.frame if name in rival.frame and name not in (own, other)]
    shared = [name for name in both if not is_idle(train.frame[name])]
    named = [name for name in shared if name.lower() in LABEL_WORDS or name in stated.labels]
    if not shared:
        return
    column = (named or shared)[0]
    mine = train.frame.drop_duplicates(own).set_index(own)[column]
    theirs = rival.frame.drop_duplicates(other).set_index(other)[column]
    same = mine.index.intersection(theirs.index)
    num_differing = int((mine[same] != theirs[same]).sum())
    if num_differing:
        raise Unclear(
            f"which train_csv? {train.file} and {rival.file} both have {column!r} of the same {len(same)}"
            f" images, and {num_differing} differ: " + state("train_csv"),
            {"train_csv": train.file},
            {"train_csv": rival.file},
        )


def is_key(key: Naming | None) -> bool:
    return key is not None and key.share >= 0.5


def refuse_parts(train: Table, others: list[Table]) -> None:
    """train_1.csv and train_2.csv. Raises Unclear."""

    def bare(table: Table) -> str:
        return re.sub(r"\d+", "", table.name)

    parts = [
        table.file
        for table in others
        if train.key and table.key and table.header == train.header
        if bare(table) == bare(train) and table.name != train.name
    ]
    if parts:
        files = sorted([train.file, *parts])
        raise Unclear(
            f"which train_csv? There are {listed(files)}: " + state("train_csv"),
            {"train_csv": "+".join(files)},
            *({"train_csv": file} for file in files),
        )


def refuse_shape(train: Table, roles: Roles, sample_row: str, ev: Evidence) -> None:
    """A table that has to be cut or joined first. Raises Unclear."""
    refuse_split(train, roles)
    if not train.key:
        refuse_join(train, ev)
        refuse_folders(train, roles, sample_row, ev)


def refuse_split(train: Table, roles: Roles) -> None:
    """A table of all images, with a column that says which are for training. Raises Unclear."""
    for name, column in train.frame.items():
        if not 2 <= column.nunique() <= 5:
            continue
        parts = {cell: part_of(cell) for cell in column.unique()}
        if not all(parts.values()) or "train" not in parts.values():
            continue
        train_cells, test_cells, valid_cells = (
            [cell for cell, its in parts.items() if its == part] for part in ("train", "test", "valid")
        )

        def rows(cells: str | tuple[str, ...], column: str = name) -> Code:
            return Code(f"lambda root: reshape.where(root, {train.file!r}, **{{{column!r}: {cells!r}}})")

        tests = test_cells or valid_cells
        statement: Statement = {"make_table": rows(train_cells[0])}
        if tests and not roles.sample:
            statement["make_test"] = rows(tests[0])
        statements = [statement]
        if valid_cells and test_cells:
            statements.append(statement | {"make_table": rows((train_cells[0], *valid_cells))})
        raise Unclear(
            f"column {name!r} of {train.file} says which images are for training ({listed(list(parts))}): "
            + state("make_table and make_test"),
            *statements,
        )


def refuse_join(train: Table, ev: Evidence) -> None:
    """A table whose images stand in another one, by a number that both have. Raises Unclear."""
    for table in ev.tables:
        if table is train or not table.key or table.key.share < 0.5 or table.key.column in train.frame:
            continue
        both = [name for name in train.frame if name in table.frame]
        shared = [name for name in both if train.frame[name].isin(table.frame[name]).mean() > 0.9]
        if shared:
            raise Unclear(
                f"{train.file} names no image, {table.file} does, and both have {shared[0]!r}: "
                + state("a make_table that joins them"),
                {"make_table": Code(f"lambda root: reshape.beside(root, {train.file!r}, {table.file!r})")},
            )


def refuse_folders(train: Table, roles: Roles, sample_row: str, ev: Evidence) -> None:
    """A table whose cells name folders of images, not images. Raises Unclear."""
    names = {name for file in ev.images for name in posixpath.dirname(file).split("/")}
    for column, cells in train.frame.items():
        if cells.isin(names).mean() <= 0.9 or cells.nunique() <= 0.5 * len(cells):
            continue
        test = roles.test or roles.sample
        test_file = test.file if test else ""
        tests = Code(f"lambda root: reshape.in_folders(root, {test_file!r}, {sample_row!r})")
        raise Unclear(
            f"column {column!r} of {train.file} names folders of images: "
            + state("a make_table with a line per image"),
            {
                "make_table": Code(f"lambda root: reshape.in_folders(root, {train.file!r}, {column!r})"),
                "make_test": tests,
                "row": sample_row,
                "id": "image",
            },
        )
