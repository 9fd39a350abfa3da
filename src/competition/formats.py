"""Tables as hosts write them: csv of any dialect and encoding, lists in json, COCO, parquet, xlsx. Every cell
is read as text.
"""

import csv
import io
import json
import sys
from collections import Counter
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition.encodings import decoded
from src.competition.messages import listed, say_once

TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".parquet")
COLUMN = "column "  # names the columns of a file without a header: "column 1", "column 2"
MOST_COLUMNS = 2000  # a table with more holds pixels
COCO_SHAPES = {"id", "bbox", "segmentation", "area", "iscrowd", "keypoints", "num_keypoints"}

Lines = list[list[str]]

# -- csv


def read_csv(path: Path, rows: int | None = None, *, header: bool = True) -> pd.DataFrame:
    """Every cell as text, nothing taken for missing: "007", "NA" and "1e5" stay what they are; so does the
    header, spaces included. rows: only so many. header=False: the first line is a row as well, the columns
    are "column 1", "column 2". Raises ValueError.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    text = decoded(path.read_bytes(), path.name).replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    first = text.partition("\n")[0]
    separator = separator_of(first, path)
    # "id, label": no cell begins with that space
    is_spaced = separator != " " and 0 < first.count(separator) == first.count(separator + " ")
    has_spaced_quotes = f'{separator} "' in text[len(first) : len(first) + 1000]
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(
        io.StringIO(text),
        delimiter=separator,
        skipinitialspace=is_spaced or separator == " " or has_spaced_quotes,
    )
    lines = list(islice((line for line in reader if any(line)), rows and rows + 1))
    if not lines or (header and len(lines) < 2):
        raise ValueError(f"{path.name} is empty" + (": a header and no row" if lines else ""))
    if not header:
        names = [f"{COLUMN}{number}" for number in range(1, len(lines[0]) + 1)]
    elif is_spaced and '"' not in first:
        names = first.split(separator)
    else:
        names = lines[0]
    cells = lines[1:] if header else lines
    return frame_of(with_whole_lines(cells, names, separator, path, 1 + header), names, path)


def separator_of(first: str, path: Path) -> str:
    """The most frequent of the usual ones, the comma of equals. A .txt may be separated by spaces."""
    best = max(",;\t|", key=first.count)
    is_spaced = path.suffix.lower() == ".txt" and not first.count(best) and len(first.split()) > 1
    return " " if is_spaced else best


def with_whole_lines(cells: Lines, names: list[str], separator: str, path: Path, start: int) -> Lines:
    """A few lines with a separator in their last column, which is a text, are joined again. start: the number
    of the first line. Raises ValueError where that can't be what happened.
    """
    width = len(names)
    ragged = [place for place, line in enumerate(cells) if any(line[width:])]
    if not ragged:
        return cells
    num = len(cells) + start - 1
    if len(ragged) > max(1, 0.02 * num) or num < 50 or separator == " ":
        raise ValueError(
            f"{path.name}: more cells than the header has in line {listed([start + n for n in ragged])}; is a"
            " separator inside a text not quoted?"
        )
    say_once(
        f"warning: {path.name}: {len(ragged)} lines have more cells than the header (line"
        f" {start + ragged[0]}): the rest is taken for part of the last column, {names[-1]!r}"
    )
    for place in ragged:
        line = cells[place]
        cells[place] = [*line[: width - 1], separator.join(line[width - 1 :])]
    return cells


def frame_of(cells: Lines, names: list[str], path: Path) -> pd.DataFrame:
    """The lines as a frame. Raises ValueError for two columns of one name."""
    columns = {}
    # column by column: a list of a million rows beside the frame would need twice the memory
    for place, name in enumerate(names):
        column = [line[place] if place < len(line) else "" for line in cells]
        if name or any(column):  # else a comma too many at the end
            columns[place] = name if name.strip() else "Unnamed: 0", pd.Series(column, dtype=str)
    counts = Counter(name.strip() for name, _ in columns.values())
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{path.name}: column {listed(repeated)} stands twice; rename one")
    return pd.DataFrame(dict(columns.values()), dtype=str)


# -- other formats


def read_table(path: Path, *, header: bool = True) -> pd.DataFrame:
    """A table of any format as text, read once as long as the file stays the same. Raises ValueError."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    status = path.stat()
    return remembered(path, status.st_size, status.st_mtime_ns, status.st_ino, header).copy(deep=False)


