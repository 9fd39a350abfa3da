"""What a competition's tables say of its images: two records, an index of the images and a list of tables, and which column names which images.

Everything is read once; the functions below are pure."""

import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

from src.data import formats
from src.data.formats import COLUMN, TABLES
from src.data.listing import (
    IMAGE_SUFFIXES,
    ImageIndex,
    clean,
    common_tail,
    host_files,
    only_images,
    without_suffix,
)

PROBE = 300  # cells of a column that are looked up first: a column that names no image is not looked up whole
MANY_FILES = 30  # so many tables of one kind in a folder are one per image, and not read
PART_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "eval": "test",
    "valid": "valid",
    "val": "valid",
    "학습": "train",
    "훈련": "train",
    "训练": "train",
    "訓練": "train",
    "学習": "train",
    "테스트": "test",
    "평가": "test",
    "测试": "test",
    "テスト": "test",
    "評価": "test",
    "검증": "valid",
    "验证": "valid",
    "検証": "valid",
}


@dataclass(frozen=True, eq=False)
class Naming:
    """How a column of a table names images."""

    column: str
    places: list[list[int]]  # per row: the images that the cell may mean
    rows: int  # rows that name at least one
    images: int  # different images that are named by one cell alone, or by several
    is_path: bool  # a suffix or a folder stands in the cells
    is_unique: bool
    values: list[str] = field(default_factory=list, repr=False)
    prefix: str = ""  # what stands before the cell in the file's name, and after it
    suffix: str = ""
    width: int = 0  # zeros that a spreadsheet has taken are put back to this width

    @property
    def share(self) -> float:
        return self.rows / max(len(self.places), 1)

    @property
    def cell(self) -> str:
        """The pattern of the last part of the path, without suffix."""
        return f"{self.prefix}{{{self.column}{f':{self.width}' if self.width else ''}}}{self.suffix}"


@dataclass(frozen=True, eq=False)
class Table:
    file: str
    frame: pd.DataFrame  # column names without the spaces around them
    header: tuple[str, ...]  # as they stand in the file
    namings: dict[str, Naming] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return posixpath.basename(self.file).lower()

    @cached_property
    def key(self) -> Naming | None:
        """The column that names images: most rows first, then a path before a number that happens to name one, then different images.
        Few different cells, such as labels 0 and 1 beside images 0.png and 1.png, are none."""
        enough = [n for n in self.namings.values() if n.is_unique or n.images >= (0.05 if n.is_path else 0.3) * n.rows]
        some = [n for n in enough if n.share >= 0.5] or enough
        return max(some, key=lambda n: (n.share >= 0.5, n.is_path and n.images > 0.2 * n.rows, n.is_unique, n.images, n.share), default=None)


class Evidence:
    """The files, the images with their index, and every table that is small enough to be one."""

    def __init__(self, root: Path, any_file: bool = False) -> None:
        self.root = root
        self.files = host_files(root)
        listed = only_images(
            [file for file in self.files if not any_file or not file.lower().endswith(TABLES)], any_file
        )
        copies = inner_copies(root, listed)
        self.images = [file for file in listed if posixpath.dirname(file) not in copies]
        self.index = ImageIndex(self.images)
        self.parts = [part_of(posixpath.dirname(file)) for file in self.images]
        self.skipped: dict[str, str] = {}  # file -> why it was not read as a table
        self.tables = [table for file in self.table_files() if (table := self.read(file))]

    def table_files(self) -> list[str]:
        kinds = Counter((posixpath.dirname(file), posixpath.splitext(file)[1].lower()) for file in self.files)
        return [
            file
            for file in self.files
            if file.lower().endswith(TABLES)
            and "readme" not in file.lower()
            and kinds[posixpath.dirname(file), posixpath.splitext(file)[1].lower()] <= MANY_FILES
        ]

    def read(self, file: str) -> Table | None:
        """The table, or None for what is none; what breaks is kept in `skipped`."""
        try:
            frame = formats.read_table(self.root / file)
            if len(frame.columns) > formats.MOST_COLUMNS:
                raise ValueError(
                    f"{posixpath.basename(file)} has {len(frame.columns)} columns, as pixels have"
                )
            if has_no_header(frame, self.index):
                frame = formats.read_table(self.root / file, header=False)
        except (ValueError, RecursionError, MemoryError) as error:
            self.skipped[file] = str(error)
            return None
        header = tuple(map(str, frame.columns))
        frame = frame.rename(columns=lambda name: str(name).strip())
        namings = {name: naming for name in frame if (naming := naming_of(frame[name], self.index))}
        if not namings:
            namings = with_affixes(frame, self.index)
        return Table(file, frame, header, namings)

    def table(self, file: str) -> Table | None:
        return next((table for table in self.tables if table.file == file), None)


