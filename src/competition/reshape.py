"""Tables that hosts write otherwise, brought into shape for a make_table or make_test: what the kit's advice
is made of.

A competition.py needs no import of it: make_table=lambda root: reshape.where(root, "metadata.csv",
split="train").
"""

import math
import posixpath
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.formats import read_table
from src.competition.image_paths import from_names
from src.competition.listing import ImageIndex, clean, host_files, only_images, without_suffix
from src.competition.messages import state


def beside(root: Path, file: str, *others: str) -> pd.DataFrame:
    """A table with the columns of other tables that name the same images, for a make_table: joined by the
    column whose cells both have, or whose file names both have. Raises ValueError where there is none.
    """
    frame = read_table(root / file)
    for other in others:
        more = read_table(root / other)
        keys = [its for its in more if more[its].nunique() > 0.5 * len(more)]
        pairs = {
            (mine, its): stems(frame[mine]).isin({*stems(more[its])}).mean() for mine in frame for its in keys
        }
        if not pairs or max(pairs.values()) < 0.5:
            raise ValueError(f"{file} and {other} have no column of the same images")
        mine, its = max(pairs, key=lambda pair: (pairs[pair], frame[pair[0]].nunique()))
        new = [name for name in more if name not in frame]
        found = more.assign(key_=stems(more[its])).drop_duplicates("key_").set_index("key_")[new]
        frame = frame.join(found, on=pd.Series(stems(frame[mine]), name="key_")).fillna("")
    return frame


def named_by(root: Path, pattern: str, file: str, *, is_left: bool = False) -> pd.DataFrame:
    """The images of a pattern such as "images/{label}/*" that a table names, or (is_left) those that it does
    not, for a make_table.
    """
    frame, table = from_names(root, pattern), read_table(root / file)
    index = ImageIndex(frame["path"].tolist())
    hits = {column: {place for value in table[column] for place in index.named(value)} for column in table}
    places = max(hits.values(), key=len, default=set())
    return frame[[(place in places) != is_left for place in range(len(frame))]].reset_index(drop=True)


def taken_apart(root: Path, file: str, column: str, mark: str) -> pd.DataFrame:
    """A table with a 0/1 column for each label that the cells of one column join by a mark, for a
    make_table.
    """
    frame = read_table(root / file)
    labels = frame[column].str.get_dummies(mark).rename(columns=str.strip).astype(str)
    return pd.concat([frame.drop(columns=column), labels], axis=1)


def named(root: Path, *patterns: str) -> pd.DataFrame:
    """The images of several patterns such as "train/{label}/*" and "valid/{label}/*", for a make_table; the
    path is the id.
    """
    frame = pd.concat([from_names(root, pattern) for pattern in patterns], ignore_index=True)
    return frame.assign(id=frame["path"])


def stems(column: pd.Series) -> pd.Series:
    """The names of files without folder and suffix, in small letters."""
    cells = column.unique()
    return column.map({cell: posixpath.basename(without_suffix(clean(cell))).casefold() for cell in cells})


def replaced(root: Path, file: str, column: str, old: str, new: str) -> pd.DataFrame:
    """A table with a text replaced in one column, such as a decimal comma."""
    frame = read_table(root / file)
    return frame.assign(**{column: frame[column].str.replace(old, new, regex=False)})


def recoded(root: Path, file: str, column: str, names: dict[str, str]) -> pd.DataFrame:
    """A table whose labels get the names that the sample has for them."""
    frame = read_table(root / file)
    return frame.assign(**{column: frame[column].str.strip().replace(names)})


def where(root: Path, file: str, **cells: str | tuple[str, ...]) -> pd.DataFrame:
    """The lines of a table whose columns hold these cells: split="train", or split=("train", "val")."""
    return chosen(read_table(root / file), **cells)


def chosen(frame: pd.DataFrame, **cells: str | tuple[str, ...]) -> pd.DataFrame:
    """The same of a table that another function made."""
    for column, wanted in cells.items():
        frame = frame[frame[column].isin([wanted] if isinstance(wanted, str) else wanted)]
    return frame.reset_index(drop=True)


