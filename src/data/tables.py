"""Tables of images. Reading csv files, finding image files, inferring facts from both, and the checked table that everything else uses.

`c` is a Competition (src/competitions.py); a frame is a csv as read, a table is `id, row, path, targets..., group, features...`."""
import csv
import io
import os
import posixpath
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
RESERVED = {"id", "row", "path", "group", "fold", "content"}        # columns of the table and of folds.csv
GROUP_WORDS = r"patient|person|people|subject|participant|group|source|site|driver|location|camera|hospital|session|individual|user"


# -- csv files

def read_csv(path: Path) -> pd.DataFrame:
    """Every cell as text, nothing taken for missing: "007", "NA" and "1e5" stay what they are."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    separator = max(",;\t", key=text.partition("\n")[0].count)      # a tie, as in a table of one column: the comma
    csv.field_size_limit(sys.maxsize)
    lines = [line for line in csv.reader(io.StringIO(text, newline=None), delimiter=separator) if any(line)]
    if len(lines) < 2:
        raise ValueError(f"{path.name} is empty" + (": a header and no row" if lines else ""))
    header, width = lines[0], len(lines[0])
    ragged = [str(number) for number, line in enumerate(lines, 1) if any(line[width:])]
    if ragged:
        raise ValueError(f"{path.name}: more cells than the header has in line {listed(ragged)}; is a separator inside a text not quoted?")
    frame = pd.DataFrame([(line + [""] * width)[:width] for line in lines[1:]], columns=header, dtype=str)
    keep = [bool(name) or not (frame.iloc[:, i] == "").all() for i, name in enumerate(header)]      # a trailing comma makes an empty column
    repeated = [name for name, count in Counter(frame.columns[keep]).items() if count > 1]
    if repeated:
        raise ValueError(f"{path.name}: column {listed(repeated)} stands twice; rename one")
    return frame.loc[:, keep]


def find_csv(files: list[str], field: str, *names: str) -> str:
    """The only csv whose name fits the first pattern that fits any; at the top, else one folder deeper; "" when there is none."""
    for depth in (0, 1):
        for name in names:
            found = [file for file in files if file.count("/") == depth and re.fullmatch(name, posixpath.basename(file), re.IGNORECASE)]
            if len(found) > 1:
                raise ValueError(f"which {field}? There are {listed(found)}: " + state(field))
            if found:
                return found[0]
    return ""


def listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def state(fact: str) -> str:
    """The end of an error message: where the answer goes."""
    return f"state {fact} in src/competitions.py"


def are_numbers(values: pd.Series) -> bool:
    return bool(values.str.fullmatch(NUMBER).all())


def are_floats(values: pd.Series) -> bool:
    """Numbers of which one is written with a point or an exponent."""
    return are_numbers(values) and bool(values.str.contains(r"[.eE]").any())


def sorted_classes(values: pd.Series) -> tuple[str, ...]:
    """As numbers when all are, else as text."""
    return tuple(sorted(set(values), key=(lambda name: (float(name), name)) if are_numbers(values) else None))


# -- image files

def list_files(root: Path, below: str = "") -> list[str]:
    """Every file's path relative to root, sorted. Links are followed, but no folder is entered twice; hidden ones are left out."""
    found, seen = [], set()
    for folder, folders, names in os.walk(root / below, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        prefix = Path(folder).relative_to(root).as_posix().removeprefix(".")
        found += [posixpath.join(prefix, name) for name in names if not name.startswith(".")]
    return sorted(found)


def only_images(files: list[str], c: Any) -> list[str]:
    """The files that may be images: by suffix, or all where read_image opens what we do not know."""
    return files if c.read_image else [file for file in files if file.lower().endswith(IMAGE_SUFFIXES)]


def fill(pattern: str, frame: pd.DataFrame) -> list[str]:
    """The pattern with each {column} replaced by the row's value."""
    parts = re.split(r"\{([^{}]+)\}", pattern)                      # text, column, text, column, ..., text
    unknown = [column for column in parts[1::2] if column not in frame]
    if unknown:
        raise ValueError(f"pattern {pattern!r}: no column {listed(unknown)}; choose from {', '.join(frame.columns)}")
    filled = pd.Series(parts[0], index=frame.index, dtype=object)
    for column, text in zip(parts[1::2], parts[2::2]):
        filled = filled + frame[column] + text
    return filled.tolist()


def by_name(files: list[str], any_suffix: bool) -> dict[str, list[tuple[str, str]]]:
    """The last part of the path -> (path as it is compared, file) of each file of that name."""
    names = defaultdict(list)
    for file in files:
        compared = posixpath.splitext(file)[0] if any_suffix else file
        names[posixpath.basename(compared)].append((compared, file))
    return names


def clean(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))               # a path column may say ./train/a.jpg or train\a.jpg


