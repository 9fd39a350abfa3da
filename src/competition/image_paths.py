"""Images by the pattern of their paths: "train/{id}.*", "{label}/**/{id}.jpg".

{name} stands for a column's cell, {name:5} for one with zeros before it to that width, .* at the end for any
image suffix, **/ for any folders.
"""

import re
from pathlib import Path

import pandas as pd

from src.competition.listing import ImageIndex, host_files, only_images
from src.competition.messages import listed


def fill(pattern: str, frame: pd.DataFrame) -> list[str]:
    """The pattern for each row, its names replaced by the cells. Raises ValueError for an unknown column."""
    # text, column, width, text, column, width, ..., text
    parts = re.split(r"\{([^{}]+?)(?::(\d+))?\}", pattern)
    unknown = [column for column in parts[1::3] if column not in frame]
    if unknown:
        columns = ", ".join(frame.columns)
        raise ValueError(f"pattern {pattern!r}: no column {listed(unknown)}; choose from {columns}")
    filled = pd.Series(parts[0], index=frame.index, dtype=object)
    for column, width, text in zip(parts[1::3], parts[2::3], parts[3::3]):
        filled = filled + frame[column].str.zfill(int(width or 0)) + text
    return filled.tolist()


def match(pattern: str, frame: pd.DataFrame, files: list[str], *, strict: bool = False) -> list[list[str]]:
    """The files that each row's pattern names. A lone path column may hold paths of the host's machine, of
    which only the end fits; strict says that it does not.
    """
    index = ImageIndex(files)
    any_suffix = pattern.endswith(".*")
    folder, anywhere, name = pattern.removesuffix(".*").rpartition("**/")
    names = fill(name, frame)
    if not strict and re.fullmatch(r"\{[^{}:]+\}(\.\*)?", pattern):
        places = [
            index.at(name, any_suffix=any_suffix) or index.named(name) if name else [] for name in names
        ]
    elif anywhere:
        places = [
            index.at(name, any_suffix=any_suffix, head=head) for head, name in zip(fill(folder, frame), names)
        ]
    else:
        places = [index.at(name, any_suffix=any_suffix) for name in names]
    return [[files[place] for place in row] for row in places]


def from_names(root: Path, pattern: str, any_file: bool = False) -> pd.DataFrame:
    """A table read off the images' paths: a column per {name} of the pattern, `path`, and `id`: the path from
    the first {name} on. any_file: read_image opens any suffix. Raises ValueError where no image fits.
    """
    wildcards = {"**/": "(?:.*/)?", ".*": r"\.[^./]+", "*": "[^/]*"}
    parts = re.split(r"(\{[^{}]+\}|\*\*/|\.\*|\*)", pattern)
    regex = re.compile(
        "".join(
            "([^/]+?)" if part.startswith("{") else wildcards.get(part) or re.escape(part) for part in parts
        )
    )
    images = only_images(host_files(root), any_file)
    matches = [(*hit.groups(), file) for file in images if (hit := regex.fullmatch(file))]
    if not matches:
        raise ValueError(f"none of {len(images)} images in {root.name} is named like {pattern!r}")
    names = re.findall(r"\{([^{}]+)\}", pattern)
    frame = pd.DataFrame(matches, columns=[*names, "path"], dtype=str)
    return frame if "id" in names else frame.assign(id=frame["path"].str.slice(len(parts[0])))
