"""What a competition's files tell: which csv is which, what its columns are, what is to be predicted, where the images lie.

Each function looks for one fact, and raises ValueError with what to state where the files tell none or two."""
import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from src.data import tables
from src.data.tables import IMAGE_SUFFIXES, NUMBER, NUMBERS, listed, state

if TYPE_CHECKING:
    from src.competitions import Competition

GROUP_WORDS = r"patient|person|people|subject|participant|group|source|site|driver|location|camera|hospital|session|individual|user"
TABLES = (".csv", ".tsv", ".txt", ".json", ".xlsx", ".parquet")
LABEL_WORDS = {"label", "labels", "target", "class", "category"}


def facts(stated: "Competition", root: Path, reads_probabilities: bool) -> "Competition":
    """One fact after the other, from the files and from the facts before it; what is stated stays."""
    c, files = stated, tables.host_files(root)
    images = tables.only_images(files, bool(c.read_image))
    if not images:
        kinds = Counter(posixpath.splitext(file)[1].lower() or "without a suffix" for file in files)
        there = listed([f"{number} {kind}" for kind, number in kinds.most_common()]) or "nothing"
        raise ValueError(f"no image in {root}, there is {there}. Still packed? Then `make data COMP={root.name}`. Of another format, or pixels "
                         f"in a csv? Then {state('a read_image (and make_table)')}")

    def fill(name: str, look: Callable[[], Any]) -> None:
        nonlocal c
        if getattr(c, name) == getattr(type(c), name):
            c = replace(c, **{name: look()})

    # which files
    has_names = c.make_table or "{label}" in c.train_images
    fill("sample_csv", lambda: find_csv(files, "sample_csv", r"sample[ _-]?submission.*", r"(?!train|test).*(sample|submission).*"))
    fill("test_csv", lambda: "" if c.make_test else find_csv(files, "test_csv", "test"))
    sample, test = (tables.read_csv(root / file) if file else pd.DataFrame() for file in (c.sample_csv, c.test_csv))
    fill("header", lambda: tuple(sample))                            # as it stands there, spaces included
    sample, test = (frame.rename(columns=str.strip) for frame in (sample, test))
    first, *asked = list(sample) or [""]
    fill("train_csv", lambda: "" if has_names else find_train_csv(root, files, asked))
    if not c.train_csv and not c.make_table:
        fill("train_images", lambda: find_class_folders(images, files))
    if not c.test_csv and not c.sample_csv and not c.make_test:
        names_files = not c.train_csv or any(has_suffix(column) for _, column in tables.read_csv(root / c.train_csv).items())
        fill("test_images", lambda: find_test_folder(images) + ("" if names_files else ".*"))

    # which columns
    if first.startswith("Unnamed"):
        raise ValueError(f"{c.sample_csv}: the first column has no name. Save the file without it beside, and {state('sample_csv')}")
    train = tables.train_frame(root, c)
    fill("id", lambda: find_id(train, test, first, images) if c.train_csv else "id")
    fill("row", lambda: find_row(train, test, first, c.id) if first not in ("", c.id) else "")
    fill("labels", lambda: find_labels(train, test, asked, {"id", "path", "row", c.id, c.row, c.group, *c.features}))
    fill("header", lambda: (c.id, *c.labels))
    if c.sample_csv and not stated.test_csv and {c.id, first}.isdisjoint(test):
        c = replace(c, test_csv="")                                  # names no row of the sample
    train, test = tables.train_frame(root, c), tables.test_frame(root, c)
    tables.check_columns(train, list(c.labels), "the train table")

    # which problem
    wants_float = len(asked) == 1 and are_numbers(sample[asked[0]]) and bool(sample[asked[0]].str.contains(r"[.eE]").any())
    fill("task", lambda: find_task(train, c.labels, asked, wants_float, has_folders=not (c.train_csv or c.make_table)))
    fill("classes", lambda: find_classes(train, c.labels, c.task))
    fill("bounds", lambda: find_bounds(train[list(c.labels)]) if c.task == "bounded" else ())
    fill("answer", lambda: find_answer(c, wants_float or reads_probabilities, sample[asked[0]] if len(asked) == 1 else pd.Series(dtype=str)))
    fill("scored", lambda: wanted if len(wanted := tuple(name for name in c.outputs if name in c.names)) < len(c.outputs) else ())
    fill("flips", lambda: "" if set(c.classes) == set("0123456789") else "h")

    # which images
    fill("train_images", lambda: "{path}" if c.make_table and "path" in train else find_images(train, images, "train"))
    fill("test_images", lambda: "{path}" if c.make_test and "path" in test else find_images(test, images, "test"))
    others = telling(train, {"id", "path", c.id, c.row, c.group, *c.labels, *c.features})
    c = replace(c, suspects=find_suspects(train[others]))
    doubts = [] if stated.task or stated.answer else find_doubts(c, train[list(c.labels)], sample)
    return replace(c, warnings=(*find_warnings(c, [name for name in others if name in test], sample), *doubts))


