"""make push RUN=x MSG="...": send a checked csv to Kaggle, once.  submissions/<run>.{csv,json} -> ledger.csv

The hash of the csv stands in the description of each submission. By it a csv that was sent is known, also by
a push that was interrupted, or that a teammate made.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.extras.kaggle.client import Unreachable, competition_of, connect, explained, submissions_of
from src.extras.kaggle.refusals import in_words
from src.run import locks
from src.run.errors import warn
from src.run.files import file_sha, read_json
from src.run.ledger import LATE, Row, add_to_ledger, read_ledger, update_ledger

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

SUBMISSIONS = Path("submissions")
LEDGER = SUBMISSIONS / "ledger.csv"
TAG = "sha-"  # before the hash, in the description
# a submission may take so long to appear in the list; a guess, Kaggle does not say
UNLISTED = timedelta(minutes=2)


def push(name: str, message: str, *, slug: str = "", take_last: bool = False) -> None:
    """Send submissions/<name>.csv unless it was sent before. Raises ValueError with the reason where it is
    not sent.

    slug: of the competition, where it is not the name of its folder; take_last: also the day's last.
    """
    csv, note = checked_csv(name)
    slug = slug or note["comp"]
    if slug == "demo":
        raise ValueError(f"{csv} is of the demo, which is no competition of Kaggle's")
    with locks.lock(SUBMISSIONS / f".{note['sha256']}.push.lock") as holder:
        if holder:
            raise ValueError(f"{csv} is being sent by {holder}: wait for it")
        row = unsent_row(csv, note)
        api = connect()
        facts = competition_of(api, slug)
        check_open(facts, slug)
        if has_arrived(csv, row, find(submissions_of(api, slug), note["sha256"]), facts.deadline):
            return
        check_settled(csv, row["pushed"])
        left = check_limit(api, slug, take_last=take_last)
        ref = send(api, slug, csv, note["sha256"], message or default_message(note))
        remark = "; ".join(filter(None, [row["note"], message]))
        record(note["sha256"], now(), ref, facts.deadline, remark)
    left_words = "" if left is None else f", {left - 1} more today"
    print(f"{csv} -> {slug} as {ref}{left_words}; its score: make pull")


def unsent_row(csv: Path, note: dict) -> Row:
    """The ledger's line of a csv. Raises ValueError where it says that the csv was sent."""
    add_to_ledger(LEDGER, note)
    row = next(row for row in read_ledger(LEDGER) if row["sha256"] == note["sha256"])
    if row["ref"]:
        score = row["public"] or "not fetched: make pull"
        raise ValueError(f"{csv} was sent already: on {row['pushed']} UTC as {row['ref']}, public {score}")
    return row


def has_arrived(csv: Path, row: Row, earlier: Any, deadline: datetime | None) -> bool:
    """Did an interrupted push bring the csv to Kaggle after all? Then the ledger is told. Raises ValueError
    where it was sent in another way.
    """
    if earlier is None:
        return False
    record(row["sha256"], earlier.date, earlier.ref, deadline, row["note"])
    if not row["pushed"]:
        raise ValueError(f"{csv} was sent already: on {earlier.date:%Y-%m-%d %H:%M} UTC as {earlier.ref}")
    print(f"{csv}: the push that was interrupted had arrived, as {earlier.ref}; not sent again")
    return True


def checked_csv(name: str) -> tuple[Path, dict]:
    """The csv and the note beside it. Raises ValueError for one that was not checked, or not whole."""
    csv, path = SUBMISSIONS / f"{name}.csv", SUBMISSIONS / f"{name}.json"
    if not (csv.exists() and path.exists()):
        raise ValueError(f"{csv} is not here: make submit RUN={name} first")
    note = read_json(path)
    if "partial" in note:
        raise ValueError(
            f"{csv} is partial ({note['partial']}): make submit RUN={note['run']} takes all folds"
        )
    if file_sha(csv) != note["sha256"]:
        raise ValueError(
            f"{csv} is not the csv that was checked, it has changed since: make submit RUN={name} FORCE=1"
        )
    return csv, note


def check_open(facts: Any, slug: str) -> None:
    """Raises ValueError where the competition takes no csv, and warns where it will not take ours."""
    reasons = {"notebooks": facts.is_kernels_submissions_only, "closed": facts.submissions_disabled}
    for cause, holds in reasons.items():
        if holds:
            raise ValueError(f"{slug}: nothing is sent, {in_words(cause, slug)}")
    if not facts.user_has_entered:  # its own word counts: the next answers say so, too
        warn(f"{slug}: Kaggle says that {in_words('rules', slug)}")
    if is_late(now(), facts.deadline):
        warn(f"{slug} ended on {facts.deadline:%Y-%m-%d %H:%M} UTC: this gets a score and no rank")


def find(submissions: list[Any], sha256: str) -> Any:
    """The submission of this csv by the hash in its description, or None; one that Kaggle refused is none."""
    same = [one for one in submissions if TAG + sha256 in one.description and one.status.name != "ERROR"]
    return same[0] if same else None


def check_settled(csv: Path, pushed: str) -> None:
    """Raises ValueError where a push has begun so recently that Kaggle may not list it yet."""
    if pushed and now() - datetime.fromisoformat(pushed) < UNLISTED:
        raise ValueError(
            f"{csv}: a push began at {pushed} UTC and was interrupted, and Kaggle does not list it yet: the"
            f" same command in {UNLISTED.seconds // 60} minutes looks again, and sends it if it is not there"
        )


def check_limit(api: "KaggleApi", slug: str, *, take_last: bool) -> int | None:
    """How many submissions are left today; None where Kaggle does not say. Raises ValueError for none, or for
    the last where nobody agrees.
    """
    with explained(slug, "count your submissions to", api):
        limits = api.competition_get_submission_limits(slug)
    left = limits.num_allowed_now
    if not (limits.num_total or left):  # without a team all numbers are 0
        return None
    if left == 0:
        raise ValueError(f"{slug}: nothing is sent, {in_words('limit', slug)}")
    if (
        left == 1
        and not take_last
        and not agreed(f"{slug}: this is the last submission of today. Send it? [y/N] ")
    ):
        raise ValueError(
            f"{slug}: nothing is sent, it would be the last submission of today: LAST=1 sends it"
        )
    return left


def agreed(question: str) -> bool:
    """Does someone at a terminal say yes?"""
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")


def send(api: "KaggleApi", slug: str, csv: Path, sha256: str, message: str) -> int:
    """Upload and submit; returns Kaggle's number. The ledger says `pushed` from before it is sent: where the
    answer is lost, the next push looks for it. Raises ValueError, and then it was not sent, or Unreachable.
    """
    update_ledger(LEDGER, sha256, {"pushed": f"{now():%Y-%m-%dT%H:%M:%S}"})
    try:
        with explained(slug, "submit to", api):
            answer = api.competition_submit(str(csv), f"{message} {TAG}{sha256}", slug, quiet=True)
        if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
            raise ValueError(f"{csv}: the upload broke off, nothing was sent: the same command tries again")
    except Unreachable:
        raise
    except ValueError:
        update_ledger(LEDGER, sha256, {"pushed": ""})
        raise
    return answer.ref


def default_message(note: dict) -> str:
    return f"{note['run']} OOF {note['oof']:.4f}"


def record(sha256: str, date: datetime, ref: int, deadline: datetime | None, note: str) -> None:
    """Write into the ledger that a csv has arrived, and whether the competition was over."""
    changes = {"pushed": f"{date:%Y-%m-%dT%H:%M:%S}", "ref": str(ref), "note": noted(note, date, deadline)}
    update_ledger(LEDGER, sha256, changes)


def noted(note: str, date: datetime, deadline: datetime | None) -> str:
    """The note, which begins with "after the end" where it was sent then."""
    if not is_late(date, deadline) or note.startswith(LATE):
        return note
    return f"{LATE}; {note}" if note else LATE


def is_late(date: datetime, deadline: datetime | None) -> bool:
    return deadline is not None and date > deadline


def now() -> datetime:
    """UTC, without a zone, as Kaggle's dates are."""
    return datetime.now(UTC).replace(tzinfo=None)
