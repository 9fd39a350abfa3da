"""A check's finding: pass, warn or FAIL, what was seen, what to change. Shared by audit and doctor."""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from typing import NamedTuple

from src.run.errors import CheckFailed

INDENT = " " * 25


class Finding(NamedTuple):
    level: str  # pass, warn or FAIL
    seen: str
    change: str = ""  # what to type, or the place in the code and what to write there
    check: str = ""  # its name; whoever calls the check fills it in where it is missing


def good(seen: str, change: str = "", check: str = "") -> Finding:
    return Finding("pass", seen, change, check)


def warn(seen: str, change: str, check: str = "") -> Finding:
    return Finding("warn", seen, change, check)


def fail(seen: str, change: str, check: str = "") -> Finding:
    return Finding("FAIL", seen, change, check)


def some(names: Iterable[object], number: int = 3) -> str:
    """The first of many names, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - number} more" if len(texts) > number else ""
    return ", ".join(texts[:number]) + more


def count(number: int, noun: str) -> str:
    """1 image, 2 images"""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def line(finding: Finding) -> str:
    """The finding as it is printed; what to change stands below it."""
    text = f"{finding.level:4}  {finding.check:18} {finding.seen}"
    if finding.change:
        title = "advice" if finding.level == "pass" else "change"
        text += f"\n{INDENT}{title}: {finding.change}"
    return text


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that checks something."""
    parser.add_argument("--quick", action="store_true", help="only the checks that take seconds")
    parser.add_argument("--quiet", action="store_true", help="do not print checks that pass")
    parser.add_argument("--skip", default="", help="names of checks to leave out: labels,loss")
    parser.add_argument(
        "--json", action="store_true", help="print a list of objects: level, seen, change, check"
    )


def report(
    findings: Iterable[Finding], command: str, *, quiet: bool = False, as_json: bool = False, skip: str = ""
) -> None:
    """Print each finding as it comes, or all as one JSON list; skip: "labels,loss", checks that don't count.
    Raises CheckFailed when one fails.
    """
    began, done = time.perf_counter(), []
    skipped = [name.strip() for name in skip.removeprefix("-").split(",")]
    for finding in findings:
        if skip and finding.check in skipped:
            continue
        done.append(finding)
        if not as_json and not (quiet and finding.level == "pass"):
            print(line(finding), flush=True)
    if as_json:
        print(json.dumps([finding._asdict() for finding in done], indent=2, ensure_ascii=False))
    failed = [finding.check for finding in done if finding.level == "FAIL"]
    warned = sum(finding.level == "warn" for finding in done)
    passed, seconds = len(done) - len(failed) - warned, time.perf_counter() - began
    counts = f"{passed} passed, {len(failed)} failed, {count(warned, 'warning')}"
    summary = f"{command}: {len(done)} checks: {counts}, {seconds:.0f} s"
    if failed:
        raise CheckFailed(f"{summary}: {', '.join(failed)}. CHECKS=0 trains all the same")
    print(summary, file=sys.stderr if as_json else sys.stdout)