# -- columns

def are_numbers(values: pd.Series) -> bool:
    return bool(values.str.fullmatch(NUMBER).all())


def are_words(values: pd.Series) -> bool:
    """Several labels joined by spaces, not names with a space in them: a small vocabulary makes many values, and its words occur alone."""
    distinct = set(values.str.strip()) - {""}
    words = {word for value in distinct for word in value.split()}
    return distinct > words or (bool(distinct & words) and 2 * len(words) < len(distinct))


def is_idle(values: pd.Series) -> bool:
    """Tells nothing: one value for all, or the number of the line."""
    return values.nunique() < 2 or any(values.tolist() == [str(n + start) for n in range(len(values))] for start in (0, 1))


def joined_by(values: pd.Series, asked: list[str]) -> str:
    """What joins several labels in a cell, "" when nothing does: the words are all columns of the sample or, where it has one, occur alone too."""
    cells = list(values.unique())
    for mark in (" ", "|", ";", ","):
        rows = [[word.strip() for word in cell.split(mark) if word.strip()] for cell in cells]
        several = {word for row in rows if len(row) > 1 for word in row}
        plain = pd.Series([" ".join("_".join(word.split()) for word in row) for row in rows], dtype=str)
        if several and (several <= {*asked} if len(asked) > 1 else are_words(plain)):
            return mark
    return ""


def has_suffix(values: pd.Series) -> bool:
    return bool(values.str.strip().str.lower().str.endswith(IMAGE_SUFFIXES).all())


def telling(frame: pd.DataFrame, known: set[str]) -> list[str]:
    """The columns that are neither known, nor paths, nor idle."""
    return [name for name in frame if name not in known and not has_suffix(frame[name]) and not is_idle(frame[name])]


def find_id(train: pd.DataFrame, test: pd.DataFrame, first: str, images: list[str]) -> str:
    """The sample's first column; where that names no single image, the only column that does."""
    first = first or next((name for name in train if not name.startswith("Unnamed")), "")
    if first in train and train[first].is_unique:
        return first
    names = {name for image in images for name in (posixpath.basename(image), posixpath.splitext(posixpath.basename(image))[0])}
    naming = [column for column in train if train[column].is_unique and train[column].map(posixpath.basename).isin(names).any()]
    naming = [column for column in naming if not is_idle(train[column])] or naming
    if len(naming) == 1 and (first not in train or naming[0] in test):
        return naming[0]
    if first in train:
        return first                                                 # an id stands twice: make_train says which
    raise ValueError(f"which column names an image? Not the sample's {first!r}; there are {listed(list(train))}: "
                     + state("id, or train_images with a {label} where no csv tells it,"))


def find_row(train: pd.DataFrame, test: pd.DataFrame, first: str, id: str) -> str:
    """The sample's first column, where it is not the id by another name but the name of several images' row."""
    if first in test and id in test and first not in train:
        raise ValueError(f"each row of the sample is one {first!r}, which the train csv does not have: "
                         + state('row, such as "{patient_id}_{side}", made of ' + ", ".join(train)))
    return first if first in train else ""


def find_labels(train: pd.DataFrame, test: pd.DataFrame, asked: list[str], known: set[str]) -> tuple[str, ...]:
    """The sample's columns found in train; else the only column that is nothing else."""
    if found := [column for column in asked if column in train and column not in known]:
        return tuple(found)
    left, names = telling(train, known), LABEL_WORDS | {column.lower() for column in asked}
    signs: tuple[Callable[[str], bool], ...] = (
        lambda column: len(asked) > 1 and set(train[column]) - {""} <= set(asked),     # a column per class is wanted
        lambda column: column not in test,                                             # what test images come with is no label
        lambda column: column.lower() in names,
    )
    for sign in signs:
        left = [column for column in left if sign(column)] or left
    if len(left) != 1:
        raise ValueError(f"which column is the label? Candidates: {listed(left) or 'none'}: " + state('labels=("column",)'))
    return (left[0],)


