"""The planted faults as the table of docs/reliability.md.  Run: python -m tests.fault_table [--write], which
puts it there
"""

import importlib
import sys
from pathlib import Path

EXTRAS = Path(__file__).resolve().parent / "extras"
DOCUMENT = EXTRAS.parents[1] / "docs" / "reliability.md"
NOTES = {"warn": " (warns)", "pass": " (tells it)"}  # FAIL needs none: the exit code is 1


def table() -> str:
    """A line per fault of every tests/extras/test_*_faults.py: what, where it is planted, which command and check
    finds it, what that says to change.
    """
    sys.path[:0] = [str(EXTRAS), str(EXTRAS.parent)]
    lines = [
        "| fault | planted in | caught by | what to change, among the words of its line |",
        "|---|---|---|---|",
    ]
    for file in sorted(EXTRAS.glob("test_*_faults.py")):
        command = file.stem.removeprefix("test_").removesuffix("_faults")
        for fault in importlib.import_module(file.stem).FAULTS:
            lines.append(
                f"| {fault.name} | {fault.where} | `make {command}`: {fault.check}{NOTES.get(fault.level, '')} | {fault.fix} |"
            )
    return "\n".join(lines)


def document(text: str) -> str:
    """The document with the table of today between its two marks."""
    before, begins, rest = text.partition("<!-- faults -->\n")
    _, ends, after = rest.partition("\n<!-- /faults -->")
    return before + begins + table() + ends + after


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
