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
LATIN_WORD = r"(?:(?<![A-Za-z])|(?=[A-Z]))(?i:train|test|eval|valid|val(?![a-z]))"  # not contest, intestine
PARTS = {
    "train": "train training 학습 훈련 训练 訓練 学習",
    "test": "test eval 테스트 평가 测试 テスト 評価",
    "valid": "valid val 검증 验证 検証",
}
PART_WORDS = {word: part for part, words in PARTS.items() for word in words.split()}


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
    def least_images(self) -> float:
        """Fewer different images are named by chance, as by labels 0 and 1 beside images 0.png and 1.png."""
        return (0.05 if self.is_path else 0.3) * self.rows

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

    @property
    def names_images(self) -> bool:
        """Do half of the rows name an image?"""
        return self.key is not None and self.key.share >= 0.5

    @property
    def num_rows(self) -> int:
        """The rows that name an image."""
        return self.key.rows if self.key else 0

    @cached_property
    def key(self) -> Naming | None:
        """The column that names images: for half of the rows; then a path before a number that happens to
        name one, then different images.
        """

        def rank(naming: Naming) -> tuple:
            is_path = naming.is_path and naming.images > 0.2 * naming.rows
            return naming.share >= 0.5, is_path, naming.is_unique, naming.images, naming.share

        namings = [n for n in self.namings.values() if n.is_unique or n.images >= n.least_images]
        return max(namings, key=rank, default=None)


class Evidence:
    """The files, the images with their index, and every table that is small enough to be one."""

    def __init__(self, root: Path, any_file: bool = False) -> None:
        self.root = root
        self.files = host_files(root)
        files = self.files
        if any_file:
            files = [file for file in files if not file.lower().endswith(TABLES)]
        images = only_images(files, any_file)
        copies = inner_copies(root, images)
        self.images = [file for file in images if posixpath.dirname(file) not in copies]
        self.index = ImageIndex(self.images)
        self.parts = [part_of(posixpath.dirname(file)) for file in self.images]
        self.skipped: dict[str, str] = {}  # file -> why it was not read as a table
        self.tables = [table for file in self.table_files() if (table := self.read(file))]

    def table_files(self) -> list[str]:
        """Not the readme, nor files of which there is one per image."""

        def kind(file: str) -> tuple[str, str]:
            return posixpath.dirname(file), posixpath.splitext(file)[1].lower()

        counts = Counter(map(kind, self.files))
        files = [file for file in self.files if file.lower().endswith(TABLES)]
        return [file for file in files if "readme" not in file.lower() and counts[kind(file)] <= MANY_FILES]

    def read(self, file: str) -> Table | None:
        """The table, or None for what is none; what breaks is kept in `skipped`."""
        try:
            frame = formats.read_table(self.root / file)
            if len(frame.columns) > formats.MOST_COLUMNS:
                name = posixpath.basename(file)
                raise ValueError(f"{name} has {len(frame.columns)} columns, as pixels have")
            if has_no_header(frame, self.index):
                frame = formats.read_table(self.root / file, header=False)
        except (ValueError, RecursionError, MemoryError) as error:
            self.skipped[file] = str(error)
            return None
        header = tuple(map(str, frame.columns))
        frame = frame.rename(columns=lambda name: str(name).strip())
        namings = {name: naming for name in frame if (naming := naming_of(frame[name], self.index))}
        return Table(file, frame, header, namings or with_affixes(frame, self.index))

    def table(self, file: str) -> Table | None:
        return next((table for table in self.tables if table.file == file), None)


@cache
def part_of(folder: str) -> str:
    """train, test or valid, by the last word of the deepest folder that has one; "" when none has."""
    for name in reversed(folder.split("/")):
        words = re.findall(LATIN_WORD, name)
        words = words or [word for word in PART_WORDS if not word.isascii() and word in name]
        if words:
            return PART_WORDS[words[-1].lower()]
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
        step = max(1, len(own) // 20)
        if known.issuperset(twins) and have_same_bytes(root, own[::step], twins[::step]):
            copies |= {posixpath.dirname(file) for file in own}
    return copies


def have_same_bytes(root: Path, files: list[str], others: list[str]) -> bool:
    return all((root / a).read_bytes() == (root / b).read_bytes() for a, b in zip(files, others))


# -- which images a column names


def has_no_header(frame: pd.DataFrame, index: ImageIndex) -> bool:
    """Does the first line name an image, as the cells below it do?"""
    for place, name in enumerate(map(str, frame.columns)):
        if not name or name.startswith(COLUMN):
            continue
        if name.lower().endswith(IMAGE_SUFFIXES):
            return True
        cells = [cell for cell in frame.iloc[:50, place] if cell]
        if index.named(name) and 2 * sum(bool(index.named(cell)) for cell in cells) > len(cells):
            return True
    return False


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
    """prefix, suffix: what stands before and after the cell in the file's name; width: of its zeros."""
    some = [value for value in values[:: max(1, len(values) // 1000)] if value]
    num_paths = sum(
        value.strip().lower().endswith(IMAGE_SUFFIXES) or "/" in value or "\\" in value for value in some
    )
    return Naming(
        column=name,
        places=places,
        rows=sum(map(bool, places)),
        images=len({row[0] for row in places if row}),
        is_path=num_paths > 0.5 * len(some),
        is_unique=len(set(values)) == len(values),
        values=values,
        prefix=prefix,
        suffix=suffix,
        width=width,
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
    """The namings by a text before or after the cells, or by zeros; none where that isn't so for
    nearly all.
    """
    values = column.tolist()
    distinct = list(dict.fromkeys(value for value in values if value))
    if len(distinct) < 0.9 * len(values) or len(distinct) < 3:
        return []
    found = []
    for prefix, suffix, width in affixes(distinct, index):
        stems = [prefix + without_suffix(value).zfill(width) + suffix for value in values]
        places = [index.of_stem(stem.casefold()) for stem in stems]
        if sum(map(bool, places)) >= 0.9 * len(values):
            found.append(naming(str(column.name), values, places, prefix=prefix, suffix=suffix, width=width))
    return found


def affixes(values: list[str], index: ImageIndex) -> list[tuple[str, str, int]]:
    """(before, after, width) that may turn a cell into the name of an image, the most frequent first."""
    stems = [posixpath.splitext(posixpath.basename(file))[0] for file in index.files]
    if all(value.isdecimal() for value in values):
        return affixes_of_numbers(stems, len(values))
    some = values[:5]
    counts: Counter[tuple[str, str]] = Counter()
    for value in some:
        counts.update(stem.partition(value)[::2] for stem in stems if value in stem)
    return [(*around, 0) for around, count in counts.most_common(4) if count >= 0.6 * len(some)]


def affixes_of_numbers(stems: list[str], num_values: int) -> list[tuple[str, str, int]]:
    widths: dict[tuple[str, str], list[int]] = {}
    for stem in stems:
        for run in re.finditer(r"\d+", stem):
            widths.setdefault((stem[: run.start()], stem[run.end() :]), []).append(len(run[0]))
    most = sorted(widths.items(), key=lambda item: -len(item[1]))[:8]
    return [
        (*around, lengths[0] if len({*lengths}) == 1 else 0)
        for around, lengths in most
        if len(lengths) >= 0.1 * num_values
    ]
