"""Out-of-fold against public scores, as text."""

import string
from collections.abc import Sequence

from src.extras.ledger.entries import Entry

WIDTH, HEIGHT = 56, 12


def scatter(entries: Sequence[Entry], marks: Sequence[str]) -> str:
    """A mark per submission; the best is at the top and at the right."""
    oof, public = ([getattr(entry, name) for entry in entries] for name in ("oof", "public"))
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for x, y, mark in zip(places(oof, WIDTH), places(public, HEIGHT), marks):
        grid[HEIGHT - 1 - y][x] = mark if grid[HEIGHT - 1 - y][x] == " " else "*"
    sign = entries[0].sign
    left = f"{sign * max(public):.4f}", f"{sign * min(public):.4f}"
    width = max(map(len, left))
    margins = [left[0], *[""] * (HEIGHT - 2), left[1]]
    lines = [f"  {margin:>{width}} |{''.join(row)}".rstrip() for margin, row in zip(margins, grid)]
    indent = " " * (width + 3)
    low, high = f"{sign * min(oof):.4f}", f"{sign * max(oof):.4f}"
    axis = f"{indent}+{'-' * WIDTH}\n{indent} {low}{high:>{WIDTH - len(low)}}"
    return "\n".join([f"{indent}public; below it OOF; * is more than one", *lines, axis])


def places(values: Sequence[float], size: int) -> list[int]:
    """0 for the lowest, size - 1 for the highest."""
    low, width = min(values), (max(values) - min(values)) or 1.0
    return [round((value - low) / width * (size - 1)) for value in values]


def letters(number: int) -> list[str]:
    """a, b, ... z, A ... Z, then dots."""
    return [*string.ascii_letters[:number], *["."] * (number - len(string.ascii_letters))]
