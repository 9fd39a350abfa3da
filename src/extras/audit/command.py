"""Check a competition's data: files, classes, copies and leaks, labels, and the test beside train.
runs/<name>/ -> audit/*, groups.csv

Run: python -m src audit runs/<name> [--quick] [--quiet] [--json]        exit code 1 when a check fails
"""

import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping

from src.data.run import Run
from src.extras.audit.classes import CLASSES
from src.extras.audit.copies import COPIES, NEAR_COPIES
from src.extras.audit.dataset import Dataset
from src.extras.audit.drift import DRIFT
from src.extras.audit.files import FILES
from src.extras.audit.groups import GROUPS
from src.extras.audit.label_noise import LABEL_NOISE
from src.extras.audit.learning_curve import LEARNING_CURVE
from src.extras.audit.shortcuts import FILE_SHORTCUTS, ORDER
from src.extras.findings import Finding, report, warn
from src.extras.findings import add_options as add_options  # of this command

Check = Callable[[Dataset], Iterator[Finding]]
# QUICK: seconds, before every training, from what is known of the images. FULL: minutes once, make audit.
# Add yours: a function (Dataset) -> findings, a word here.
QUICK: dict[str, Check] = {**CLASSES, **GROUPS, **COPIES, **ORDER, **FILES}
FULL: dict[str, Check] = {**QUICK, **FILE_SHORTCUTS, **LEARNING_CURVE, **DRIFT, **NEAR_COPIES, **LABEL_NOISE}


def examine(data: Dataset, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Each check's findings, as they come. What is missing (weights, say) is reported only once."""
    messages = set()
    for name, check in checks.items():
        try:
            for finding in check(data):
                yield finding._replace(check=finding.check or name)
        except ValueError as error:
            if str(error) not in messages:
                yield warn(f"not checked: {error}", "as the message says", name)
            messages.add(str(error))


def command(run: Run, options: Namespace) -> None:
    # Pillow warns of odd EXIF data; no picture is lost by it
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    # a probe need not be the best one
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")
    findings = examine(Dataset(run, quick=options.quick), QUICK if options.quick else FULL)
    report(findings, "audit", quiet=options.quiet, as_json=options.json, skip=options.skip)