@lru_cache(maxsize=8)
def remembered(path: Path, size: int, time: int, inode: int, header: bool) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix in (".json", ".jsonl"):
        return read_json(path)
    if suffix not in (".parquet", ".xlsx"):
        return read_csv(path, header=header)
    try:
        frame = read_parquet(path) if suffix == ".parquet" else read_excel(path)
    except ImportError as error:
        raise ValueError(f"{path.name} can't be read here ({error}): save it as csv") from error
    except Exception as error:  # pyarrow and readers of xlsx raise many kinds
        raise ValueError(f"{path.name} can't be read ({str(error)[:100]}): save it as csv") from error
    return as_text(frame, path)


def read_excel(path: Path) -> pd.DataFrame:
    return pd.read_excel(path, dtype=str, keep_default_na=False)


def read_parquet(path: Path) -> pd.DataFrame:
    from pyarrow import parquet

    num = len(parquet.read_schema(path).names)
    if num > MOST_COLUMNS:
        raise ValueError(f"it has {num} columns, as pixels have")
    return pd.read_parquet(path)


def as_text(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The cells as text: 1.0 in a column of whole numbers with gaps is 1, lists are joined by spaces; columns
    of bytes and dictionaries are left out. Raises ValueError where nothing is left.
    """
    columns: dict[str, list[str]] = {}
    for name, column in frame.items():
        values = column.tolist()
        if any(isinstance(value, bytes | bytearray | dict) for value in values[:100]):
            continue
        is_whole = pd.api.types.is_float_dtype(column) and bool((column.dropna() % 1 == 0).all())
        columns[str(name)] = [text_of(value, is_whole) for value in values]
    if not columns or not len(frame):
        raise ValueError(f"{path.name} holds no table")
    return pd.DataFrame(columns, dtype=str)


def text_of(value: Any, is_whole: bool = False) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join("_".join(text_of(part).split()) for part in value)
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(int(value)) if is_whole or isinstance(value, bool) else str(value)


def read_json(path: Path) -> pd.DataFrame:
    """A list of records, a record per line, {name: label}, {name: record}, pairs of name and label as in
    StyleGAN's dataset.json, or COCO's images, annotations and categories. Raises ValueError.
    """
    text = decoded(path.read_bytes(), path.name)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        try:
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError:
            raise ValueError(f"{path.name} is no json ({error})") from error
    if isinstance(content, dict) and is_records(content.get("images")):
        return as_text(coco_frame(content), path)
    records = records_of(content)
    if not is_records(records):
        raise ValueError(f"{path.name} holds no list of records")
    return as_text(pd.DataFrame(records), path)


def records_of(content: Any) -> Any:
    """The content as a list of dictionaries where it is one in another form, else unchanged."""
    if not isinstance(content, dict | list):
        return content
    if isinstance(content, dict):
        lists = [value for value in content.values() if is_records(value)]
        if len(lists) == 1:
            return lists[0]
        are_records = {isinstance(value, dict) for value in content.values()}
        if are_records == {True}:
            return [{"image": name} | record for name, record in content.items()]
        if are_records == {False}:
            return [{"image": name, "label": value} for name, value in content.items()]
        return content
    is_pairs = len(content) > 1 and all(isinstance(row, list) and len(row) == 2 for row in content)
    if is_pairs:
        return [{"image": name, "label": label} for name, label in content]
    return content


def is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value[:100])


def coco_frame(content: dict[str, Any]) -> pd.DataFrame:
    """A row per image and category: the images' columns, the annotations' without shapes, and the category's
    name.
    """
    images = pd.DataFrame(content["images"]).rename(columns={"id": "image_id"}).astype(object)
    if not is_records(content.get("annotations")):
        return images
    notes = pd.DataFrame(content["annotations"])
    if "image_id" not in notes or "image_id" not in images:
        return images
    new = [name for name in notes if name not in COCO_SHAPES and name not in images]
    notes = notes[["image_id", *new]]
    if is_records(content.get("categories")) and "category_id" in notes:
        names = {row["id"]: row.get("name", row["id"]) for row in content["categories"] if "id" in row}
        notes = notes.assign(category=notes["category_id"].map(names))
    merged = images.merge(notes.astype(object), on="image_id", how="left")
    hashable = [name for name in merged if not merged[name].map(is_container).any()]
    return merged.drop_duplicates(subset=hashable, ignore_index=True)


def is_container(value: Any) -> bool:
    return isinstance(value, list | dict)