def match(pattern: str, frame: pd.DataFrame, files: list[str], root: Path) -> list[list[str]]:
    """The files that each row's pattern names: `.*` at the end is any image suffix, `**/` any folders."""
    head, anywhere, tail = pattern.rpartition("**/")
    names = by_name(files, tail.endswith(".*"))
    matches = []
    for start, end in zip(fill(head, frame), fill(tail.removesuffix(".*"), frame)):
        wanted = clean(end)
        hits = [file for compared, file in names.get(posixpath.basename(wanted), [])
                if (f"/{compared}".endswith(f"/{wanted}") and file.startswith(start) if anywhere else compared == wanted)]
        if not hits and "*" not in pattern and not wanted.startswith(("/", "../")) and (root / wanted).is_file():
            hits = [wanted]                                          # not an image file by its suffix: read_image's business
        matches.append(hits)
    return matches


def from_names(root: Path, pattern: str) -> pd.DataFrame:
    """A table read off the images' paths: a column per {name} of the pattern, `path`, and `id`: the path from the first {name} on."""
    names = re.findall(r"\{([^{}]+)\}", pattern)
    tokens = {"**/": "(?:.*/)?", ".*": r"\.[^./]+", "*": "[^/]*"}
    parts = re.split(r"(\{[^{}]+\}|\*\*/|\.\*|\*)", pattern)
    regex = re.compile("".join("([^/]+?)" if part.startswith("{") else tokens.get(part) or re.escape(part) for part in parts))
    images = [file for file in list_files(root) if file.lower().endswith(IMAGE_SUFFIXES)]
    found = [(file, hit.groups()) for file in images if (hit := regex.fullmatch(file))]
    if not found:
        raise ValueError(f"none of {len(images)} images in {root.name} is named like {pattern!r}")
    frame = pd.DataFrame([values for _, values in found], columns=names, dtype=str).assign(path=[file for file, _ in found])
    return frame if "id" in names else frame.assign(id=frame["path"].str.slice(len(parts[0])))


# -- what can be inferred

def part_of(path: str) -> str:
    """train, test or valid, by the deepest folder that says one; "" when none does."""
    for folder in reversed(path.lower().split("/")[:-1]):
        if said := re.findall(r"train|test|eval|valid|(?<![a-z])val(?![a-z])", folder):
            return {"train": "train", "test": "test", "eval": "test"}.get(said[-1], "valid")
    return ""


def find_class_folders(files: list[str]) -> str:
    """The pattern of images in a folder per class, wherever it lies."""
    classes = defaultdict(set)
    for file in files:
        home, _, label = posixpath.dirname(file).rpartition("/")
        if label and not part_of(f"{label}/"):
            classes[home].add(label)
    homes = sorted(home for home, labels in classes.items() if len(labels) > 1 and part_of(f"{home}/") in ("train", ""))
    homes = [home for home in homes if part_of(f"{home}/") == "train"] or homes
    if not homes:
        raise ValueError("no train.csv and no folder per class (train/<class>/<image>): " + state("train_csv")
                         + ', or train_images with a {label} in it, such as "train/{label}.{number}.jpg"')
    if len(homes) > 1:
        raise ValueError(f"a folder per class in each of {listed([home or '.' for home in homes])}: "
                         + state(f'train_images, such as "{homes[0]}/{{label}}/*"'))
    return posixpath.join(homes[0], "{label}/*")


def find_test_folder(files: list[str]) -> str:
    """The pattern of the images below the folder that says test, for a competition that lists them in no csv."""
    tests = [file for file in files if part_of(file) == "test"]
    if not tests:
        raise ValueError("no sample_submission.csv, no test.csv and no image in a folder named test")
    homes = {posixpath.dirname(file) for file in tests}
    return posixpath.join(posixpath.commonpath(homes), "" if len(homes) == 1 else "**/", "{id}")


def has_suffix(values: pd.Series) -> bool:
    return bool(values.str.lower().str.endswith(IMAGE_SUFFIXES).all())