def find_suspects(others: pd.DataFrame) -> tuple[str, ...]:
    """Columns that look like a group (a patient, a site): by name, or because their values return a few times each."""
    counts, num = others.nunique(), len(others)
    return tuple(name for name in others if re.search(GROUP_WORDS, name.lower()) and 2 < counts[name] < num
                 or 10 <= counts[name] <= 0.4 * num <= 20 * counts[name])


def find_warnings(c: "Competition", unused: list[str], sample: pd.DataFrame) -> list[str]:
    """What a competitor should know before trusting a fold."""
    said = [f"column {name!r} looks like a group (a patient, a site): if its images belong together, {state(f'group={name!r}')}"
            for name in c.suspects if not c.group]
    if unused:
        said.append(f"not used: {listed(unused)}; features=(...) in src/competitions.py gives columns to the head")
    if c.answer == "probability" and c.positive not in ("1", *c.names):
        said.append(f"the submission's number is taken for the probability of {c.positive!r}: else {state('classes, that one last,')}")
    if c.answer == "probabilities" and (unseen := [name for name in c.names[1:] if name not in c.outputs]):
        said.append(f"no training image is of the class {listed(unseen)}: 0 is submitted")
    cells = set(sample.iloc[:, 1]) - {""} if c.answer in ("label", "words", "ranked") and len(sample.columns) > 1 else set()
    if cells and not {word for cell in cells for word in (cell, *cell.split(), cell.removesuffix(".0"))} & {*c.classes}:
        said.append(f"{c.sample_csv} holds {listed(sorted(cells))}, none of the labels {listed(list(c.classes))}: if the host wants other "
                    f"names or codes, {state('make_table or answer')}")
    plain = Counter(name.lower() for name in c.classes)
    if alike := [name for name in c.classes if plain[name.lower()] > 1]:
        said.append(f"classes that differ in case alone: {listed(alike)}")
    return said


def find_doubts(c: "Competition", labels: pd.DataFrame, sample: pd.DataFrame) -> list[str]:
    """Numbers that may be classes, classes that may be numbers, cells that may want several labels."""
    whole, name = all(column.str.fullmatch(r"-?\d*").all() for _, column in labels.items()), listed(list(c.labels))
    if c.task == "regression" and whole and len(c.labels) > 1:
        return [f"the whole numbers of {name} are learned as amounts; are they codes of classes? Then "
                + state("a make_table whose one label joins them, and an answer that takes it apart")]
    if c.task == "regression" and whole and labels.iloc[:, 0].nunique() <= min(20, len(labels) / 3):
        return [f"the whole numbers of {name} are learned as amounts; are they classes? Then " + state('task="multiclass", or "ordinal" for grades,')]
    numbers = sorted(map(int, c.classes)) if c.task == "multiclass" and whole and len(c.labels) == 1 else [0]
    if len(numbers) > 10 and numbers[0] not in (0, 1):
        said = f"{len(numbers)} whole numbers of {name}, {numbers[0]} to {numbers[-1]}, are taken for classes"
        return [f"{said}; are they amounts, such as an age? Then " + state('task="regression"')]
    cells = sample.iloc[:, 1] if len(sample.columns) > 1 else pd.Series(dtype=str)
    if c.answer == "label" and cells.str.strip().str.contains(" ").mean() > 0.5 and not any(" " in name for name in c.classes):
        return [f"a cell of {c.sample_csv} such as {cells.iloc[0]!r} holds several words, one label is submitted: else {state('answer')}"]
    return []


# -- the problem

