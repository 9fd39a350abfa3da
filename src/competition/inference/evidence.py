"""What a competition's tables say of its images: two records, an index of the images and a list of tables,
and which column names which images.

Everything is read once; the functions below are pure.
"""

import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

from src.competition import formats
from src.competition.formats import COLUMN, TABLES
from src.competition.listing import IMAGE_SUFFIXES, ImageIndex, host_files, only_images, without_suffix

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
        """The column that names images: most rows first, then a path before a number that happens to name
        one, then different images. Few different cells, such as labels 0 and 1 beside images 0.png and 1.png,
        are none.
        """
        enough = [
            n
            for n in self.namings.values()
            if n.is_unique or n.images >= (0.05 if n.is_path else 0.3) * n.rows
        ]
        some = [n for n in enough if n.share >= 0.5] or enough
        return max(
            some,
            key=lambda n: (
                n.share >= 0.5,
                n.is_path and n.images > 0.2 * n.rows,
                n.is_unique,
                n.images,
                n.share,
            ),
            default=None,
        )


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
    """train, test or valid, by the deepest folder that says one at the beginning of a word (not contest,
    intestine); "" when none does.
    """
    for name in reversed(folder.split("/")):
        if words := re.findall(r"(?:(?<![A-Za-z])|(?=[A-Z]))(?i:train|test|eval|valid|val(?![a-z]))", name):
            return PART_WORDS[words[-1].lower()]
        if words := [word for word in PART_WORDS if not word.isascii() and word in name]:
            return PART_WORDS[words[-1]]
    return ""


def inner_copies(root: Path, images: list[str]) -> set[str]:
    """Folders that hold what lies one level higher as well, byte for byte, as some archives do: train/train
    beside train.
    """
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


def naming(
    name: str, values: list[str], places: list[list[int]], prefix: str = "", suffix: str = "", width: int = 0
) -> Naming:
    some = [value for value in values[:: max(1, len(values) // 1000)] if value]
    is_path = sum(
        value.strip().lower().endswith(IMAGE_SUFFIXES) or "/" in value or "\\" in value for value in some
    ) > 0.5 * len(some)
    images = len({row[0] for row in places if row})
    is_unique = len(set(values)) == len(values)
    return Naming(
        name, places, sum(map(bool, places)), images, is_path, is_unique, values, prefix, suffix, width
    )


def with_affixes(frame: pd.DataFrame, index: ImageIndex) -> dict[str, Naming]:
    """The first columns of a table that names no image: those whose cells do when the same text stands before
    or after them, or zeros. Where several texts do (12_red, 12_green), a naming each.
    """
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
