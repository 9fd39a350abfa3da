"""A choice among the entries of a dict, such as LOSSES."""

from collections.abc import Mapping
from typing import Any


def pick(choices: Mapping[str, Any], name: str, what: str, file: str) -> Any:
    """The entry of that name. what: the setting; file: where its choices stand. Raises ValueError."""
    if name not in choices:
        names = ", ".join(sorted(choices))
        raise ValueError(f"{what} {name!r} is unknown; choose from {names}, or add it in {file}")
    return choices[name]
