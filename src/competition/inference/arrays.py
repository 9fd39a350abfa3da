"""What may be the images and the labels, where a host gives arrays of NumPy."""

import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from src.competition.inference.advice import Code, Statement
from src.competition.inference.evidence import Evidence, part_of

LEAST = 64  # numbers of a flat image
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def stacked(ev: Evidence, counted: str) -> list[Statement]:
    """Statements for images in arrays, by their shapes and names. counted: the argument that gives the test
    images the sample's ids.
    """
    known = shapes(ev.root, ev.files)
    parts = {name: part_of(re.sub(r"^[xy](?=t)", "", name.lower())) for name in known}
    images = [name for name, shape in known.items() if is_of_images(shape)]
    labels = {name: shape[0] for name, shape in known.items() if name not in images and len(shape) < 3}
    labels |= {table.file: len(table.frame) for table in ev.tables}
    return [
        {
            "id": "image",
            "make_table": Code(f"lambda root: stacks.stacked(root, {train!r}, {label!r})"),
            "make_test": Code(f"lambda root: stacks.stacked(root, {test!r}{counted})"),
            "read_image": Code("stacks.read"),
        }
        for train in images
        if parts[train] not in ("test", "valid")
        for label, size in labels.items()
        if size == known[train][0] and parts.get(label, part_of(label)) not in ("test", "valid")
        for test in images
        if parts[test] == "test" and known[test][1:] == known[train][1:]
    ]


def is_of_images(shape: tuple[int, ...]) -> bool:
    """(N, H, W), with channels before or behind, or (N, side * side)."""
    is_flat = len(shape) == 2 and shape[1] >= LEAST and math.isqrt(shape[1]) ** 2 == shape[1]
    return is_flat or len(shape) in (3, 4) and min(shape[1:]) > 0


def shapes(root: Path, files: list[str]) -> dict[str, tuple[int, ...]]:
    """By name, of each array in these files that can be read; only headers are."""
    found = {}
    for file in sorted(files):
        try:
            if file.lower().endswith(".npy"):
                with open(root / file, "rb") as array:
                    found[file] = shape_of(array)
            elif file.lower().endswith(".npz"):
                with zipfile.ZipFile(root / file) as arrays:
                    for member in arrays.namelist():
                        with arrays.open(member) as array:
                            found[f"{file}:{member.removesuffix('.npy')}"] = shape_of(array)
        except (OSError, ValueError, zipfile.BadZipFile):
            continue
    return found


def shape_of(array: Any) -> tuple[int, ...]:
    """Of an open file. Raises ValueError."""
    version = np.lib.format.read_magic(array)
    if version not in HEADERS:
        raise ValueError(f"an array's header of version {version}")
    return HEADERS[version](array)[0]