def path_columns(frame: pd.DataFrame) -> list[str]:
    return [column for column in frame if column != "id" and has_suffix(frame[column])]


def find_id(train: pd.DataFrame, test: pd.DataFrame, first: str, images: list[str]) -> str:
    """The sample's first column; where that names no single image, the only column that does."""
    first = first or train.columns[0]
    if first in train and train[first].is_unique:
        return first
    names = {name for image in images for name in (posixpath.basename(image), posixpath.splitext(posixpath.basename(image))[0])}
    naming = [column for column in train if train[column].is_unique and train[column].map(posixpath.basename).isin(names).any()]
    if len(naming) == 1 and (first not in train or naming[0] in test):
        return naming[0]
    if first in train:
        return first                                                 # an id stands twice: make_train says which
    raise ValueError(f"which column names an image? Not the sample's {first!r}; there are {', '.join(train)}: " + state("id"))


def find_row(train: pd.DataFrame, test: pd.DataFrame, first: str) -> str:
    """The sample's first column, which names no image, where it is the name of several images' row."""
    if first in test and first not in train:
        raise ValueError(f"each row of the sample is one {first!r}, which the train csv does not have: "
                         + state('row, such as "{patient_id}_{side}", made of ' + ", ".join(train)))
    return first if first in train else ""


def find_labels(train: pd.DataFrame, asked: list[str], known: set[str]) -> tuple[str, ...]:
    """The sample's columns found in train; else the column whose values they are; else the only column that is nothing else."""
    if found := [column for column in asked if column in train and column not in known]:
        return tuple(found)
    others = [column for column in train if column not in known and column not in path_columns(train)]
    candidates = [column for column in others if len(asked) > 1 and set(train[column]) - {""} <= set(asked)] or others
    if len(candidates) != 1:
        raise ValueError(f"which column is the label? Candidates: {listed(candidates) or 'none'}: " + state('labels=("column",)'))
    return (candidates[0],)


def are_words(values: pd.Series) -> bool:
    """Several labels joined by spaces, not names with a space in them: a small vocabulary makes many values, and its words occur alone."""
    distinct = set(values) - {""}
    words = {word for value in distinct for word in value.split()}
    return distinct > words or (bool(distinct & words) and 2 * len(words) < len(distinct))


def find_task(train: pd.DataFrame, labels: tuple[str, ...], asked: list[str], float_wanted: bool) -> str:
    values = train.loc[(train[list(labels)] != "").all(axis=1), list(labels)]      # make_train reports the missing ones
    if len(labels) > 1:
        if not all(are_numbers(values[column]) for column in labels):
            raise ValueError(f"label columns {listed(list(labels))} are neither 0/1 nor numbers: " + state("labels or task"))
        cells = values.astype(float)
        if not cells.isin([0, 1]).all(axis=None):
            return "regression"
        return ("binary" if len(labels) == 2 else "multiclass") if (cells.sum(axis=1) == 1).all() else "multilabel"
    label = values[labels[0]]
    if len(asked) <= 1 and label.nunique() > 2:
        if are_numbers(label) and (float_wanted or (label.astype(float) % 1 > 0).any()):
            return "regression"
        if are_words(label):
            return "multilabel"
        if float_wanted:
            raise ValueError(f"the sample wants one number, but {labels[0]!r} has {label.nunique()} classes: " + state("task or answer"))
    if label.nunique() < 2:
        held = listed(list(label.unique())) or "nothing"
        raise ValueError(f"label column {labels[0]!r} holds {held} and no second value: " + state("labels"))
    return "binary" if label.nunique() == 2 else "multiclass"


def find_classes(train: pd.DataFrame, labels: tuple[str, ...], task: str) -> tuple[str, ...]:
    if task == "regression":
        return ()
    if len(labels) > 1:
        return labels
    label = train[labels[0]]
    return sorted_classes(label.str.split().explode().dropna() if task == "multilabel" else label[label != ""])


def find_homes(values: pd.Series, files: list[str]) -> list[set[str]]:
    """For each value the folders, as "train/", in which an image of that name lies."""
    names = by_name(files, any_suffix=not has_suffix(values))
    homes = []
    for value in map(clean, values):
        near = names.get(posixpath.basename(value), [])
        homes.append({compared.removesuffix(value) for compared, _ in near if f"/{compared}".endswith(f"/{value}")})
    return homes


