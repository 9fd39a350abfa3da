"""Tables of images: csv files, the image files that their rows name, and the checked table that everything else uses.

`c` is a Competition; a frame is a csv as read, a table is `id, row, path, targets..., group, features...`."""
import csv
import io
import os
import posixpath
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from src.competitions import Competition

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
NUMBERS = ("regression", "bounded")          # tasks whose labels are numbers and no classes
RESERVED = {"id", "row", "path", "group", "fold", "content", "external"}        # columns of the table and of folds.csv
ASIDE = r"(test|testing|val|valid|validation|eval)(s|set|[_-][^/]*|\d+)?/"         # no class is called so
PARTS = r"(test|testing|val|valid|validation|eval)(s|set)?([_-]?(images?|imgs?|set|data|\d+))?"       # what certainly is none
EXTERNAL = "external.csv"       # more training images than the host's, and a folder of that name for them


def listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def state(fact: str) -> str:
    """The end of an error message: where the answer goes."""
    return f"state {fact} in src/competitions.py"


def complain(culprits: pd.Series, what: str) -> list[str]:
    """"3 training ids stand twice: a, b, c", or nothing."""
    return [f"{len(culprits)} {what}: {listed(list(culprits))}"] if len(culprits) else []


# -- csv files

def read_csv(path: Path, rows: int | None = None) -> pd.DataFrame:
    """Every cell as text, nothing taken for missing: "007", "NA" and "1e5" stay what they are; so does the header, spaces included.
    rows: only so many, to see what the file is."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
        say_once(f"warning: {path.name} is not UTF-8 and is read as latin-1: look whether its letters are right, else save it as UTF-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)                        # a tie, as in a table of one column: the comma
    spaced = 0 < first.count(separator) == first.count(separator + " ")          # "id, label": no cell begins with that space
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=spaced)
    lines = list(islice((line for line in reader if any(line)), rows and rows + 1))
    if len(lines) < 2:
        raise ValueError(f"{path.name} is empty" + (": a header and no row" if lines else ""))
    width = len(lines[0])
    header = first.split(separator) if spaced and '"' not in first else lines[0]
    if ragged := [str(number) for number, line in enumerate(lines, 1) if any(line[width:])]:
        raise ValueError(f"{path.name}: more cells than the header has in line {listed(ragged)}; is a separator inside a text not quoted?")
    frame = pd.DataFrame([(line + [""] * width)[:width] for line in lines[1:]], columns=header, dtype=str)
    frame = frame.loc[:, [bool(name) or (frame.iloc[:, i] != "").any() for i, name in enumerate(header)]]    # a comma too many at the end
    if repeated := [name for name, count in Counter(map(str.strip, frame.columns)).items() if count > 1]:
        raise ValueError(f"{path.name}: column {listed(repeated)} stands twice; rename one")
    if nameless := [name for name in frame.columns if name.lower().endswith(IMAGE_SUFFIXES)]:
        raise ValueError(f"{path.name} has no header, its first line names the image {nameless[0]}: " + state("make_table"))
    return frame.rename(columns={"": "Unnamed: 0"})                 # as pandas calls it


@cache
def say_once(line: str) -> None:
    print(line, file=sys.stderr)


def joined(table: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """The texts of these columns, joined by spaces."""
    first, *others = (table[name] for name in columns)
    return first.str.cat(others, sep=" ") if others else first


def read_folds(path: Path) -> pd.DataFrame:
    """folds.csv: the table with its fold."""
    return read_csv(path).astype({"fold": int})


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


def host_files(root: Path) -> list[str]:
    """The files that tell what the competition is: not those in external/, where there is an external.csv."""
    files = list_files(root)
    return [file for file in files if not file.startswith("external/")] if EXTERNAL in files else files


def only_images(files: list[str], any_file: bool = False) -> list[str]:
    """The files that may be images: by suffix, or all where read_image opens what we do not know."""
    return files if any_file else [file for file in files if file.lower().endswith(IMAGE_SUFFIXES)]


def fill(pattern: str, frame: pd.DataFrame) -> list[str]:
    """The pattern with each {column} replaced by the row's value; {column:5} has zeros before it to that width."""
    parts = re.split(r"\{([^{}]+?)(?::(\d+))?\}", pattern)           # text, column, width, text, column, width, ..., text
    if unknown := [column for column in parts[1::3] if column not in frame]:
        raise ValueError(f"pattern {pattern!r}: no column {listed(unknown)}; choose from {', '.join(frame.columns)}")
    filled = pd.Series(parts[0], index=frame.index, dtype=object)
    for column, width, text in zip(parts[1::3], parts[2::3], parts[3::3]):
        filled = filled + frame[column].str.zfill(int(width or 0)) + text
    return filled.tolist()