def left_over(root: Path, file: str) -> pd.DataFrame:
    """The images that no cell of a table names: the test's, where all lie in one folder."""
    images = only_images(host_files(root))
    index, table = ImageIndex(images), read_table(root / file)
    hits = [{place for value in table[column] for place in index.named(value)} for column in table]
    named = max(hits, key=len, default=set())
    paths = [image for place, image in enumerate(images) if place not in named]
    return pd.DataFrame({"id": [posixpath.basename(path) for path in paths], "path": paths}, dtype=str)


def in_folders(root: Path, file: str, column: str, folder: str = "") -> pd.DataFrame:
    """A line per image of a table that names folders of images: the table's columns, and the image's path
    as path and as `image`, to be the id."""
    frame = read_table(root / file).drop_duplicates(column)
    images = [image for image in only_images(host_files(root)) if image.startswith(folder)]
    names = [{*posixpath.dirname(image).split("/")} for image in images]
    known = set(frame[column])
    pairs = [(image, match.pop()) for image, parts in zip(images, names) if (match := parts & known)]
    found = pd.DataFrame(pairs, columns=["path", column], dtype=str)
    return found.merge(frame, on=column).assign(image=lambda both: both["path"])


def pixels(root: Path, file: str, **first: int) -> pd.DataFrame:
    """A line per image of a table whose columns are pixels: its other columns, the line's number as id, and
    the table as path, for read_image=read_pixels. ImageId=1 adds a column that counts from there.
    """
    header = list(pd.read_csv(root / file, nrows=0).columns)
    others = [name for name in header if not is_pixel(name)]
    size = len(pixel_rows(str(root / file)))
    lines = [str(line) for line in range(size)]
    frame = pd.read_csv(root / file, dtype=str, usecols=others) if others else pd.DataFrame(index=range(size))
    if "id" in frame and frame["id"].tolist() != lines:
        fact = state("a make_table and a read_image")
        raise ValueError(f"{file}: its column id is not the number of the line: {fact}")
    new = {name: start for name, start in first.items() if name not in frame}
    counted = {name: [str(start + line) for line in range(size)] for name, start in new.items()}
    return frame.assign(id=lines, path=file, **counted)


def is_pixel(name: str) -> bool:
    """pixel0, 1x1, p12, 783 or the column `pixels` that holds them all."""
    return bool(re.fullmatch(r"pixels|(pixel|pix|p|px|x)_?\d+|\d+x\d+|\d+", name.strip().lower()))


@lru_cache(maxsize=4)
def pixel_rows(file: str) -> np.ndarray:
    """All images of such a table as (N, side, side) uint8."""
    header = pd.read_csv(file, nrows=0).columns
    names = [name for name in header if is_pixel(name)]
    frame = pd.read_csv(file, usecols=names)
    if len(names) == 1:  # one cell of numbers with spaces
        values = np.stack([np.array(cell.split(), dtype=np.uint8) for cell in frame.iloc[:, 0]])
    else:
        values = frame[names].to_numpy(dtype=np.uint8)
    return as_square(values, file)


def as_square(values: np.ndarray, file: str) -> np.ndarray:
    """(..., side * side) -> (..., side, side). Raises ValueError."""
    side = math.isqrt(values.shape[-1])
    if side * side != values.shape[-1]:
        raise ValueError(f"{file}: {values.shape[-1]} pixels are no square: {state('a read_image')}")
    return values.reshape(*values.shape[:-1], side, side)


def read_pixels(record: dict) -> np.ndarray:
    """The image of a line of a table of pixels."""
    return pixel_rows(record["file"])[int(record["id"])]


def npy(record: dict) -> np.ndarray:
    """A .npy file as uint8 (H, W) or (H, W, 3): the first plane of several, its values from the smallest to
    the largest.
    """
    values = np.load(record["file"]).astype("float32").squeeze()
    if values.ndim == 3 and values.shape[2] not in (1, 3):
        values = values[0]
    low, high = float(values.min()), float(values.max())
    return (255 * (values - low) / max(high - low, 1e-9)).astype("uint8")