def find_task(train: pd.DataFrame, labels: tuple[str, ...], asked: list[str], wants_float: bool, *, has_folders: bool = False) -> str:
    values = train.loc[(train[list(labels)] != "").all(axis=1), list(labels)]      # make_train reports the missing ones
    if len(labels) > 1:
        if not all(are_numbers(values[column]) for column in labels):
            raise ValueError(f"label columns {listed(list(labels))} are neither 0/1 nor numbers: " + state("labels or task"))
        cells = values.astype(float)
        if not cells.isin([0, 1]).all(axis=None):
            return "regression"
        return ("binary" if len(labels) == 2 else "multiclass") if (cells.sum(axis=1) == 1).all() else "multilabel"
    label, num = values[labels[0]], values[labels[0]].nunique()
    if num > 2 and label.str.fullmatch(r"[+-]?\d+,\d+").all():
        raise ValueError(f"the numbers of {labels[0]!r} have a decimal comma: {state('a make_table that writes a point')}")
    mark = joined_by(label, asked) if num > 2 else ""
    if mark.strip():
        raise ValueError(f"the cells of {labels[0]!r} join several labels by {mark!r}: {state('a make_table that joins them by spaces')}")
    if mark:
        return "multilabel"
    if len(asked) <= 1 and num > 2:
        if are_numbers(label) and (wants_float or 2 * num > len(label) and not has_folders or (label.astype(float) % 1 > 0).any()):
            return "regression"
        if wants_float:
            raise ValueError(f"the sample wants one number, but {labels[0]!r} has {num} classes: " + state("task or answer"))
    if num < 2:
        raise ValueError(f"label column {labels[0]!r} holds {''.join(set(label)) or 'nothing'} and no second value: {state('labels')}")
    return "binary" if num == 2 else "multiclass"


def find_classes(train: pd.DataFrame, labels: tuple[str, ...], task: str) -> tuple[str, ...]:
    """Sorted as numbers when all are, else as text."""
    if task in NUMBERS or len(labels) > 1:
        return () if task in NUMBERS else labels
    found = pd.Series(train[labels[0]].unique())
    found = found.str.split().explode().dropna().drop_duplicates() if task == "multilabel" else found[found != ""]
    return tuple(sorted(found, key=(lambda name: (float(name), name)) if are_numbers(found) else None))


def find_bounds(labels: pd.DataFrame) -> tuple[float, ...]:
    """The smallest and the largest number that there is; () when there is none, or only one."""
    numbers = labels.apply(pd.to_numeric, errors="coerce")
    low, high = float(numbers.min(axis=None)), float(numbers.max(axis=None))
    return (low, high) if low < high else ()


def find_answer(c: "Competition", wants_probability: bool, cells: pd.Series) -> str:
    """The form that the sample's columns and numbers ask for; cells: its only column, where there is only one."""
    if c.task in NUMBERS or len(c.names) > 2 or c.task == "multilabel" and c.names[1] in c.labels[1:] + c.labels[:-1]:
        return "value" if c.task in NUMBERS else "probabilities"
    if c.task == "ordinal":
        return "label"
    several = [cell.split() for cell in cells.unique() if cell not in c.classes and " " in cell.strip()]
    if str(c.metric).startswith("map") or c.task == "multiclass" and several and all({*words} <= {*c.classes} for words in several):
        return "ranked"                                              # several labels wanted, where an image has one
    if c.task == "binary" and wants_probability:
        return "probability"
    return "words" if c.task == "multilabel" else "label"


# -- csv files and images

def find_csv(files: list[str], field: str, *names: str) -> str:
    """The only csv whose name fits the first pattern that fits any; at the top, else in the folders below; "" when there is none."""
    for depth in range(4):
        for name in names:
            found = [file for file in files if file.count("/") == depth and re.fullmatch(f"{name}[.]csv", posixpath.basename(file), re.I)]
            if len(found) > 1:
                raise ValueError(f"which {field}? There are {listed(found)}: " + state(field))
            if found:
                return found[0]
    return ""


def find_train_csv(root: Path, files: list[str], asked: list[str]) -> str:
    """By its name; among several, or where train.csv lacks what the sample's columns ask for, the one that has it."""
    names = ("train", r"train[ _-]?labels?", "train.*", "labels?")
    known = [file for file in files if re.fullmatch(r"(train|label).*[.]csv", posixpath.basename(file), re.I)]
    telling = [file for file in known if {*asked} <= {*map(str.strip, tables.read_csv(root / file, rows=1))}] if asked and len(known) > 1 else []
    return find_csv(telling, "train_csv", *names) or find_csv(files, "train_csv", *names)


@cache
def part_of(folder: str) -> str:
    """train, test or valid, by the deepest folder that says one at the beginning of a word (not contest, intestine); "" when none does."""
    for name in reversed(folder.split("/")):
        if said := re.findall(r"(?:(?<![A-Za-z])|(?=[A-Z]))(?i:train|test|eval|valid|val(?![a-z]))", name):
            return {"train": "train", "test": "test", "eval": "test"}.get(said[-1].lower(), "valid")
    return ""


def of_parts(files: list[str], *parts: str) -> list[str]:
    return [file for file in files if part_of(posixpath.dirname(file)) in parts]


