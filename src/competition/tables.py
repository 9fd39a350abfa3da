"""Tables of images: csv files, the image files that their rows name, and the checked table that everything
else uses.

`c` is a Competition; a frame is a csv as read, a table is `id, row, path, targets..., group, features...`.
"""

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from src.competition.facts import NUMBERS, OUTPUT, RESERVED, Competition
from src.competition.formats import COLUMN, listed, read_csv, read_table, say_once, state
from src.competition.listing import (
    EXTERNAL,
    IMAGE_SUFFIXES,
    ImageIndex,
    clean,
    host_files,
    list_files,
    only_images,
)
from src.run import reuse

__all__ = [
    "EXTERNAL",
    "IMAGE_SUFFIXES",
    "clean",
    "host_files",
    "list_files",
    "listed",
    "only_images",
    "read_csv",
    "read_table",
    "say_once",
    "state",
]

NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
ASIDE = r"(test|testing|val|valid|validation|eval)(s|set|[_-][^/]*|\d+)?/"  # no class is called so
# what certainly is none
PARTS = r"(test|testing|val|valid|validation|eval)(s|set)?([_-]?(images?|imgs?|set|data|\d+))?"
# what a line's row is called, kept where the host's own column has the name `id`
ROW = "row of the host"
UNLABELLED = r"(un|no|without|not)[ _-]?label(l?ed|s)?|unsup(ervised)?|unannotated"
MARKS = ("|", ";", ",")  # what may join labels in a cell, beside a space


def complain(culprits: pd.Series, what: str) -> list[str]:
    """ "3 training ids stand twice: a, b, c", or nothing."""
    return [f"{len(culprits)} {what}: {listed(list(culprits))}"] if len(culprits) else []


# -- tables


