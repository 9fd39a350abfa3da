"""A check's finding: pass, warn or FAIL, what was seen, what to change. Shared by the extras that check
something; no core file imports it.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from src.run.errors import CheckFailed


class Finding(NamedTuple):
    level: str  # pass, warn or FAIL
    seen: str
    change: str = ""  # the setting or the place in the code, and what to write there
    check: str = ""  # its name; whoever calls the check fills it in where it is missing


def good(seen: str, change: str = "", check: str = "") -> Finding:
    return Finding("pass", seen, change, check)


def warn(seen: str, change: str, check: str = "") -> Finding:
    return Finding("warn", seen, change, check)


def fail(seen: str, change: str, check: str = "") -> Finding:
    return Finding("FAIL", seen, change, check)


def some(names: Iterable[object], number: int = 3) -> str:
    """The first of many names, and how many more there are."""
    told = [str(name) for name in names]
    return ", ".join(told[:number]) + (f" and {len(told) - number} more" if len(told) > number else "")


def line(finding: Finding) -> str:
    change = (
        f"\n{'':25}{'change' if finding.level != 'pass' else 'advice'}: {finding.change}"
        if finding.change
        else ""
    )
    return f"{finding.level:4}  {finding.check:18} {finding.seen}{change}"


def arguments(module: str, doc: str) -> argparse.Namespace:
    """run (a folder), quick, quiet and json, as every command that checks something takes them."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--quick", action="store_true", help="what takes seconds")
    parser.add_argument("--quiet", action="store_true", help="say nothing of what is in order")
    parser.add_argument(
        "--json", action="store_true", help="one list of objects with level, seen, change, check"
    )
    return parser.parse_args()


def report(findings: Iterable[Finding], what: str, given: argparse.Namespace) -> None:
    """Print each finding as soon as it is made, or all as one json list. Raises CheckFailed when one fails."""
    began, made = time.perf_counter(), []
    for finding in findings:
        made.append(finding)
        if not given.json and not (given.quiet and finding.level == "pass"):
            print(line(finding), flush=True)
    if given.json:
        print(json.dumps([finding._asdict() for finding in made], indent=2, ensure_ascii=False))
    failed = [finding.check for finding in made if finding.level == "FAIL"]
    warned = sum(finding.level == "warn" for finding in made)
    passed = len(made) - len(failed) - warned
    told = (
        f"{what}: {len(made)} checks: {passed} passed, {len(failed)} failed, {warned}"
        f" warning{'' if warned == 1 else 's'}, {time.perf_counter() - began:.0f} s"
    )
    if failed:
        raise CheckFailed(f"{told}: {', '.join(failed)}. CHECKS=0 trains all the same")
    print(told, file=sys.stderr if given.json else sys.stdout)