def find_class_folders(images: list[str], files: list[str]) -> str:
    """The pattern of images in a folder per class, wherever it lies."""
    for parts in (["train"], ["train", ""]):
        folders = {posixpath.dirname(file) for file in images}
        folders = {folder for folder in folders if part_of(folder) in parts or part_of(posixpath.dirname(folder)) == "train"}    # a class train/valid
        home = posixpath.commonpath(folders) if folders else ""
        below = [folder.removeprefix(home).strip("/").partition("/") for folder in folders if folder != home]
        deeper = {rest for _, _, rest in below}
        if len({name for name, _, _ in below}) < 2:
            continue
        if len(deeper) == 1:
            return posixpath.join(home, "{label}", *deeper, "*")
        above = posixpath.join(home, "")
        raise ValueError(f"which folder names the class in {listed(sorted(folders))}: "
                         + state(f'train_images, such as "{above}{{label}}/**/*" or "{above}{{other}}/{{label}}/*"'))
    raise ValueError(f"no train.csv and no folder per class (train/<class>/<image>): {state('train_csv')} (there are "
                     f"{listed([file for file in files if file.lower().endswith(TABLES)]) or 'none'}), or train_images with a {{label}} in it, "
                     'such as "train/{label}.{number}.jpg"')


def find_test_folder(images: list[str]) -> str:
    """The pattern of the images below the folder that says test, for a competition that lists them in no csv."""
    homes = {posixpath.dirname(file) for file in of_parts(images, "test")}
    homes = {home for home in homes if part_of(posixpath.dirname(home)) != "train"} or homes           # train/test_tube is a class
    if not homes:
        raise ValueError("no sample_submission.csv, no test.csv and no image in a folder named test: " + state("test_images, test_csv or make_test"))
    return posixpath.join(posixpath.commonpath(homes), "" if len(homes) == 1 else "**/", "{id}")


def find_images(frame: pd.DataFrame, files: list[str], part: str) -> str:
    """The pattern by which each row names an image: by its id, a path column, or its id in any folder; else what fits most rows."""
    partial = Counter()
    own = of_parts(files, part)                                      # both folders may hold a 1.jpg: train takes train's
    for pool in (own, of_parts(files, part, "")):
        found = {name: find_patterns(frame[name], pool) for name in ["id", *frame] if name == "id" or has_suffix(frame[name])}
        whole = {name: set.intersection(*rows) for name, rows in found.items()}
        fitting = whole["id"] or set().union(*whole.values())
        if not fitting and all(found["id"]):                         # each has an image, but not all in one folder
            shared = os.path.commonprefix([pattern for row in found["id"] for pattern in row])
            fitting = {"".join(shared.rpartition("/")[:2]) + "**/" + posixpath.basename(next(iter(found["id"][0])))}
        if len(fitting) > 1:
            raise ValueError(f"which {part} images? The same names are found as {listed(sorted(fitting))}: " + state(f"{part}_images"))
        if fitting:
            return fitting.pop()
        partial.update(pattern for rows in found.values() for row in rows for pattern in row)
    widths = {len(stem) for file in own or files if (stem := posixpath.splitext(posixpath.basename(file))[0]).isdecimal()}
    if not partial and frame["id"].str.isdecimal().all() and len(widths) == 1 and frame["id"].str.len().min() < (width := widths.pop()):
        padded = frame.assign(id=frame["id"].str.zfill(width))       # a spreadsheet has taken 0012 for the number 12
        return find_images(padded, files, part).replace("{id}", f"{{id:{width}}}")
    if not partial:
        raise ValueError(f"none of {len(frame)} {part} ids ({listed(list(frame['id'][:3]))} ...) names an image; of {len(files)} images "
                         f"({', '.join((own or files)[:1]) or 'none'} ...) {len(own)} lie in a folder named {part}. "
                         f"Is it empty, or still packed (then `make data COMP=...` unpacks it)? Else "
                         + state(f"{part}_images, or a {'make_test' if part == 'test' else 'make_table'} that adds a column path,"))
    return partial.most_common(1)[0][0]


def find_patterns(values: pd.Series, files: list[str]) -> list[set[str]]:
    """For each value of a column the patterns, such as "train/{id}.*", by which it names one of the files."""
    whole = has_suffix(values)
    names, end = tables.by_name(files, any_suffix=not whole), f"{{{values.name}}}" + ("" if whole else ".*")
    return [{home + end for home, _ in tables.ending(names, tables.clean(value), longer=whole)} for value in values]
