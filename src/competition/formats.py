"""Tables as hosts write them: csv of any dialect and encoding, lists in json, COCO, parquet, xlsx. Every cell
is read as text.
"""

import csv
import io
import json
import re
import sys
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".parquet")
COLUMN = "column "  # names the columns of a file without a header: "column 1", "column 2"
MOST_COLUMNS = 2000  # a table with more holds pixels
LEVEL_1 = {
    "gb18030": (0xB0, 0xD7),
    "cp932": (0xB0, 0xCF),
    "big5": (0xA4, 0xC6),
}  # first bytes of the common characters (cp932: in EUC)


def state(fact: str) -> str:
    """The end of an error message: where the answer goes."""
    return f"state {fact} in src/competitions.py"


def listed(names: list[str]) -> str:
    shown = [name if len(name) <= 80 else f"{name[:77]}..." for name in map(str, names[:10])]
    return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


@cache
def say_once(line: str) -> None:
    print(line, file=sys.stderr)


# -- which encoding


def is_common(letter: str, encoding: str) -> bool:
    """Does the letter belong to the script that this encoding is for, and is it one that texts are made of?"""
    name = unicodedata.name(letter, "")
    if encoding == "cp949":
        return name.startswith("HANGUL SYLLABLE") and bool(encoded(letter, "euc_kr"))
    if encoding == "cp932" and name.startswith(("HIRAGANA", "KATAKANA LETTER", "KATAKANA-HIRAGANA")):
        return True
    low, high = LEVEL_1[encoding]
    raw = encoded(letter, {"gb18030": "gb2312", "cp932": "euc_jp"}.get(encoding, encoding))
    return name.startswith("CJK UNIFIED") and len(raw) == 2 and low <= raw[0] <= high


def encoded(letter: str, encoding: str) -> bytes:
    try:
        return letter.encode(encoding)
    except UnicodeEncodeError:
        return b""


def is_latin(text: str) -> bool:
    """Letters with accents stand among plain ones; what another script looks like in latin-1 stands alone and
    is full of signs.
    """
    foreign = [place for place, letter in enumerate(text) if ord(letter) > 127]
    letters = [place for place in foreign if text[place].isalpha()]
    beside = [place for place in letters if re.search("[A-Za-z]", text[max(place - 1, 0) : place + 2])]
    return len(letters) >= 0.8 * len(foreign) and len(beside) >= 0.5 * len(letters)


def decoded(raw: bytes, name: str) -> str:
    """The text of a table: UTF-8, UTF-16 by its mark, else the encoding whose common letters it is made of.
    Says what is not UTF-8.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    shares: dict[str, float] = {}
    for encoding in ("cp949", "gb18030", "cp932", "big5"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        foreign = list(islice((letter for letter in text if ord(letter) > 127 and letter.isalnum()), 5000))
        shares[encoding] = (
            sum(is_common(letter, encoding) for letter in foreign) / len(foreign) if foreign else 0.0
        )
    best = max(shares, key=lambda encoding: shares[encoding], default="")
    latin = (
        raw.decode("cp1252", errors="replace")
        if any(0x80 <= byte < 0xA0 for byte in raw[:100_000])
        else raw.decode("latin-1")
    )
    if best and shares[best] >= 0.6 and not is_latin(latin[:100_000]):
        say_once(
            f"{name} is read as {best.upper()}, the encoding whose letters fit; what is submitted is UTF-8"
        )
        return raw.decode(best)
    say_once(
        f"warning: {name} is not UTF-8 and is read as latin-1: look whether its letters are right, else save"
        " it as UTF-8"
    )
    return latin


# -- csv


def read_csv(path: Path, rows: int | None = None, *, header: bool = True) -> pd.DataFrame:
    """Every cell as text, nothing taken for missing: "007", "NA" and "1e5" stay what they are; so does the
    header, spaces included. rows: only so many, to see what the file is. header=False: the first line is a
    row as well, the columns are "column 1", "column 2".
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    text = decoded(path.read_bytes(), path.name).replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    first = text.partition("\n")[0]
    separator = separator_of(first, path)
    spaced = (
        0 < first.count(separator) == first.count(separator + " ") and separator != " "
    )  # "id, label": no cell begins with that space
    csv.field_size_limit(sys.maxsize)
    skips = spaced or separator == " " or f'{separator} "' in text[: len(first) + 1000].removeprefix(first)
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=skips)
    lines = list(islice((line for line in reader if any(line)), rows and rows + 1))
    if not lines or header and len(lines) < 2:
        raise ValueError(f"{path.name} is empty" + (": a header and no row" if lines else ""))
    names = first.split(separator) if spaced and '"' not in first else lines[0]
    if not header:
        names, lines = [f"{COLUMN}{number}" for number in range(1, len(lines[0]) + 1)], [[], *lines]
    width = len(names)
    if ragged := [number for number, line in enumerate(lines, 1) if any(line[width:])]:
        lines = mended(lines, names, ragged, separator, path)
    # Column by column: a list of a million rows at once, and the frame beside it, would need twice the memory
    frame = pd.DataFrame(
        {
            place: [line[place] if place < len(line) else "" for line in islice(lines, 1, None)]
            for place in range(width)
        },
        dtype=str,
    )
    frame = frame.loc[
        :, [bool(name) or bool((frame[place] != "").any()) for place, name in enumerate(names)]
    ]  # a comma too many at the end
    frame.columns = pd.Index(
        [names[place] if names[place].strip() else "Unnamed: 0" for place in frame.columns], dtype=str
    )  # as pandas calls it
    if repeated := [name for name, count in Counter(map(str.strip, frame.columns)).items() if count > 1]:
        raise ValueError(f"{path.name}: column {listed(repeated)} stands twice; rename one")
    return frame


