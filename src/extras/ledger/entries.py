"""The complete submissions of the ledger, as numbers."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from src.competition.metrics import LOWER_IS_BETTER
from src.run.ledger import LATE, Row


class Entry(NamedTuple):
    """Scores are turned so that higher is better: times sign. nan where the ledger has none."""

    name: str  # of the csv, without .csv
    sha256: str
    oof: float
    folds: tuple[float, ...]
    fold_hash: str
    public: float
    private: float
    oof_rows: float
    test_rows: float
    is_sent: bool
    is_late: bool
    sign: int = 1  # -1 where the metric's lower is better


def entries_of(rows: Iterable[Row]) -> list[Entry]:
    """One for each csv of all folds, in the ledger's order: an equal csv of another run is the same entry."""
    entries = {row["sha256"]: entry_of(row) for row in reversed([*rows])}
    return [entry for entry in reversed(entries.values()) if math.isfinite(entry.oof)]


def entry_of(row: Row) -> Entry:
    sign = -1 if is_lower_better(row) else 1
    return Entry(
        name=row["submission"].removesuffix(".csv"),
        sha256=row["sha256"],
        oof=sign * number(row["oof"]),
        folds=tuple(sign * number(score) for score in row["fold_scores"].split()),
        fold_hash=row["fold_hash"],
        public=sign * number(row["public"]),
        private=sign * number(row["private"]),
        oof_rows=number(row["oof_rows"]),
        test_rows=number(row["test_rows"]),
        is_sent=bool(row["ref"] or row["public"] or row["private"]),
        is_late=row["note"].startswith(LATE),
        sign=sign,
    )


def is_lower_better(row: Row) -> bool:
    """As the line says; one of an earlier version does not, and goes by the metric's name."""
    return row["better"] == "lower" or (not row["better"] and row["metric"] in LOWER_IS_BETTER)


def number(text: str) -> float:
    """Of a cell, also one filled in by hand with a decimal comma; nan for any other text."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan
