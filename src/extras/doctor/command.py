"""Check a run's model and recipe before they cost hours: a line per check, and on failure what to change.
runs/<name>/ -> doctor/*.png

Run: python -m src doctor runs/<name> [--quick] [--quiet] [--json]        exit code 1 when a check fails
"""

import contextlib
import io
import traceback
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

from src.data.run import Run
from src.extras.doctor.budget import BUDGET
from src.extras.doctor.data import BEFORE, LABELS
from src.extras.doctor.learning import LEARNING, LOSS
from src.extras.doctor.network import MODEL, shapes
from src.extras.doctor.pictures import PICTURES
from src.extras.doctor.rate import RATE
from src.extras.doctor.scoring import SCORING
from src.extras.doctor.setup import Check, Setup
from src.extras.findings import Finding, fail, report
from src.extras.findings import add_options as add_options  # of this command
from src.run import sources
from src.training.loop import NotFinite

# where one of these fails, the others have nothing to look at
NEEDED: dict[str, Check] = BEFORE | {"shapes": shapes}
QUICK: dict[str, Check] = LABELS | SCORING | MODEL | LOSS | BUDGET  # seconds: before every training
# a minute: make doctor. Add yours: a function (Setup) -> Finding, a word here
FULL: dict[str, Check] = QUICK | PICTURES | LEARNING | RATE


def examine(run: Run, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Each check's finding, as soon as it is there; a mistake that breaks several checks is reported once."""
    setup, messages = Setup(run), set()
    for name, check in (NEEDED | dict(checks)).items():
        # what the core prints itself is for the training
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            finding = attempt(check, setup)._replace(check=name)
        if finding.level == "pass" or finding.seen not in messages:
            yield finding
        messages.add(finding.seen)
        if finding.level == "FAIL" and name in NEEDED:
            return


def attempt(check: Check, setup: Setup) -> Finding:
    """The finding. An error of the core or of the user's own code is one too, with its message and place."""
    try:
        return check(setup)
    except NotFinite as error:
        ids = [setup.table["id"][i] for i in error.rows]
        return fail(f"{error}; images {ids}", f"{error.advice}; see the check loss")
    except Exception as error:
        place = place_of(error)
        if isinstance(error, ValueError) and place:
            return fail(str(error), f"as the message says ({place})")
        where = place or "the code it calls"
        return fail(f"{type(error).__name__}: {error}", f"look at {where}, and at what calls it")


def place_of(error: Exception) -> str:
    """The file and line in src/ that raised it, if possible not one of the doctor's; "" if there is none."""
    frames = [(Path(f.filename).resolve(), f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    frames = [(file, number) for file, number in frames if file.is_relative_to(sources.SRC)]
    frames = [(file, number) for file, number in frames if "doctor" not in file.parts] or frames
    if not frames:
        return ""
    file, number = frames[-1]
    return f"{file.relative_to(sources.SRC.parent)}:{number}"


def command(run: Run, options: Namespace) -> None:
    findings = examine(run, QUICK if options.quick else FULL)
    report(findings, "doctor", quiet=options.quiet, as_json=options.json, skip=options.skip)