def clean(path: str) -> str:
    """A path column may say ./train/a.JPG or train\\a.jpg; the case of an image's suffix tells nothing, nor how a Mac writes an accent."""
    stem, suffix = posixpath.splitext(posixpath.normpath(unicodedata.normalize("NFC", path).strip().replace("\\", "/")))
    return stem + (suffix.lower() if suffix.lower() in IMAGE_SUFFIXES else suffix)


def by_name(files: list[str], any_suffix: bool) -> dict[str, list[tuple[str, str]]]:
    """The last part of the path -> (path as it is compared, file) of each file of that name."""
    names = defaultdict(list)
    for file in files:
        compared = clean(posixpath.splitext(file)[0] if any_suffix else file)
        names[posixpath.basename(compared)].append((compared, file))
    return names


def ending(names: dict[str, list[tuple[str, str]]], wanted: str, longer: bool) -> list[tuple[str, str]]:
    """(folder such as "train/", file) of each file whose path ends so; else, if `longer`, that ends it: /kaggle/input/x/train/a.jpg."""
    near = names.get(posixpath.basename(wanted), [])
    found = [(compared.removesuffix(wanted), file) for compared, file in near if f"/{compared}".endswith(f"/{wanted}")]
    return found or [("", file) for compared, file in near if longer and "/" in compared and wanted.endswith(f"/{compared}")]


def match(pattern: str, frame: pd.DataFrame, files: list[str]) -> list[list[str]]:
    """The files that each row's pattern names: `.*` at the end is any image suffix, `**/` any folders."""
    head, anywhere, tail = pattern.rpartition("**/")
    names, longer = by_name(files, tail.endswith(".*")), pattern.startswith("{")
    return [[file for home, file in ending(names, clean(end), longer) if (file.startswith(start) if anywhere else not home)]
            for start, end in zip(fill(head, frame), fill(tail.removesuffix(".*"), frame))]


def from_names(root: Path, pattern: str, any_file: bool = False) -> pd.DataFrame:
    """A table read off the images' paths: a column per {name} of the pattern, `path`, and `id`: the path from the first {name} on."""
    names = re.findall(r"\{([^{}]+)\}", pattern)
    tokens = {"**/": "(?:.*/)?", ".*": r"\.[^./]+", "*": "[^/]*"}
    parts = re.split(r"(\{[^{}]+\}|\*\*/|\.\*|\*)", pattern)
    regex = re.compile("".join("([^/]+?)" if part.startswith("{") else tokens.get(part) or re.escape(part) for part in parts))
    images = only_images(host_files(root), any_file)
    found = [(file, hit.groups()) for file in images if (hit := regex.fullmatch(file))]
    if not found:
        raise ValueError(f"none of {len(images)} images in {root.name} is named like {pattern!r}")
    frame = pd.DataFrame([values for _, values in found], columns=names, dtype=str).assign(path=[file for file, _ in found])
    return frame if "id" in names else frame.assign(id=frame["path"].str.slice(len(parts[0])))


# -- what the files say, and the checked tables made from it

def train_frame(root: Path, c: "Competition") -> pd.DataFrame:
    return read_part(root, c, "train")


def test_frame(root: Path, c: "Competition") -> pd.DataFrame:
    return read_part(root, c, "test")