def separator_of(first: str, path: Path) -> str:
    """A tie, as in a table of one column: the comma. A .txt may be separated by spaces."""
    best = max(",;\t|", key=first.count)
    is_spaced = path.suffix.lower() == ".txt" and not first.count(best) and len(first.split()) > 1
    return " " if is_spaced else best


def mended(
    lines: list[list[str]], names: list[str], ragged: list[int], separator: str, path: Path
) -> list[list[str]]:
    """A few lines with a separator in their last column, which is a text: joined again. Raises ValueError
    where that can't be what happened.
    """
    width = len(names)
    if len(ragged) > max(1, 0.02 * len(lines)) or len(lines) < 50 or separator == " ":
        told = [str(number) for number in ragged]
        raise ValueError(
            f"{path.name}: more cells than the header has in line {listed(told)}; is a separator inside a"
            " text not quoted?"
        )
    say_once(
        f"warning: {path.name}: {len(ragged)} lines have more cells than the header (line {ragged[0]}): what"
        f" is too much is taken for part of the last column, {names[-1]!r}"
    )
    for number in ragged:
        line = lines[number - 1]
        lines[number - 1] = [*line[: width - 1], separator.join(line[width - 1 :])]
    return lines


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
        return from_json(path)
    if suffix not in (".parquet", ".xlsx"):
        return read_csv(path, header=header)
    try:
        frame = (
            read_parquet(path)
            if suffix == ".parquet"
            else pd.read_excel(path, dtype=str, keep_default_na=False)
        )
    except ImportError as error:
        raise ValueError(f"{path.name} can't be read here ({error}): save it as csv") from error
    except Exception as error:  # pyarrow and readers of xlsx raise many kinds
        raise ValueError(f"{path.name} can't be read ({str(error)[:100]}): save it as csv") from error
    return as_text(frame, path)


def read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as parquet

    if len(names := parquet.read_schema(path).names) > MOST_COLUMNS:
        raise ValueError(f"it has {len(names)} columns, as pixels have")
    return pd.read_parquet(path)


def as_text(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The cells as text: 1.0 in a column of whole numbers with gaps is 1, lists are joined by spaces; columns
    of bytes are left out.
    """
    texts: dict[str, list[str]] = {}
    for name, column in frame.items():
        values = column.tolist()
        if any(isinstance(value, bytes | bytearray | dict) for value in values[:100]):
            continue
        is_whole = pd.api.types.is_float_dtype(column) and bool((column.dropna() % 1 == 0).all())
        texts[str(name)] = [text_of(value, is_whole) for value in values]
    if not texts or not len(frame):
        raise ValueError(f"{path.name} holds no table")
    return pd.DataFrame(texts, dtype=str)


def text_of(value: Any, is_whole: bool = False) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join("_".join(text_of(part).split()) for part in value)
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if is_whole else str(value)


def from_json(path: Path) -> pd.DataFrame:
    """A list of records, a record per line, {name: label}, {name: record}, or COCO's images, annotations and
    categories.
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
        return as_text(from_coco(content), path)
    if isinstance(content, dict):
        lists = [value for value in content.values() if is_records(value)]
        if len(lists) == 1:
            content = lists[0]
        elif content and all(isinstance(value, dict) for value in content.values()):
            content = [{"image": name} | record for name, record in content.items()]
        elif content and all(not isinstance(value, dict) for value in content.values()):
            content = [{"image": name, "label": value} for name, value in content.items()]
    if (
        isinstance(content, list)
        and len(content) > 1
        and all(isinstance(row, list) and len(row) == 2 for row in content)
    ):
        content = [
            {"image": name, "label": label} for name, label in content
        ]  # as the labels in StyleGAN's dataset.json
    if not is_records(content):
        raise ValueError(f"{path.name} holds no list of records")
    return as_text(pd.DataFrame(content), path)


def is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value[:100])


def from_coco(content: dict[str, Any]) -> pd.DataFrame:
    """A row per image and category: the images' columns, the annotations' that are no boxes, and the
    category's name.
    """
    images = pd.DataFrame(content["images"]).rename(columns={"id": "image_id"}).astype(object)
    if not is_records(content.get("annotations")):
        return images
    notes = pd.DataFrame(content["annotations"])
    if "image_id" not in notes or "image_id" not in images:
        return images
    notes = notes.drop(
        columns=[
            name
            for name in ("id", "bbox", "segmentation", "area", "iscrowd", "keypoints", "num_keypoints")
            if name in notes
        ]
    )
    notes = notes.loc[:, ["image_id", *(name for name in notes if name not in images)]]
    if is_records(content.get("categories")) and "category_id" in notes:
        names = {row["id"]: row.get("name", row["id"]) for row in content["categories"] if "id" in row}
        notes["category"] = notes["category_id"].map(names)
    merged = images.merge(notes.astype(object), on="image_id", how="left")
    return merged.drop_duplicates(
        subset=[name for name in merged if merged[name].map(is_plain).all()], ignore_index=True
    )


def is_plain(value: Any) -> bool:
    return not isinstance(value, list | dict)
