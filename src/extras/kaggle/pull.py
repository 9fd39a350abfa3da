"""make pull: public and private scores from Kaggle into the ledger.  -> submissions/ledger.csv

A submission belongs to a csv by the hash in its description; one that was uploaded by hand, by the name of
the file and the time.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src.extras.kaggle.client import competition_of, connect, submissions_of
from src.extras.kaggle.push import LEDGER, TAG, noted
from src.run.ledger import Row, read_ledger, update_ledger


def pull(slug: str = "", ledger: Path = LEDGER) -> None:
    """Fill in the scores of one competition, or of all that something was sent to. Raises ValueError for what
    Kaggle refuses.
    """
    rows = read_ledger(ledger)
    slugs = (
        [slug] if slug else list(dict.fromkeys(row["comp"] for row in rows if row["pushed"] and row["comp"]))
    )
    if not slugs:
        raise ValueError(f"{ledger} has nothing that was sent: make push RUN=name, or make pull COMP=slug")
    api = connect()
    for one in slugs:
        facts, strangers = competition_of(api, one), []
        for submission in reversed(submissions_of(api, one)):  # the oldest first, so that the newest counts
            row = row_of(submission, one, read_ledger(ledger))
            if row is None:
                strangers.append(submission)
                continue
            update_ledger(ledger, row["sha256"], changes_of(submission, row, facts.deadline))
            print(line_of(submission, row["submission"]))
        for submission in strangers:
            print(f"{line_of(submission, submission.file_name)}; of no csv in {ledger}")


def row_of(submission: Any, slug: str, rows: list[Row]) -> Row | None:
    """The ledger's line of a submission: by the hash, else the newest of that name that was there then."""
    tag = re.search(TAG + r"([0-9a-f]{16})", submission.description)
    if tag:
        return next((row for row in rows if row["sha256"] == tag[1]), None)
    same_name = [
        row
        for row in rows
        if row["submission"] == submission.file_name
        and row["comp"] in (slug, "")
        and utc(row["when"]) <= submission.date
    ]
    return same_name[-1] if same_name else None


def utc(when: str) -> datetime:
    """A local time of the ledger in UTC, without a zone as Kaggle's are; "" is long ago."""
    return datetime.fromisoformat(when).astimezone(UTC).replace(tzinfo=None) if when else datetime.min


def changes_of(submission: Any, row: Row, deadline: datetime | None) -> Row:
    """What the ledger learns; a score that Kaggle does not show yet empties no cell."""
    changes = {
        "pushed": f"{submission.date:%Y-%m-%dT%H:%M:%S}",
        "ref": str(submission.ref),
        "public": submission.public_score,
        "private": submission.private_score,
        "note": noted(row["note"], submission.date, deadline),
    }
    if submission.status.name == "ERROR":
        reason = f"refused: {submission.error_description or 'no reason given'}"
        if reason not in changes["note"]:
            changes["note"] = "; ".join(filter(None, [changes["note"], reason]))
        changes |= {"ref": "", "pushed": ""}  # it may be sent again
    return {name: value for name, value in changes.items() if value or name in ("ref", "pushed")}


def line_of(submission: Any, name: str) -> str:
    """A submission as it is printed."""
    status = submission.status.name
    if status == "ERROR":
        return f"{name}  {submission.ref}  refused: {submission.error_description}; see the file's format"
    if status == "PENDING":
        return f"{name}  {submission.ref}  is being scored: make pull again"
    public, private = submission.public_score or "-", submission.private_score or "-"
    return f"{name}  {submission.ref}  public {public}  private {private}"
