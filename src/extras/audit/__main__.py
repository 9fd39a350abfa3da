"""Check a competition's data: files, classes, copies and leaks, labels, and the test beside train.
runs/<name>/ -> audit/*, groups.csv

Run: python -m src.extras.audit runs/<name> [--quick] [--quiet] [--json]        exit code 1 when a check fails
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping

from src.extras.audit.case import Case
from src.extras.audit.copies import COPIES, NEAR
from src.extras.audit.counts import COUNTS
from src.extras.audit.files import FILES
from src.extras.audit.noise import NOISE
from src.extras.audit.probe import PROBES
from src.extras.audit.shortcuts import SHORTCUTS, SIZES
from src.extras.findings import Finding, arguments, report, warn
from src.run import configure, process
from src.run.paths import RunPaths

Check = Callable[[Case], Iterator[Finding]]
# Seconds, before every training: of the images, what is remembered. Then minutes once. Add yours: a function
# (Case) -> findings, a word here.
QUICK: dict[str, Check] = {**COUNTS, **COPIES, **SHORTCUTS, **FILES}
FULL: dict[str, Check] = {**QUICK, **SIZES, **PROBES, **NEAR, **NOISE}


def examine(case: Case, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Each check's findings, as soon as they are made. What is missing (weights, say) is told once, by the
    first check that needs it.
    """
    told = set()
    for name, check in checks.items():
        try:
            for finding in check(case):
                yield finding._replace(check=finding.check or name)
        except ValueError as error:
            if str(error) not in told:
                yield warn(f"not checked: {error}", "as the message says")._replace(check=name)
            told.add(str(error))


def main() -> None:
    given = arguments("src.extras.audit", __doc__)
    paths = RunPaths(given.run)
    case = Case(configure.load(paths.config), paths, quick=given.quick)
    report(examine(case, QUICK if given.quick else FULL), "audit", given)


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    # of odd EXIF data: no picture is lost by it
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    # a probe need not be the best one
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")
    process.main(main)
