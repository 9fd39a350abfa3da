"""What messages are made of."""

import sys
from functools import cache

import pandas as pd


def state(fact: str) -> str:
    """The end of an error message: where to write the answer."""
    return f"state {fact} in src/competitions.py"


def listed(names: list) -> str:
    """ "a, b, c and 7 more"."""
    short = [name if len(name) <= 80 else f"{name[:77]}..." for name in map(str, names[:10])]
    return ", ".join(short) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def complain(culprits: pd.Series, problem: str) -> list[str]:
    """ "3 training ids stand twice: a, b, c" as the only entry; [] without culprits."""
    return [f"{len(culprits)} {problem}: {listed(list(culprits))}"] if len(culprits) else []


@cache
def say_once(line: str) -> None:
    print(line, file=sys.stderr)
