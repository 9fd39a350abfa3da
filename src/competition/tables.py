"""Tables of images as everything else uses them: `id, row, path, targets..., group, features...`, checked.

The other names here are what a competitor's make_table is made of.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from src.competition.facts import NUMBERS, OUTPUT, RESERVED, Competition
from src.competition.formats import read_csv, read_table
from src.competition.host_tables import ROW, check_columns, host_table, read_part, source_of
from src.competition.image_paths import fill, from_names, match
from src.competition.listing import EXTERNAL, IMAGE_SUFFIXES, list_files, only_images
from src.competition.messages import complain, listed, say_once, state
from src.run import reuse

__all__ = ["IMAGE_SUFFIXES", "from_names", "host_table", "read_csv", "read_table"]

NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


def make_train(root: Path, c: Competition, *, tolerant: bool = False) -> pd.DataFrame:
    """id, row, path, targets, group, features of every training image, sorted by id; all mistakes in one
    ValueError. tolerant: images without a file or a label are named on stderr and left out.
    """
    frame = read_part(root, c, "train")
    group_column = [c.group] if c.group else []
    check_columns(frame, [*c.labels, *group_column, *c.features], "the train table")
    table, problems, lost = locate(frame, root, c, "train")
    labels = frame[list(c.labels)]
    is_empty = (labels == "").any(axis=1)
    what = f"of {len(frame)} training images have no label, {' or '.join(c.labels)} is empty"
    lost += complain(frame["id"][is_empty], what)
    is_whole = ~is_empty & (table["path"] != "")
    problems += wrong_labels(labels[is_whole], frame["id"], c)
    if clash := sorted(RESERVED & {*c.targets, *c.features}):
        problems.append(f"column {listed(clash)} has a name of the kit's own: rename it in a make_table")
    if tolerant:
        print("".join(f"warning: left out, {problem}\n" for problem in lost), end="", file=sys.stderr)
        frame, table, labels = frame[is_whole], table[is_whole], labels[is_whole]
    elif lost:
        problems += [*lost, 'SET="bad_images=drop" leaves them out']
    if problems:
        raise ValueError("\n".join(problems))
    group = frame[c.group] if c.group else table["row"]
    group = group.where(group != "", table["row"])  # unknown patients are not one patient
    parts = [table, make_targets(labels, c), group.rename("group"), frame[list(c.features)]]
    return pd.concat(parts, axis=1).sort_values("id", ignore_index=True)


def wrong_labels(labels: pd.DataFrame, ids: pd.Series, c: Competition) -> list[str]:
    """What is wrong with labels that are there: no class, no number, or out of bounds."""
    if labels.empty:
        return []
    if c.task in NUMBERS or len(c.labels) > 1:
        is_right = labels.apply(lambda column: column.str.fullmatch(NUMBER)).all(axis=1)
        problem = "no numbers"
    elif c.task == "multilabel":
        is_right = labels.iloc[:, 0].str.split().map({*c.classes}.issuperset)
        problem = f"none of the classes {listed(list(c.classes))}"
    else:
        is_right = labels.iloc[:, 0].isin(c.classes)
        problem = f"none of the classes {listed(list(c.classes))}"
    if c.task == "bounded":
        values = labels.apply(pd.to_numeric, errors="coerce")
        is_right &= values.ge(c.bounds[0]).all(axis=1) & values.le(c.bounds[1]).all(axis=1)
        problem = f"not within bounds={c.bounds}"
    wrong = labels[~is_right.astype(bool)]
    cells = listed(sorted(set(joined(wrong, labels))))
    problems = complain(ids[wrong.index], f"labels of column {' or '.join(c.labels)} are {problem}")
    return [f"{problem} (there stands {cells})" for problem in problems]


def make_targets(labels: pd.DataFrame, c: Competition) -> pd.DataFrame:
    """The target columns in the table's form: a label, "0" and "1" per class, or numbers. Raises ValueError
    where columns are no label.
    """
    if c.task in NUMBERS:
        return labels
    label = labels.iloc[:, 0]
    if len(c.labels) == 1 and c.task != "multilabel":
        return label.to_frame(c.targets[0])
    if len(c.labels) == 1:
        words = [set(cell.split()) for cell in label]
        columns = {name: ["01"[name in cell] for cell in words] for name in c.classes}
        return pd.DataFrame(columns, index=labels.index)
    cells = labels.astype(float)
    if c.task == "multilabel":
        return cells.clip(lower=0).astype(int).astype(str)  # -1, as in CelebA, is 0
    if not (cells.isin([0, 1]).all(axis=None) and (cells.sum(axis=1) == 1).all()):
        raise ValueError(
            f"task={c.task!r} takes one label, or a column per class with one 1 in each row;"
            f" {listed(list(c.labels))} are others: " + state("a make_table that joins them into one label")
        )
    return cells.idxmax(axis=1).to_frame(c.targets[0])


def make_external(root: Path, c: Competition, *, tolerant: bool = False) -> pd.DataFrame:
    """external.csv as a table like train's: path (below root), the label columns, the group's and the
    features' where there are some; the id is the path. Raises ValueError with all that is wrong.
    """
    group = c.group if c.group in read_csv(root / EXTERNAL) else ""
    as_train = replace(
        c, make_table=None, train_csv=EXTERNAL, train_images="{path}", id="path", row="", group=group
    )
    try:
        return make_train(root, as_train, tolerant=tolerant)
    except ValueError as error:
        columns = ", ".join([*c.labels, *c.features])
        raise ValueError(
            f"{EXTERNAL}: {error}\nIts columns are path (of the image, seen from {root.name}/, such as"
            f' external/1.jpg), {columns}; SET="external=none" leaves it out'
        ) from error


def make_test(root: Path, c: Competition) -> pd.DataFrame:
    """id, row, path, features of every test image, sorted by id; all mistakes in one ValueError."""
    frame = read_part(root, c, "test")
    check_columns(frame, list(c.features), "the test table")
    table, problems, missing = locate(frame, root, c, "test")
    if missing and c.missing_test:
        say_once(f"warning: {missing[0]}: they get an average answer")
        table["path"] = table["path"].where(table["path"] != "", "missing/" + table["id"])
    elif missing:
        problems.append(f"{missing[0]}: {state('missing_test=True')}, and they get an average answer")
    if problems:
        raise ValueError("\n".join(problems))
    return pd.concat([table, frame[list(c.features)]], axis=1).sort_values("id", ignore_index=True)


def locate(
    frame: pd.DataFrame, root: Path, c: Competition, part: str
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """id, row and path of each row, "" where there is no such file; what is wrong with them; and what is
    missing.
    """
    make, file, pattern = source_of(c, part)
    if not (make or file):
        pattern = "{path}"
    below = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
    files = only_images(list_files(root, below), bool(c.read_image))
    if file != EXTERNAL and (root / EXTERNAL).exists():
        files = [one for one in files if not one.startswith("external/")]
    matches = pd.Series(match(pattern, frame, files, strict=file == EXTERNAL), index=frame.index)
    ids, num_files = frame["id"], matches.map(len)
    problems = [
        f"{problem}; their lines differ: remove one of each, or, where it has several labels,"
        f" {state('a make_table that joins them by spaces')}"
        for problem in complain(ids[ids.duplicated()], f"{part} ids stand twice")
    ]
    problems += complain(ids.index[ids == ""].astype(str), f"{part} rows have no id, counted from 0")
    what = f"{part} ids name several images each as {pattern!r}, which src/competitions.py can state"
    problems += complain(ids[num_files > 1], what)
    what = f"of {len(ids)} {part} images are missing, looked for as {pattern!r}"
    missing = complain(ids[num_files == 0], what)
    paths = matches.map(lambda files: files[0] if files else "")
    return pd.DataFrame({"id": ids, "row": rows_of(frame, c), "path": paths}), problems, missing


def rows_of(frame: pd.DataFrame, c: Competition) -> pd.Series:
    """The line of the submission that each image belongs to."""
    if OUTPUT in c.row:
        return frame["id"]
    if ROW in frame:
        return frame[ROW]
    return pd.Series(fill(c.row, frame), frame.index) if "{" in c.row else frame["id"]


def joined(table: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """The texts of these columns, joined by spaces."""
    first, *others = (table[name] for name in columns)
    return first.str.cat(others, sep=" ") if others else first


def read_folds(path: Path) -> pd.DataFrame:
    """folds.csv: the table with its fold. Raises ValueError where it is not what split wrote."""
    return read_csv(reuse.check_folds(path)).astype({"fold": int})