@cache
def part_of(folder: str) -> str:
    """train, test or valid, by the deepest folder that says one at the beginning of a word (not contest, intestine); "" when none does."""
    for name in reversed(folder.split("/")):
        if words := re.findall(r"(?:(?<![A-Za-z])|(?=[A-Z]))(?i:train|test|eval|valid|val(?![a-z]))", name):
            return PART_WORDS[words[-1].lower()]
        if words := [word for word in PART_WORDS if not word.isascii() and word in name]:
            return PART_WORDS[words[-1]]
    return ""


def inner_copies(root: Path, images: list[str]) -> set[str]:
    """Folders that hold what lies one level higher as well, byte for byte, as some archives do: train/train beside train."""
    known, below = set(images), {}
    for file in images:
        folder = posixpath.dirname(file)
        while folder and folder not in below:
            below[folder] = file
            folder = posixpath.dirname(folder)
    copies: set[str] = set()
    for folder, first in below.items():
        above = posixpath.join(posixpath.dirname(folder), "")
        if above + first.removeprefix(f"{folder}/") not in known:
            continue
        own = [file for file in images if file.startswith(f"{folder}/")]
        twins = [above + file.removeprefix(f"{folder}/") for file in own]
        some = list(zip(own, twins))[:: max(1, len(own) // 20)]
        if known.issuperset(twins) and all(
            (root / one).read_bytes() == (root / other).read_bytes() for one, other in some
        ):
            copies |= {posixpath.dirname(file) for file in own}
    return copies


# -- which images a column names


def has_no_header(frame: pd.DataFrame, index: ImageIndex) -> bool:
    """The first line names an image, as the cells below it do."""
    for place, name in enumerate(map(str, frame.columns)):
        if name and not name.startswith(COLUMN) and index.named(name):
            cells = [cell for cell in frame.iloc[:50, place] if cell]
            if (
                name.lower().endswith(IMAGE_SUFFIXES)
                or 2 * sum(bool(index.named(cell)) for cell in cells) > len(cells) > 0
            ):
                return True
    return any(
        str(name).lower().endswith(IMAGE_SUFFIXES) and not str(name).startswith(COLUMN)
        for name in frame.columns
    )


def naming_of(column: pd.Series, index: ImageIndex) -> Naming | None:
    """Which images the cells name; None where a probe of them names none."""
    values = column.tolist()
    probe = [value for value in values[:: max(1, len(values) // PROBE)] if value]
    if not any(index.named(value) for value in probe):
        return None
    return naming(str(column.name), values, [index.named(value) if value else [] for value in values])


def naming(name: str, values: list[str], places: list[list[int]], prefix: str = "", suffix: str = "", width: int = 0) -> Naming:
    some = [value for value in values[:: max(1, len(values) // 1000)] if value]
    is_path = sum(value.strip().lower().endswith(IMAGE_SUFFIXES) or "/" in value or "\\" in value for value in some) > 0.5 * len(some)
    images = len({row[0] for row in places if row})
    is_unique = len(set(values)) == len(values)
    return Naming(name, places, sum(map(bool, places)), images, is_path, is_unique, values, prefix, suffix, width)


def with_affixes(frame: pd.DataFrame, index: ImageIndex) -> dict[str, Naming]:
    """The first columns of a table that names no image: those whose cells do when the same text stands before or after them, or zeros.
    Where several texts do (12_red, 12_green), a naming each."""
    found: dict[str, Naming] = {}
    for name in list(frame)[:3]:
        for number, one in enumerate(with_affix(frame[name], index)):
            found[f"{name}#{number}" if number else name] = one
    return found


def with_affix(column: pd.Series, index: ImageIndex) -> list[Naming]:
    """The namings by a text before or after the cells, or by zeros; none where that isn't so for nearly all."""
    values = column.tolist()
    distinct = list(dict.fromkeys(value for value in values if value))
    if len(distinct) < 0.9 * len(values) or len(distinct) < 3:
        return []
    found = []
    for prefix, suffix, width in affixes(distinct, index):
        places = [
            index.of_stem((prefix + value.zfill(width) + suffix).casefold())
            for value in map(without_suffix, values)
        ]
        if sum(map(bool, places)) >= 0.9 * len(values):
            found.append(naming(str(column.name), values, places, prefix=prefix, suffix=suffix, width=width))
    return found


def affixes(values: list[str], index: ImageIndex) -> list[tuple[str, str, int]]:
    """(before, after, width) that may turn a cell into the name of an image, the most frequent first."""
    stems = [posixpath.splitext(posixpath.basename(file))[0] for file in index.files]
    if all(value.isdecimal() for value in values):
        seen: Counter[tuple[str, str]] = Counter()
        widths: dict[tuple[str, str], set[int]] = {}
        for stem in stems:
            for run in re.finditer(r"\d+", stem):
                around = (stem[: run.start()], stem[run.end() :])
                seen[around] += 1
                widths.setdefault(around, set()).add(len(run.group()))
        found = [
            (around, widths[around]) for around, count in seen.most_common(8) if count >= 0.1 * len(values)
        ]
        return [(*around, max(its) if len(its) == 1 else 0) for around, its in found]
    seen = Counter()
    for value in values[:5]:
        seen.update(
            (head, tail) for stem in stems if value in stem for head, _, tail in [stem.partition(value)]
        )
    return [(*around, 0) for around, count in seen.most_common(4) if count >= 0.6 * min(len(values), 5)]


# -- the pattern of a part's images


@dataclass(frozen=True)
class Located:
    """Where the images of a part lie: the pattern, or the patterns that fit equally well."""

    patterns: tuple[str, ...] = ()
    rows: int = 0  # rows that name an image of this part
    places: frozenset[int] = frozenset()  # the images that may be meant


def located(naming: Naming, evidence: Evidence, part: str, taken: frozenset[int] = frozenset()) -> Located:
    """The pattern by which the rows name images of this part that are not taken by the other."""
    tiers = (
        ({"train"}, {"train", ""}, {"train", "", "valid"})
        if part == "train"
        else ({"test"}, {"test", ""}, {"test", "", "valid"}, {"test", "", "valid", "train"})
    )
    best: list[list[int]] = []
    most = -1
    for tier in tiers:
        rows = [
            [place for place in row if evidence.parts[place] in tier and place not in taken]
            for row in naming.places
        ]
        if (count := sum(map(bool, rows))) > most:
            best, most = rows, count
        if most == naming.rows:
            break
    if not most:
        return Located()
    places = frozenset(place for row in best for place in row)
    return Located(tuple(sorted(patterns_of(naming, best, most, evidence))), most, places)


def patterns_of(naming: Naming, rows: list[list[int]], most: int, evidence: Evidence) -> set[str]:
    """The patterns that name an image for each row that has one; else the one that names the most."""
    homes = [
        {home_of(evidence.images[place], value) for place in row} for value, row in zip(naming.values, rows)
    ]
    counts = Counter(home for row in homes for home in row)
    end = "" if is_exact(naming, rows, evidence) else ".*"
    whole = [home for home, count in counts.items() if count == most]
    is_single = sum(len(row) == 1 for row in rows) >= 0.98 * most
    nearly = [home for home, count in counts.items() if count >= 0.98 * most]
    if not whole and (is_single or not nearly):  # each has an image, but not all in one folder
        if any(home is None for home in counts) or "/" in "".join(naming.values[:100]) and naming.is_path:
            return {naming.cell + end}
        return {f"{common_folder([home for home in counts if home is not None])}**/{naming.cell}{end}"}
    whole = whole or nearly
    if len(whole) > 1:
        whole = usual(whole, rows, evidence) or whole
    patterns = set()
    for home in whole:
        ends = []
        if end and any(len(row) > 1 for row in rows):                # a.jpg and a.png side by side
            suffixes = Counter(
                suffix
                for value, row in zip(naming.values, rows)
                for suffix in {posixpath.splitext(evidence.images[place])[1] for place in row if home_of(evidence.images[place], value) == home}
            )
            is_twice = sum(suffixes.values()) > sum(home in row for row in homes)
            ends = [suffix for suffix, count in suffixes.items() if count >= 0.98 * most] if is_twice else []
        patterns |= {f"{home or ''}{naming.cell}{one}" for one in ends or [end]}
    return patterns


def home_of(file: str, value: str) -> str | None:
    """What stands before the value in the file's path, such as "train/"; None where the value has a folder that the path lacks."""
    if "/" not in value and "\\" not in value:
        return file[: file.rfind("/") + 1]
    wanted = clean(value)
    length = common_tail(clean(file).casefold(), wanted.casefold())
    return (
        "".join(f"{name}/" for name in file.split("/")[:-length])
        if length == len(wanted.split("/"))
        else None
    )


def is_exact(naming: Naming, rows: list[list[int]], evidence: Evidence) -> bool:
    """Do the cells have their files' suffixes?"""
    if naming.prefix or naming.suffix or naming.width:
        return False
    pairs = [(value, row) for value, row in zip(naming.values, rows) if row]
    return all(
        any(
            evidence.index.paths[place].endswith(posixpath.basename(clean(value).casefold())) for place in row
        )
        for value, row in pairs
    )


def usual(homes: list[str | None], rows: list[list[int]], evidence: Evidence) -> list[str | None]:
    """Where the same pictures lie as JPEG or PNG and in a format that few programs open: the first."""
    suffixes = {
        home: {
            posixpath.splitext(evidence.images[place])[1].lower()
            for row in rows[:50]
            for place in row
            if evidence.images[place].startswith(home or "")
        }
        for home in homes
    }
    plain = [home for home in homes if suffixes[home] <= {".jpg", ".jpeg", ".png", ".webp"}]
    return plain if len(plain) < len(homes) else []


def common_folder(homes: list[str]) -> str:
    return posixpath.join(posixpath.commonpath(homes), "") if all(homes) else ""


# -- which table is which

SAMPLE_NAME = r"sampl|submi|提交|제출|提出|サンプル"
ANSWER_NAME = r"example|answer|output|template|format|predict|baseline|upload|result|示例|样例|예시|정답|回答"
TRAIN_NAME = r"train|label|truth|(?<![a-z])gt(?![a-z])|annot|master|학습|训练|学習"
TEST_NAME = r"(?<![a-z])test|eval|(?<![a-z])info|inference|private|public|테스트|测试|テスト"


@dataclass(frozen=True)
class Roles:
    train: Table | None = None
    test: Table | None = None  # where it says more than the sample
    sample: Table | None = None
    rivals: tuple[Table, ...] = ()  # other tables that may be the sample
    tested: frozenset[int] = frozenset()  # the images that the sample names


def parts_named(table: Table, evidence: Evidence) -> Counter[str]:
    """The share of the table's rows that may name an image of each part."""
    if not table.key:
        return Counter()
    counts = Counter(part for row in table.key.places for part in {evidence.parts[place] for place in row})
    return Counter({part: count / len(table.frame) for part, count in counts.items()})


def is_constant(column: pd.Series) -> bool:
    return column.nunique() <= 1


def sample_score(table: Table, evidence: Evidence) -> float:
    """How much speaks for a sample submission: its name, cells that tell nothing, and ids of images that are no training images."""
    name, parts = table.name, parts_named(table, evidence)
    is_called_train = bool(re.match(r"train|labels?[._]", name))
    score = (
        4.0 * bool(re.search(SAMPLE_NAME, name))
        or 2.0 * bool(re.search(ANSWER_NAME, name))
        or 1.0 * bool(re.search(TEST_NAME, name))
    )
    score -= (
        4 * is_called_train
        + (1 if score == 4 else 5) * (len(table.frame.columns) < 2)
        + 0.25 * table.file.count("/")
    )
    others = [column for column in table.frame.columns[1:] if not table.key or column != table.key.column]
    score += 2 * (
        len(table.frame) > 1 and bool(others) and all(is_constant(table.frame[column]) for column in others)
    )
    if table.key and table.key.share >= 0.5:
        is_elsewhere = parts["valid"] + parts[""] >= 0.5
        score += 3 if parts["test"] >= 0.5 else 2 if is_elsewhere else 0 if re.search(SAMPLE_NAME, name) else -5
    return score


def find_sample(evidence: Evidence) -> tuple[Table | None, tuple[Table, ...]]:
    """The table that most speaks for, and those for which as much speaks."""
    scores = {table.file: sample_score(table, evidence) for table in evidence.tables}
    possible = [table for table in evidence.tables if scores[table.file] >= 3.5 and not is_test_list(table, evidence)]
    if not possible:
        return None, ()
    named = [table for table in possible if re.search(SAMPLE_NAME, table.name)]
    possible = named or possible
    most = max(scores[table.file] for table in possible)
    images = {
        table.file: table.key.images if table.key else 0 for table in possible
    }  # a stage that is over names images that are not there
    if not named:
        possible = [table for table in possible if scores[table.file] >= most - 0.1]
    best = [table for table in possible if images[table.file] == max(images.values())]
    best = [table for table in best if scores[table.file] >= max(scores[one.file] for one in best) - 1]
    return best[0], tuple(best) if len(best) > 1 else ()


def is_test_list(table: Table, evidence: Evidence) -> bool:
    """A list of test images by its contents: another table has all its columns, of other images, and at least one more, the label."""
    if re.search(f"{SAMPLE_NAME}|{ANSWER_NAME}", table.name) or not table.key:
        return False
    mine = {row[0] for row in table.key.places if row}
    for other in evidence.tables:
        if other is not table and other.key and {*table.frame} < {*other.frame} and not mine & {row[0] for row in other.key.places if row}:
            return True
    return False


def row_column(sample: Table, evidence: Evidence) -> str:
    """The sample's column that names its rows: usually the first; another where that one does not tell them apart and the other does."""
    first = str(sample.frame.columns[0])
    others = [str(name) for name in sample.frame.columns[1:]]
    if sample.key and sample.key.column != first and sample.key.share > 0.9 and sample.key.is_unique:
        is_number = is_line_number(sample.frame[first])
        known = any(first in table.frame for table in evidence.tables if table is not sample)
        if (
            not sample.frame[first].is_unique
            or is_number
            and not known
            and not first.lower().startswith(("id", "image"))
            or first.startswith("Unnamed")
        ):
            naming = [name for name, one in sample.namings.items() if one.share > 0.9 and one.is_unique]
            shared = [name for name in naming if any(name in table.frame for table in evidence.tables if table is not sample)]
            return (shared or [sample.key.column])[0]
    if not sample.frame[first].is_unique and len(sample.frame) > 1:
        unique = [name for name in others if sample.frame[name].is_unique]
        if len(unique) == 1:
            return unique[0]
    return first


def is_line_number(column: pd.Series) -> bool:
    values = column.tolist()
    return any(values == [str(number) for number in range(start, start + len(values))] for start in (0, 1))


def find_roles(
    evidence: Evidence, train: Table | None = None, sample: Table | None = None, *, is_stated: bool = False
) -> Roles:
    """The tables of the training images, of the test images, and the sample. What is stated comes in and stays."""
    rivals: tuple[Table, ...] = ()
    if not sample and not is_stated:
        sample, rivals = find_sample(evidence)
    if sample and sample is train:
        sample = None
    row = row_column(sample, evidence) if sample else ""
    asked = [str(name) for name in sample.frame if name != row] if sample else []
    rows = set(sample.frame[row]) if sample else set()
    tested = located(sample.key, evidence, "test").places if sample and sample.key else frozenset()
    scores = {
        table.file: train_score(table, evidence, tested, rows, asked, sample)
        for table in evidence.tables
        if table is not sample
    }
    if not train:
        train = max(
            (table for table in evidence.tables if scores.get(table.file, 0) >= 3),
            key=lambda table: scores[table.file],
            default=None,
        )
    others = [table for table in evidence.tables if table is not sample and table is not train]
    test = find_test(others, sample, row, rows, evidence)
    return Roles(train, test, sample, rivals, tested)


def train_score(
    table: Table,
    evidence: Evidence,
    tested: frozenset[int],
    rows: set[str],
    asked: list[str],
    sample: Table | None,
) -> float:
    """How much speaks for the table of the training images: images that are not the test's, the columns or cells that the sample has,
    its name."""
    key, frame = table.key, table.frame
    labels = [
        name
        for name in frame
        if (not key or name != key.column)
        and (name in asked or not is_constant(frame[name]) and not is_line_number(frame[name]))
    ]
    if not labels:
        return -10
    score = train_name_score(table)
    own = [[p for p in row if p not in tested and evidence.parts[p] != "test"] for row in key.places] if key else []
    share = sum(map(bool, own)) / max(len(frame), 1)
    if sample and key and rows and share < 0.5 and key.column in sample.frame and "train" not in table.name:
        score -= 4
    if key and share >= 0.1:
        in_train = sum(any(evidence.parts[place] == "train" for place in row) for row in own) / len(frame)
        score += 4 * share + in_train + (min(1.0, len({row[0] for row in own if row}) / 1000) if share >= 0.5 else 0)
    if {*asked} & {*labels}:
        return score + (4 if share else 3)
    if len(asked) > 1:
        small = [name for name in labels if frame[name].nunique() < 20_000]
        return score + (3 if any(len({*asked} & {*frame[name]}) > 0.5 * len(asked) for name in small) else 0)
    cells = sample.frame[asked[0]].unique()[:500] if asked and sample else []
    words = {word for cell in cells for word in cell.split()}
    return score + (1 if words and any(words <= {*frame[name]} for name in labels) else 0)


def train_name_score(table: Table) -> float:
    """What the file's name says, which breaks ties."""
    name, score = table.name, -0.2 * table.file.count("/")
    for pattern, points in (
        (TRAIN_NAME, 2.0),
        (SAMPLE_NAME, -3.0),
        (r"(?<![a-z])val(id)?", -1.0),
        ("extra|example|mini|small|tiny", -0.5),
    ):
        score += points if re.search(pattern, name) else 0
    return score - (2 if re.search(TEST_NAME, name) and "train" not in name else 0)


def find_test(
    others: list[Table], sample: Table | None, row: str, rows: set[str], evidence: Evidence
) -> Table | None:
    """The table that holds the sample's rows and says more of them; without a sample, the one that names images of the test part."""
    fitting = []
    for table in others:
        if sample:
            holds = [
                column
                for column in table.frame
                if len(rows) <= len(table.frame) * 2 and len(rows & {*table.frame[column]}) >= 0.5 * len(rows)
            ]
            if holds and (row in table.frame or table.key):
                fitting.append(
                    (row in holds, bool(re.search(TEST_NAME, table.name)), len(table.frame.columns), table)
                )
        elif table.key and table.key.share >= 0.5:
            parts = parts_named(table, evidence)
            if (
                parts["test"] >= 0.5
                and parts["test"] > parts["train"]
                or re.search(TEST_NAME, table.name)
                and parts["train"] < 0.5
            ):
                fitting.append(
                    (True, bool(re.search(TEST_NAME, table.name)), len(table.frame.columns), table)
                )
    return max(fitting, key=lambda entry: entry[:3], default=(None,))[-1]
