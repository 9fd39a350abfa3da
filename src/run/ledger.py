"""The ledger: a line per differing submission of each run, for ever. The place to write down what the
leaderboard said.
"""

import csv
import io
from pathlib import Path

from src.run import locks
from src.run.files import write_text

# the last two are yours to fill in
COLUMNS = ("when", "submission", "metric", "oof", "spread", "folds", "commit", "sha256", "public", "private")


def add_to_ledger(path: Path, note: dict) -> None:
    """Add a submission by the note beside its csv, unless it is there already."""
    with locks.lock(path.with_name(f"{path.name}.lock"), wait=True):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        key = (note["submission"], note["sha256"])
        lines = csv.DictReader(io.StringIO(text))
        if any((line.get("submission"), line.get("sha256")) == key for line in lines):
            return
        if text and not text.endswith("\n"):
            text += "\n"
        # not appended: a full disk must not tear it
        write_text(text + as_line(note, header=not text), path)


def as_line(note: dict, *, header: bool) -> str:
    scores = {name: f"{note[name]:.5f}" for name in ("oof", "spread") if name in note}
    folds = note.get("partial", len(note.get("folds", {})))
    line = io.StringIO()
    writer = csv.DictWriter(line, COLUMNS, extrasaction="ignore", restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerow(note | scores | {"folds": folds})
    return line.getvalue()
