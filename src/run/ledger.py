"""The ledger: a line per differing csv of each run, for ever. It remembers what was sent and what the
leaderboard said; `make ledger` reads it.

Lines are added and filled in, never removed. A ledger of an earlier version, or with columns of your own, is
carried over.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from src.run import locks
from src.run.files import write_text

Row = dict[str, str]
COLUMNS = (
    "when",  # the csv was written
    "submission",  # its name
    "run",
    "comp",
    "metric",
    "better",  # higher or lower
    "oof",  # by a decoder that is surely better: the nested estimate
    "mean",  # of folds
    "spread",  # of folds: the standard deviation
    "nested",  # what the decoder gets on folds that it was not fitted on
    "folds",  # how many, or which alone
    "fold_scores",
    "oof_rows",  # images that the OOF score is of
    "test_rows",  # rows of the csv
    "recipe",
    "fold_hash",
    "commit",
    "sha256",  # of the csv
    # of the leaderboard: yours to fill in, or `make push` and `make pull` do it
    "pushed",  # sent, in UTC
    "ref",  # the host's number of it; empty with `pushed` while it is unknown whether it arrived
    "public",
    "private",
    "note",
)
LATE = "after the end"  # so begins the note of what was sent when the competition was over
NEEDED = ("submission", "sha256")  # without them a file is no ledger
SCORES = ("oof", "mean", "spread")
COPIED = (
    *("when", "submission", "run", "comp", "metric", "oof_rows", "test_rows"),
    *("recipe", "fold_hash", "commit", "sha256"),
)


def add_to_ledger(path: Path, note: Mapping) -> None:
    """Add a csv by the note beside it. If it is there already, only what its line lacks is filled in."""
    with locks.lock(lock_of(path), wait=True):
        rows, new = read_ledger(path), as_row(note)
        same = [row for row in rows if all(row[name] == new[name] for name in NEEDED)]
        if not same:
            write_ledger(path, [*rows, new])
        elif any(value and not same[0].get(name) for name, value in new.items()):
            same[0].update({name: value for name, value in new.items() if not same[0].get(name)})
            write_ledger(path, rows)


def update_ledger(path: Path, sha256: str, changes: Row) -> int:
    """Fill in what is known of a csv, in each line of that hash; returns how many lines there are."""
    with locks.lock(lock_of(path), wait=True):
        rows = read_ledger(path)
        same = [row for row in rows if row["sha256"] == sha256]
        if any(row.get(name, "") != value for row in same for name, value in changes.items()):
            for row in same:
                row.update(changes)
            write_ledger(path, rows)
        return len(same)


def read_ledger(path: Path) -> list[Row]:
    """Its lines in the order they were added, with all columns. Raises ValueError for another csv."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8-sig")
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","  # as some spreadsheets save it
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restval="")
    if text.strip() and not {*NEEDED} <= {*(reader.fieldnames or ())}:
        raise ValueError(
            f"{path} is no ledger, its first line lacks {' or '.join(NEEDED)}: move it away, and a new one"
            " begins"
        )
    return [complete(row) for row in reader]


def complete(row: dict) -> Row:
    """A line with all columns; cells beyond the last column belong to the note."""
    beyond = row.pop(None, None) or []
    row = dict.fromkeys(COLUMNS, "") | row
    row["note"] = ", ".join(filter(None, [row["note"], *beyond]))
    row["run"] = row["run"] or re.sub(r"(\.fold\d+)?\.csv$", "", row["submission"])
    return row


def write_ledger(path: Path, rows: list[Row]) -> None:
    """All lines at once: appended, a full disk might tear one."""
    others = [name for row in rows for name in row if name not in COLUMNS]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *dict.fromkeys(others)], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(text.getvalue(), path)


def as_row(note: Mapping) -> Row:
    """The line of a csv from the note beside it."""
    row = {name: str(note[name]) for name in COPIED if name in note}
    row |= {name: f"{note[name]:.5f}" for name in SCORES if name in note}
    folds = note.get("folds", {})
    row["folds"] = str(note.get("partial", len(folds)))
    row["fold_scores"] = " ".join(f"{score:.5f}" for score in folds.values())
    if "lower_is_better" in note:
        row["better"] = "lower" if note["lower_is_better"] else "higher"
    if "decode" in note:
        row["nested"] = f"{note['decode']['nested']:.5f}"
    return complete(row)


def lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
