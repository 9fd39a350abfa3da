"""Check a run's model and recipe before they cost hours: a line per check, and on failure what to change.
runs/<name>/ -> doctor/*.png

Run: python -m src.extras.doctor runs/<name> [--quick] [--quiet] [--json]        exit code 1 when a check fails
"""

import contextlib
import io
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from src.config import Settings
from src.extras.doctor.budget import BUDGET
from src.extras.doctor.case import Case, Check
from src.extras.doctor.data import BEFORE, LABELS
from src.extras.doctor.learning import LEARNING, LOSS
from src.extras.doctor.network import MODEL, shapes
from src.extras.doctor.pictures import PICTURES
from src.extras.doctor.rate import RATE
from src.extras.doctor.scoring import SCORING
from src.extras.findings import Finding, arguments, fail, report
from src.run import configure, process, sources
from src.run.paths import RunPaths
from src.training.loop import NotFinite

# where one of these fails, the others have nothing to look at
NEEDED: dict[str, Check] = BEFORE | {"shapes": shapes}
QUICK: dict[str, Check] = LABELS | SCORING | MODEL | LOSS | BUDGET  # seconds: before every training
# a minute: make doctor. Add yours: a function (Case) -> Finding, a word here
FULL: dict[str, Check] = QUICK | PICTURES | LEARNING | RATE


def examine(settings: Settings, paths: RunPaths, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Each check's finding, as soon as it is made; a mistake that breaks several checks is told once."""
    case, told = Case(settings, paths), set()
    for name, check in (NEEDED | dict(checks)).items():
        # the core's own remarks come in training
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            finding = attempt(check, case)._replace(check=name)
        if finding.level == "pass" or finding.seen not in told:
            yield finding
        told.add(finding.seen)
        if finding.level == "FAIL" and name in NEEDED:
            return


def attempt(check: Check, case: Case) -> Finding:
    """The finding; what the core or one's own code raises is one too, with its message and place."""
    try:
        return check(case)
    except NotFinite as error:
        return fail(
            f"{error}; images {[case.job.table['id'][i] for i in error.rows]}",
            "lower lr, set clip_grad=1; see the check loss",
        )
    except Exception as error:
        frames = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if Path(f.filename).resolve().is_relative_to(sources.SRC)
        ]
        own = [f for f in frames if "doctor" not in Path(f.filename).parts] or frames
        where = (
            f"{Path(own[-1].filename).resolve().relative_to(sources.SRC.parent)}:{own[-1].lineno}"
            if own
            else "the code it calls"
        )
        if isinstance(error, ValueError) and own:
            return fail(str(error), f"as the message says ({where})")
        return fail(f"{type(error).__name__}: {error}", f"look at {where}, and at what calls it")


def main() -> None:
    given = arguments("src.extras.doctor", __doc__)
    paths = RunPaths(given.run)
    findings = examine(configure.load(paths.config), paths, QUICK if given.quick else FULL)
    report(findings, "doctor", quiet=given.quiet, as_json=given.json)


if __name__ == "__main__":
    process.main(main)