def read_part(root: Path, c: "Competition", part: str) -> pd.DataFrame:
    """What make_table (make_test), the part's csv or its images' names say, with the id's column as `id` too."""
    make, file, pattern = sources(c, part)
    if make:
        frame = make(root).astype(object)
        frame = frame.where(frame.notna(), "").astype(str)
    else:
        frame = read_csv(root / file) if file else from_names(root, pattern, bool(c.read_image))
        home = pattern.partition("{")[0]
        if part == "train" and not file and "train" not in home.lower():                 # class folders with test/ among them
            folders = frame["path"].str.slice(len(home)).str.partition("/")[0]
            aside = (folders.str.lower() + "/").str.match(ASIDE)
            for name in sorted({*folders[aside]}):
                if not re.fullmatch(PARTS, name.lower()):
                    say_once(f"warning: the images in {home}{name}/ are taken for no class, by its name: else {state('a make_table')}")
            frame = frame[~aside]
    frame = frame.rename(columns=lambda name: str(name).strip())
    for name in {*c.labels} & {*frame}:
        frame[name] = frame[name].str.strip()
        whole = frame[name].str.fullmatch(r"(-?\d+\.0+)?").all() and not {*c.classes} & {*frame[name]}
        frame[name] = frame[name].str.partition(".")[0] if whole else frame[name]      # "1.0" is 1: a gap once made pandas write so
    frame = frame.drop_duplicates(ignore_index=True)                # a line twice says nothing new
    column = c.id if part == "train" or c.id in frame else c.names[0] if make or file else "id"
    check_columns(frame, [column] if column else [], f"the {part} table")
    return frame.assign(id=frame[column]) if column else frame


def sources(c: "Competition", part: str) -> tuple[Callable | None, str, str]:
    """The function, the csv and the pattern of names that tell of the training or test images: the first that there is."""
    return (c.make_table, c.train_csv, c.train_images) if part == "train" else (c.make_test, c.test_csv or c.sample_csv, c.test_images)


def check_columns(frame: pd.DataFrame, columns: list[str], what: str) -> None:
    if unknown := [column for column in columns if column not in frame]:
        raise ValueError(f"{what} has no column {listed(unknown)}, only {', '.join(frame.columns)}: "
                         + state("another, or a make_table or make_test that adds it,"))


def make_train(root: Path, c: "Competition", *, tolerant: bool = False) -> pd.DataFrame:
    """id, row, path, targets, group, features of every training image, sorted by id; all mistakes in one message.

    tolerant: images without a file or a label are named on stderr and left out."""
    frame = train_frame(root, c)
    check_columns(frame, [*c.labels, *filter(None, [c.group]), *c.features], "the train table")
    table, problems, lost = locate(frame, root, c, "train")
    table["row"] = fill(c.row if "{" in c.row else f"{{{c.row or 'id'}}}", frame)
    labels, ids, names = frame[list(c.labels)], frame["id"], " or ".join(c.labels)
    missing = (labels == "").any(axis=1)
    lost += complain(ids[missing], f"of {len(frame)} training images have no label, {names} is empty")
    gone = missing | (table["path"] == "")
    if c.task in NUMBERS or len(c.labels) > 1:
        fits, what = labels.apply(lambda column: column.str.fullmatch(NUMBER)).all(axis=1), "no numbers"
    else:
        words = labels.iloc[:, 0].str.split() if c.task == "multilabel" else labels.iloc[:, 0].map(lambda label: [label])
        fits, what = words.map(set(c.classes).issuperset), f"none of the classes {listed(list(c.classes))}"
    if c.task == "bounded":
        values = labels.apply(pd.to_numeric, errors="coerce")
        fits, what = fits & values.ge(c.bounds[0]).all(axis=1) & values.le(c.bounds[1]).all(axis=1), f"not within bounds={c.bounds}"
    told = listed(sorted(set(joined(labels[~gone & ~fits], labels))))
    problems += [f"{said} (there stands {told})" for said in complain(ids[~gone & ~fits], f"labels of column {names} are {what}")]
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
    table["group"] = group.where(group != "", table["row"])           # unknown patients are not one patient
    return pd.concat([table, frame[list(c.features)]], axis=1).sort_values("id", ignore_index=True)