def joined(table: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """The texts of these columns, joined by spaces."""
    first, *others = (table[name] for name in columns)
    return first.str.cat(others, sep=" ") if others else first


def read_folds(path: Path) -> pd.DataFrame:
    """folds.csv: the table with its fold. Raises ValueError where it is not what split wrote."""
    return read_csv(reuse.check_folds(path)).astype({"fold": int})


# -- image files


def fill(pattern: str, frame: pd.DataFrame) -> list[str]:
    """The pattern with each {column} replaced by the row's value; {column:5} has zeros before it to that
    width.
    """
    # text, column, width, text, column, width, ..., text
    parts = re.split(r"\{([^{}]+?)(?::(\d+))?\}", pattern)
    if unknown := [column for column in parts[1::3] if column not in frame]:
        raise ValueError(
            f"pattern {pattern!r}: no column {listed(unknown)}; choose from {', '.join(frame.columns)}"
        )
    filled = pd.Series(parts[0], index=frame.index, dtype=object)
    for column, width, text in zip(parts[1::3], parts[2::3], parts[3::3]):
        filled = filled + frame[column].str.zfill(int(width or 0)) + text
    return filled.tolist()


def match(pattern: str, frame: pd.DataFrame, files: list[str], *, strict: bool = False) -> list[list[str]]:
    """The files that each row's pattern names: `.*` at the end is any image suffix, `**/` any folders. A path
    column alone may hold paths of the host's machine, and strict says that it does not.
    """
    index = ImageIndex(files)
    if not strict and re.fullmatch(r"\{[^{}:]+\}(\.\*)?", pattern):
        return [
            (
                [
                    files[place]
                    for place in index.at(value, any_suffix=pattern.endswith("*")) or index.named(value)
                ]
                if value
                else []
            )
            for value in fill(pattern.removesuffix(".*"), frame)
        ]
    head, anywhere, tail = pattern.rpartition("**/")
    any_suffix, ends = tail.endswith(".*"), fill(tail.removesuffix(".*"), frame)
    starts = fill(head, frame) if "{" in head else [head] * len(frame)
    places = [
        index.at(end, any_suffix=any_suffix, head=start if anywhere else None)
        for start, end in zip(starts, ends)
    ]
    return [[files[place] for place in row] for row in places]


def from_names(root: Path, pattern: str, any_file: bool = False) -> pd.DataFrame:
    """A table read off the images' paths: a column per {name} of the pattern, `path`, and `id`: the path from
    the first {name} on.
    """
    names = re.findall(r"\{([^{}]+)\}", pattern)
    tokens = {"**/": "(?:.*/)?", ".*": r"\.[^./]+", "*": "[^/]*"}
    parts = re.split(r"(\{[^{}]+\}|\*\*/|\.\*|\*)", pattern)
    regex = re.compile(
        "".join("([^/]+?)" if part.startswith("{") else tokens.get(part) or re.escape(part) for part in parts)
    )
    images = only_images(host_files(root), any_file)
    found = [(file, hit.groups()) for file in images if (hit := regex.fullmatch(file))]
    if not found:
        raise ValueError(f"none of {len(images)} images in {root.name} is named like {pattern!r}")
    frame = pd.DataFrame([values for _, values in found], columns=names, dtype=str).assign(
        path=[file for file, _ in found]
    )
    return frame if "id" in names else frame.assign(id=frame["path"].str.slice(len(parts[0])))


# -- what the files say, and the checked tables made from it


def train_frame(root: Path, c: Competition) -> pd.DataFrame:
    return read_part(root, c, "train")


def test_frame(root: Path, c: Competition) -> pd.DataFrame:
    return read_part(root, c, "test")


def read_part(root: Path, c: Competition, part: str) -> pd.DataFrame:
    """What make_table (make_test), the part's csv or its images' names say, with the id's column as `id` too."""
    make, file, pattern = sources(c, part)
    if make:
        frame = make(root).astype(object)
        frame = frame.where(frame.notna(), "").astype(str)
    else:
        frame = (
            host_table(root, file, columns_wanted(c, part, file))
            if file
            else from_names(root, pattern, bool(c.read_image))
        )
        frame = labelled(frame) if part == "train" and not file else frame
        home = pattern.partition("{")[0]
        # class folders with test/ among them
        if part == "train" and not file and "train" not in home.lower():
            folders = frame["path"].str.slice(len(home)).str.partition("/")[0]
            aside = (folders.str.lower() + "/").str.match(ASIDE)
            for name in sorted({*folders[aside]}):
                if not re.fullmatch(PARTS, name.lower()):
                    say_once(
                        f"warning: the images in {home}{name}/ are taken for no class, by its name: else"
                        f" {state('a make_table')}"
                    )
            frame = frame[~aside]
    frame = frame.rename(columns=lambda name: str(name).strip())
    if OUTPUT in c.row and file:
        frame = widened(frame, c, part)
    for name in {*c.labels} & {*frame}:
        frame[name] = frame[name].str.strip()
        whole = (
            len(frame)
            and frame[name].str.fullmatch(r"(-?\d+\.0+)?").all()
            and not {*c.classes} & {*frame[name]}
        )
        # "1.0" is 1: a gap once made pandas write so
        frame[name] = frame[name].str.partition(".")[0] if whole else frame[name]
    if c.task == "multilabel" and len(c.labels) == 1 and c.labels[0] in frame:
        frame[c.labels[0]] = spaced(frame[c.labels[0]], c.classes)
    frame = frame.drop_duplicates(ignore_index=True)  # a line twice says nothing new
    if part == "test" and file and file == c.test_csv and c.sample_csv and c.names[0] not in frame:
        frame = with_rows(frame, host_table(root, c.sample_csv, {c.header[0]})[c.header[0]], c.names[0])
    column = id_column(frame, c, part)
    row = c.names[0] if part == "test" and c.header and c.names[0] in frame else c.row
    if row in frame:
        frame[ROW] = frame[row]
    check_columns(frame, [column] if column else [], f"the {part} table")
    return frame.assign(id=frame[column]) if column else frame


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Class folders without one that says that its images have no label."""
    is_class = (
        ~frame["label"].str.lower().str.fullmatch(UNLABELLED)
        if "label" in frame
        else pd.Series(True, index=frame.index)
    )
    for name in sorted({*frame.loc[~is_class, "label"]} if "label" in frame else ()):
        say_once(
            f"warning: the {(frame['label'] == name).sum()} images in {name}/ are taken for no class, by its"
            f" name: else {state('a make_table')}"
        )
    return frame[is_class]


def mark_of(cells: pd.Series, classes: tuple[str, ...]) -> str:
    """What joins the labels of a cell: |, ; or comma where such a mark stands in a cell and in no class, else
    a space.
    """
    some = cells.head(2000)
    return next(
        (
            mark
            for mark in MARKS
            if some.str.contains(mark, regex=False).any() and not any(mark in name for name in classes)
        ),
        " ",
    )


def spaced(cells: pd.Series, classes: tuple[str, ...]) -> pd.Series:
    """The same labels joined by spaces."""
    mark = next(
        (
            mark
            for mark in MARKS
            if cells.str.contains(mark, regex=False).any() and not any(mark in name for name in classes)
        ),
        "",
    )
    return (
        cells.str.split(mark).map(lambda words: " ".join(word.strip() for word in words)) if mark else cells
    )


def id_column(frame: pd.DataFrame, c: Competition, part: str) -> str:
    """The column that names an image: the id; in a test table that lacks it the sample's first. "" where that
    is not known yet.
    """
    if OUTPUT in c.row and "id" in frame:
        return "id"
    if part == "train" or c.id in frame:
        return c.id
    make, file, _ = sources(c, part)
    if make or file:
        return c.names[0] if c.header else ""
    return "id"


def with_rows(frame: pd.DataFrame, rows: pd.Series, name: str) -> pd.DataFrame:
    """A test table that calls the sample's rows otherwise: with a column of that name too."""
    wanted = set(rows)
    shares = {column: len(wanted & {*frame[column]}) / max(len(wanted), 1) for column in frame}
    best = max(shares, key=lambda column: shares[column], default="")
    return frame.assign(**{name: frame[best]}) if best and shares[best] >= 0.5 else frame


def host_table(root: Path, file: str, wanted: set[str]) -> pd.DataFrame:
    """A table of the host's, or several of the same columns, "a.csv+b.csv"; without a header where the
    columns that are wanted say so.
    """
    if "+" in file and not (root / file).exists():
        return pd.concat(
            [host_table(root, one.strip(), wanted) for one in file.split("+")], ignore_index=True
        )
    frame = read_table(root / file)
    is_bare = any(name.startswith(COLUMN) and name not in frame for name in wanted)
    return read_table(root / file, header=False) if is_bare else frame


def columns_wanted(c: Competition, part: str, file: str) -> set[str]:
    """The columns that a table must have by what is known of it."""
    used = re.findall(r"\{([^{}:]+)", c.train_images if part == "train" else c.test_images)
    if part == "train":
        return {c.id, *c.labels, *c.features, *used}
    return (
        {*c.header[:1]}
        if file == c.sample_csv
        else {*used, *c.features}
        if c.sample_csv
        else {*used, *c.features, c.id}
    )


def widened(frame: pd.DataFrame, c: Competition, part: str) -> pd.DataFrame:
    """A row per image of a table that has a line per image and output, such as ID_1__target, with a column
    per output.
    """
    key, mark = c.names[0], c.row.partition("}")[2].removesuffix(OUTPUT)
    if key not in frame:
        return frame
    outputs = [name for name in c.labels if frame[key].str.endswith(mark + name).any()]
    if part == "train" and not outputs:
        # a column per output stands there already
        return frame
    parts = (
        frame[key].str.extract(
            f"(.*){re.escape(mark)}({'|'.join(map(re.escape, sorted(outputs, key=len, reverse=True)))})$"
        )
        if outputs
        else frame[key].str.rpartition(mark)[[0, 2]].set_axis([0, 1], axis=1)
    )
    lines = frame.assign(id=parts[0].where(parts[0].notna(), frame[key]))
    value = c.names[1] if len(c.names) > 1 and c.names[1] in frame else ""
    wide = lines.drop(columns=[key, *filter(None, [value])]).drop_duplicates("id", ignore_index=True)
    for name in outputs if value else []:
        part = lines[parts[1] == name].drop_duplicates("id").set_index("id")[value]
        wide[name] = wide["id"].map(part).fillna("")
    return wide


def sources(c: Competition, part: str) -> tuple[Callable | None, str, str]:
    """The function, the csv and the pattern of names that tell of the training or test images: the first that
    there is.
    """
    return (
        (c.make_table, c.train_csv, c.train_images)
        if part == "train"
        else (c.make_test, c.test_csv or c.sample_csv, c.test_images)
    )


def check_columns(frame: pd.DataFrame, columns: list[str], what: str) -> None:
    if unknown := [column for column in columns if column not in frame]:
        raise ValueError(
            f"{what} has no column {listed(unknown)}, only {', '.join(frame.columns)}: "
            + state("another, or a make_table or make_test that adds it,")
        )


def make_train(root: Path, c: Competition, *, tolerant: bool = False) -> pd.DataFrame:
    """id, row, path, targets, group, features of every training image, sorted by id; all mistakes in one
    message.

    tolerant: images without a file or a label are named on stderr and left out.
    """
    frame = train_frame(root, c)
    check_columns(frame, [*c.labels, *filter(None, [c.group]), *c.features], "the train table")
    table, problems, lost = locate(frame, root, c, "train")
    table["row"] = (
        frame["id"]
        if OUTPUT in c.row
        else frame[ROW]
        if ROW in frame
        else fill(c.row if "{" in c.row else "{id}", frame)
    )
    labels, ids, names = frame[list(c.labels)], frame["id"], " or ".join(c.labels)
    missing = (labels == "").any(axis=1)
    lost += complain(ids[missing], f"of {len(frame)} training images have no label, {names} is empty")
    gone = missing | (table["path"] == "")
    if c.task in NUMBERS or len(c.labels) > 1:
        fits, what = labels.apply(lambda column: column.str.fullmatch(NUMBER)).all(axis=1), "no numbers"
    else:
        words = (
            labels.iloc[:, 0].str.split()
            if c.task == "multilabel"
            else labels.iloc[:, 0].map(lambda label: [label])
        )
        fits, what = words.map(set(c.classes).issuperset), f"none of the classes {listed(list(c.classes))}"
    if c.task == "bounded":
        values = labels.apply(pd.to_numeric, errors="coerce")
        fits, what = (
            fits & values.ge(c.bounds[0]).all(axis=1) & values.le(c.bounds[1]).all(axis=1),
            f"not within bounds={c.bounds}",
        )
    told = listed(sorted(set(joined(labels[~gone & ~fits], labels))))
    problems += [
        f"{said} (there stands {told})"
        for said in complain(ids[~gone & ~fits], f"labels of column {names} are {what}")
    ]
    if clash := sorted(RESERVED & {*c.targets, *c.features}):
        problems.append(f"column {listed(clash)} has a name of the kit's own: rename it in a make_table")
    if tolerant:
        print("".join(f"warning: left out, {problem}\n" for problem in lost), end="", file=sys.stderr)
        frame, table, labels = frame[~gone], table[~gone], labels[~gone]
    elif lost:
        problems += [*lost, 'SET="bad_images=drop" leaves them out']
    if problems:
        raise ValueError("\n".join(problems))
    group = frame[c.group] if c.group else table["row"]
    table = pd.concat([table, make_targets(labels, c)], axis=1)
    table["group"] = group.where(group != "", table["row"])  # unknown patients are not one patient
    return pd.concat([table, frame[list(c.features)]], axis=1).sort_values("id", ignore_index=True)


def make_external(root: Path, c: Competition, *, tolerant: bool = False) -> pd.DataFrame:
    """external.csv as a table like train's: path (below root), the label columns, the group's and the
    features' where there are some; the id is the path. Raises ValueError with all that is wrong.
    """
    group = c.group if c.group in read_csv(root / EXTERNAL) else ""
    try:
        as_train = replace(
            c, make_table=None, train_csv=EXTERNAL, train_images="{path}", id="path", row="", group=group
        )
        return make_train(root, as_train, tolerant=tolerant)
    except ValueError as error:
        raise ValueError(
            f"{EXTERNAL}: {error}\nIts columns are path (of the image, seen from {root.name}/, such as"
            " external/1.jpg), "
            f'{", ".join([*c.labels, *c.features])}; SET="external=none" leaves it out'
        ) from error


def make_targets(labels: pd.DataFrame, c: Competition) -> pd.DataFrame:
    """The target columns in the table's form: a label, "0" and "1" per class, or numbers."""
    if c.task in NUMBERS:
        return labels
    if c.task != "multilabel":
        if len(c.labels) > 1 and not (
            (cells := labels.astype(float)).isin([0, 1]).all(axis=None) and (cells.sum(axis=1) == 1).all()
        ):
            raise ValueError(
                f"task={c.task!r} takes one label, or a column per class with one 1 in each row;"
                f" {listed(list(c.labels))} are others: "
                + state("a make_table that joins them into one label")
            )
        label = labels.iloc[:, 0] if len(c.labels) == 1 else labels.astype(float).idxmax(axis=1)
        return label.to_frame(c.targets[0])
    if len(c.labels) > 1:
        # -1, as in CelebA, is 0
        return labels.astype(float).clip(lower=0).astype(int).astype(str)
    words = [set(said.split()) for said in labels.iloc[:, 0]]
    return pd.DataFrame(
        {name: ["01"[name in said] for said in words] for name in c.classes}, index=labels.index
    )


def make_test(root: Path, c: Competition) -> pd.DataFrame:
    """id, row, path, features of every test image, sorted by id."""
    frame = test_frame(root, c)
    check_columns(frame, list(c.features), "the test table")
    table, problems, missing = locate(frame, root, c, "test")
    if missing and c.missing_test:
        say_once(f"warning: {missing[0]}: they get an average answer")
        table["path"] = table["path"].where(table["path"] != "", "missing/" + table["id"])
    elif missing:
        problems = [*problems, f"{missing[0]}: {state('missing_test=True')}, and they get an average answer"]
    if problems:
        raise ValueError("\n".join(problems))
    table["row"] = (
        frame["id"]
        if OUTPUT in c.row
        else frame[ROW]
        if ROW in frame
        else fill(c.row if "{" in c.row else "{id}", frame)
    )
    return pd.concat([table, frame[list(c.features)]], axis=1).sort_values("id", ignore_index=True)


def locate(
    frame: pd.DataFrame, root: Path, c: Competition, part: str
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """id and path of each row, "" where there is no such file; what is wrong with them; and what is missing."""
    make, file, pattern = sources(c, part)
    pattern = pattern if make or file else "{path}"
    below = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
    files = only_images(list_files(root, below), bool(c.read_image))
    if file != EXTERNAL:
        files = (
            [one for one in files if not one.startswith("external/")] if (root / EXTERNAL).exists() else files
        )
    matches = pd.Series(match(pattern, frame, files, strict=file == EXTERNAL), index=frame.index)
    ids, sizes = frame["id"], matches.map(len)
    twice = complain(ids[ids.duplicated()], f"{part} ids stand twice")
    problems = [
        f"{said}; their lines differ: remove one of each, or, where it has several labels,"
        f" {state('a make_table that joins them by spaces')}"
        for said in twice
    ]
    problems += complain(ids.index[ids == ""].astype(str), f"{part} rows have no id, counted from 0")
    problems += complain(
        ids[sizes > 1],
        f"{part} ids name several images each as {pattern!r}, which src/competitions.py can state",
    )
    missing = complain(ids[sizes == 0], f"of {len(ids)} {part} images are missing, looked for as {pattern!r}")
    return (
        pd.DataFrame({"id": ids, "row": "", "path": matches.map(lambda files: files[0] if files else "")}),
        problems,
        missing,
    )
