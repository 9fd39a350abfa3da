"""What a page is made of: sections of figures, tables and sentences. The template lays them out."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from markupsafe import Markup


class Cell(NamedTuple):
    """A table's cell. sort: what it is sorted by, where that is not its text."""

    text: str
    sort: float | str | None = None
    link: str = ""
    share: float | None = None  # 0..1: a bar behind the text
    mark: str = ""  # good or bad: its colour, beside the words that say so
    picture: Markup = Markup()


class Table(NamedTuple):
    """A table that scrolls by itself where the screen is narrow. numeric: the columns that hold numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: frozenset[int] = frozenset()
    is_sortable: bool = True
    can_filter: bool = False
    first: int = 12  # rows that are shown at first, the others behind a button
    kind: str = "table"


class Figure(NamedTuple):
    """A drawing with its caption; a sentence says what there is to see."""

    drawing: Markup
    caption: str
    legend: Sequence[tuple[str, str]] = ()  # (class of the colour, name)
    kind: str = "figure"


class Note(NamedTuple):
    """A sentence. level: "", good, or bad."""

    text: str
    level: str = ""
    kind: str = "note"


class Facts(NamedTuple):
    """Pairs of a name and a value, as on a data sheet."""

    pairs: Sequence[tuple[str, str]]
    kind: str = "facts"


class Own(NamedTuple):
    """A block that a template of the extra draws from `data`."""

    template: str
    data: dict
    kind: str = "own"


class Row(NamedTuple):
    """Blocks side by side, where the screen is wide enough."""

    blocks: Sequence[Table | Figure | Own]
    kind: str = "row"


Block: TypeAlias = Table | Figure | Row | Note | Facts | Own


class Section(NamedTuple):
    id: str
    title: str
    sentence: str
    blocks: Sequence[Block]


def number(value: float, digits: int = 4) -> Cell:
    """A cell with a number; a dash for one that is not known."""
    if value != value:
        return Cell("–", float("-inf"))
    return Cell(f"{value:.{digits}f}", float(value))


def signed(value: float, digits: int = 4) -> Cell:
    if value != value:
        return Cell("–", float("-inf"))
    return Cell(f"{value:+.{digits}f}", float(value))


def duration(seconds: float) -> str:
    """3.1 s, 47 s, 10 min, 2.5 h"""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
