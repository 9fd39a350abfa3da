"""What ends a command on purpose; the exit code of each is set in src/__main__.py."""

import sys


class CheckFailed(Exception):
    """A check says no: exit code 1."""


class Stopped(Exception):
    """Stopped on purpose with the state saved, the same command goes on: exit code 75."""

    EXIT_CODE = 75


def warn(text: str) -> None:
    """A line on stderr, which stays when the output goes to a file."""
    print(f"warning: {text}", file=sys.stderr)