def find_images(frame: pd.DataFrame, files: list[str], field: str) -> str:
    """The pattern by which each row names an image: by its id, a path column, or its id in any folder; else what fits most rows."""
    part, paths, partial = field.removesuffix("_images"), path_columns(frame), Counter()
    own = [file for file in files if part_of(file) == part]          # both folders may hold a 1.jpg: train takes train's
    near = [file for file in files if part_of(file) in (part, "")]
    for pool in (own, near):
        homes = {column: find_homes(frame[column], pool) for column in ["id", *paths]}
        shared = {column: sorted(f"{home}{{{column}}}" for home in set.intersection(*homes[column])) for column in homes}
        candidates = shared["id"] or [pattern for column in paths for pattern in shared[column]]
        if not candidates and all(homes["id"]):                      # each has an image, but not all in one folder
            crowded = next((row for row in homes["id"] if len(row) > 1), set())
            common = os.path.commonprefix([home for row in homes["id"] for home in row]).rpartition("/")
            candidates = sorted(f"{home}{{id}}" for home in crowded or [common[0] + common[1] + "**/"])
        if len(candidates) > 1:
            raise ValueError(f"which {part} images? The same names are found as {listed(candidates)}: " + state(field))
        if candidates:
            return add_suffix(candidates[0], frame, pool)
        partial.update(f"{home}{{id}}" for row in homes["id"] for home in row)
    if not partial:
        raise ValueError(f"none of {len(frame)} {part} ids ({listed(list(frame['id'][:3]))} ...) names an image; of {len(files)} images "
                         f"{len(own)} lie in a folder named {part}. Is it empty, or still packed? Else " + state(field))
    return add_suffix(partial.most_common(1)[0][0], frame, near)


def add_suffix(pattern: str, frame: pd.DataFrame, files: list[str]) -> str:
    """".jpg" where all the images have it, ".*" where they differ, nothing where the column's values hold it."""
    if has_suffix(frame[re.findall(r"\{(.+)\}", pattern)[0]]):
        return pattern
    found = {posixpath.splitext(file)[1] for row in match(pattern + ".*", frame, files, Path()) for file in row}
    return pattern + (found.pop() if len(found) == 1 else ".*")


def find_suspects(train: pd.DataFrame) -> tuple[str, ...]:
    """Columns that look like a group (a patient, a site): by name, or because their values return a few times each."""
    def is_suspect(column: str) -> bool:
        distinct = train[column].nunique()
        named = re.search(GROUP_WORDS, column.lower()) and 2 < distinct < len(train)
        return bool(named) or 10 <= distinct <= 0.4 * len(train) <= 20 * distinct
    return tuple(column for column in train if is_suspect(column))


# -- frames as the competition's files give them, and the checked tables made from them

def train_frame(root: Path, c: Any) -> pd.DataFrame:
    """What make_table, the csv or the images' names say, with the id's column as `id` too."""
    if c.make_table:
        frame = as_text(c.make_table(root))
    else:
        frame = read_csv(root / c.train_csv) if c.train_csv else from_names(root, c.train_images)
    return named_id(frame, c.id, "the train table") if c.id else frame


def test_frame(root: Path, c: Any) -> pd.DataFrame:
    """What make_test, test_csv, the sample's ids or the test images' names say."""
    if c.make_test:
        frame = as_text(c.make_test(root))
    elif c.test_csv or c.sample_csv:
        frame = read_csv(root / (c.test_csv or c.sample_csv))
        frame = frame if c.test_csv else frame.iloc[:, :1]
    else:
        frame = from_names(root, c.test_images)
    return named_id(frame, c.id if c.id in frame else c.header[0], "the test table")


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(object).where(frame.notna(), "").astype(str)


def named_id(frame: pd.DataFrame, column: str, what: str) -> pd.DataFrame:
    if column not in frame:
        raise ValueError(f"{what} has no column {column!r}, only {', '.join(frame.columns)}: " + state("id"))
    return frame.assign(id=frame[column])