def make_external(root: Path, c: "Competition", *, tolerant: bool = False) -> pd.DataFrame:
    """external.csv as a table like train's: path (below root), the label columns, the group's and the features' where there are some; the id is the
    path. Raises ValueError with all that is wrong."""
    group = c.group if c.group in read_csv(root / EXTERNAL) else ""
    try:
        as_train = replace(c, make_table=None, train_csv=EXTERNAL, train_images="{path}", id="path", row="", group=group)
        return make_train(root, as_train, tolerant=tolerant)
    except ValueError as error:
        raise ValueError(f"{EXTERNAL}: {error}\nIts columns are path (of the image, seen from {root.name}/, such as external/1.jpg), "
                         f'{", ".join([*c.labels, *c.features])}; SET="external=none" leaves it out') from error


def make_targets(labels: pd.DataFrame, c: "Competition") -> pd.DataFrame:
    """The target columns in the table's form: a label, "0" and "1" per class, or numbers."""
    if c.task in NUMBERS:
        return labels
    if c.task != "multilabel":
        if len(c.labels) > 1 and not ((cells := labels.astype(float)).isin([0, 1]).all(axis=None) and (cells.sum(axis=1) == 1).all()):
            raise ValueError(f"task={c.task!r} takes one label, or a column per class with one 1 in each row; {listed(list(c.labels))} are others: "
                             + state("a make_table that joins them into one label"))
        label = labels.iloc[:, 0] if len(c.labels) == 1 else labels.astype(float).idxmax(axis=1)
        return label.to_frame(c.targets[0])
    if len(c.labels) > 1:
        return labels.astype(float).astype(int).astype(str)
    words = [set(said.split()) for said in labels.iloc[:, 0]]
    return pd.DataFrame({name: ["01"[name in said] for said in words] for name in c.classes}, index=labels.index)


def make_test(root: Path, c: "Competition") -> pd.DataFrame:
    """id, row, path, features of every test image, sorted by id."""
    frame = test_frame(root, c)
    check_columns(frame, list(c.features), "the test table")
    table, *problems = locate(frame, root, c, "test")
    if any(problems):
        raise ValueError("\n".join(sum(problems, [])))
    row = c.names[0] if c.row and c.names[0] in frame else c.row or "id"      # the test csv may hold what train's has to be made of
    table["row"] = fill(row if "{" in row else f"{{{row}}}", frame)
    return pd.concat([table, frame[list(c.features)]], axis=1).sort_values("id", ignore_index=True)


def locate(frame: pd.DataFrame, root: Path, c: "Competition", part: str) -> tuple[pd.DataFrame, list[str], list[str]]:
    """id and path of each row, "" where there is no such file; what is wrong with them; and what is missing."""
    make, file, pattern = sources(c, part)
    pattern = pattern if make or file else "{path}"
    below = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
    matches = pd.Series(match(pattern, frame, only_images(list_files(root, below), bool(c.read_image))), index=frame.index)
    ids, sizes = frame["id"], matches.map(len)
    twice = complain(ids[ids.duplicated()], f"{part} ids stand twice")
    problems = [f"{said}; their lines differ: remove one of each, or, where it has several labels, {state('a make_table that joins them by spaces')}"
                for said in twice]
    problems += complain(ids.index[ids == ""].astype(str), f"{part} rows have no id, counted from 0")
    problems += complain(ids[sizes > 1], f"{part} ids name several images each as {pattern!r}, which src/competitions.py can state")
    missing = complain(ids[sizes == 0], f"of {len(ids)} {part} images are missing, looked for as {pattern!r}")
    return pd.DataFrame({"id": ids, "row": "", "path": matches.map(lambda files: files[0] if files else "")}), problems, missing