def make_train(root: Path, c: Any) -> pd.DataFrame:
    """id, row, path, targets, group, features of every training image, sorted by id; all mistakes in one message."""
    frame = train_frame(root, c)
    check_columns(frame, [*c.labels, *filter(None, [c.group]), *c.features], "the train table")
    named_by = c.train_images if c.train_csv or c.make_table else "{path}"
    table, problems = locate(frame, named_by, root, "training", c)
    table["row"] = fill(c.row if "{" in c.row else f"{{{c.row or 'id'}}}", frame)
    labels, ids = frame[list(c.labels)], frame["id"]
    missing = (labels == "").any(axis=1)
    problems += complain(ids[missing], f"of {len(frame)} training images have no label, {' or '.join(c.labels)} is empty")
    if c.task == "regression" or len(c.labels) > 1:
        numeric = labels.apply(lambda column: column.str.fullmatch(NUMBER)).all(axis=1)
        problems += complain(ids[~missing & ~numeric], f"labels of column {' or '.join(c.labels)} are no numbers")
    else:
        words = labels.iloc[:, 0].str.split() if c.task == "multilabel" else labels.iloc[:, 0].map(lambda label: [label])
        known = words.map(set(c.classes).issuperset)
        problems += complain(ids[~missing & ~known], f"labels of column {c.labels[0]} are none of the classes {listed(list(c.classes))}")
    clash = sorted(RESERVED & {*c.targets, *c.features})
    problems += [f"column {listed(clash)} has a name of the kit's own: rename it in a make_table"] if clash else []
    if problems:
        raise ValueError("\n".join(problems))
    group = frame[c.group] if c.group else table["row"]
    table = pd.concat([table, make_targets(labels, c)], axis=1)
    table["group"] = group.where(group != "", table["row"])           # unknown patients are not one patient
    return pd.concat([table, frame[list(c.features)]], axis=1).sort_values("id", ignore_index=True)


def make_targets(labels: pd.DataFrame, c: Any) -> pd.DataFrame:
    """The target columns in the table's form: a label, "0" and "1" per class, or numbers."""
    if c.task == "regression":
        return labels
    if c.task != "multilabel":
        label = labels.iloc[:, 0] if len(c.labels) == 1 else labels.astype(float).idxmax(axis=1)
        return label.to_frame(c.targets[0])
    if len(c.labels) > 1:
        return labels.astype(float).astype(int).astype(str)
    words = labels.iloc[:, 0].str.split().explode()
    cells = np.full((len(labels), len(c.classes)), "0", dtype=object)
    cells[labels.index.get_indexer(words.index), pd.Index(c.classes).get_indexer(words)] = "1"
    return pd.DataFrame(cells, index=labels.index, columns=list(c.classes))


def make_test(root: Path, c: Any) -> pd.DataFrame:
    """id, row, path, features of every test image, sorted by id."""
    frame = test_frame(root, c)
    check_columns(frame, list(c.features), "the test table")
    table, problems = locate(frame, c.test_images if c.test_csv or c.sample_csv or c.make_test else "{path}", root, "test", c)
    if problems:
        raise ValueError("\n".join(problems))
    row = c.header[0] if c.row and c.header[0] in frame else c.row or "id"      # the test csv may hold what train's has to be made of
    table["row"] = fill(row if "{" in row else f"{{{row}}}", frame)
    return pd.concat([table, frame[list(c.features)]], axis=1).sort_values("id", ignore_index=True)


def locate(frame: pd.DataFrame, pattern: str, root: Path, part: str, c: Any) -> tuple[pd.DataFrame, list[str]]:
    """id and path of each row, and what is wrong with them."""
    below = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
    matches = pd.Series(match(pattern, frame, only_images(list_files(root, below), c), root), index=frame.index)
    ids, sizes = frame["id"], matches.map(len)
    problems = complain(ids[ids.duplicated()], f"{part} ids stand twice")
    problems += complain(ids.index[ids == ""].astype(str), f"{part} rows have no id, counted from 0")
    problems += complain(ids[sizes == 0], f"of {len(ids)} {part} images are missing, looked for as {pattern!r}")
    problems += complain(ids[sizes > 1], f"{part} ids name several images each as {pattern!r}, which src/competitions.py can state")
    return pd.DataFrame({"id": ids, "row": "", "path": matches.map(lambda files: files[0] if files else "")}), problems


def complain(culprits: pd.Series, what: str) -> list[str]:
    """"3 training ids stand twice: a, b, c", or nothing."""
    return [f"{len(culprits)} {what}: {listed(list(culprits))}"] if len(culprits) else []


def check_columns(frame: pd.DataFrame, columns: list[str], what: str) -> None:
    unknown = [column for column in columns if column not in frame]
    if unknown:
        raise ValueError(f"{what} has no column {listed(unknown)}, only {', '.join(frame.columns)}")


def read_folds(path: Path) -> pd.DataFrame:
    """folds.csv: the table with its fold."""
    return read_csv(path).astype({"fold": int})
