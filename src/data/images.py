"""Images: read, brought upright to RGB, resized to a square, decoded once per size into one uint8 array."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from src.data.arrays import Array, make_in_steps
from src.run import ranks
from src.run.files import read_json, write_json

if TYPE_CHECKING:
    from src.run.clock import Clock

PIECE = 256  # images that are decoded between two looks at the clock
LOOKED_AT = 8  # pixels: a JPEG is decoded at an eighth of its size then, which finds all that is broken
Reader = Callable[[Mapping[str, str]], np.ndarray]
# What Pillow decodes by itself, looked for in the file's first bytes. Of the others it knows, EPS would start
# Ghostscript.
FORMATS = "JPEG PNG WEBP TIFF BMP GIF AVIF JPEG2000 PPM ICO PCX SGI QOI PSD".split()


def records_of(table: pd.DataFrame, folder: Path) -> list[dict[str, str]]:
    """A record per row of the table: its columns, and `file`: the image's path."""
    files = [f"{folder}/{path}" for path in table["path"]]  # a Path each takes a second per 100,000
    return table.assign(file=files).to_dict("records")


class Records(Sequence):
    """records_of a table, made when they are read: those of a million rows take a gigabyte."""

    def __init__(self, table: pd.DataFrame, folder: Path) -> None:
        self.table, self.folder = table, folder

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, places: Any) -> Any:
        """places: a slice, or an array of positions."""
        return records_of(self.table.iloc[places], self.folder)


def check_file(path: Path | str) -> None:
    """Raises ValueError for a pipe or a device, links followed: reading one may wait or go on for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # what is missing, its reader says
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # one's own reader may take a folder
        raise ValueError(f"{path} is a pipe or a device, not a file")


def open_picture(path: Path) -> Image.Image:
    """A picture whose header is read, in one of FORMATS."""
    check_file(path)
    return Image.open(path, formats=FORMATS)


def read_picture(path: Path, size: int, max_pixels: int) -> Image.Image:
    """An upright RGB picture, at least `size` on its shorter side when it was. JPEGs are decoded at a
    fraction of their size where that suffices.
    """
    with open_picture(path) as picture:
        if picture.width * picture.height > max_pixels:
            raise ValueError(
                f"{picture.width} x {picture.height} pixels are more than the competition's"
                f" max_pixels={max_pixels:,}"
            )
        # twice, so that the resize below still has something to average
        picture.draft("RGB", (2 * size, 2 * size))
        picture = ImageOps.exif_transpose(picture)
        # 16 bits: Pillow's own convert clips them to white
        if picture.mode.startswith("I") or picture.mode == "F":
            values = np.asarray(picture, dtype=np.float32)
            top = 65535 if values.max() > 255 else 255
            picture = Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))
        return on_white(picture)


def on_white(picture: Image.Image) -> Image.Image:
    """In RGB, laid on white where it is transparent: the colours hidden beneath mean nothing."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def squash(picture: Image.Image, size: int) -> Image.Image:
    """The whole picture, with other proportions: nothing is cut off."""
    if picture.size == (size, size):
        return picture
    return picture.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)


def crop(picture: Image.Image, size: int) -> Image.Image:
    """The square in the middle of the picture."""
    return ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)


def pad(picture: Image.Image, size: int) -> Image.Image:
    """The whole picture in its own proportions, with grey beside it."""
    return ImageOps.pad(picture, (size, size), Image.Resampling.BICUBIC, color=(128, 128, 128))


RESIZES = {  # add yours: (RGB picture, size) -> picture of size x size, and a word here
    "squash": squash,
    "crop": crop,
    "pad": pad,
}


def read_square(
    record: Mapping[str, str],
    size: int,
    read_image: Reader | None,
    max_pixels: int,
    resize: str = "squash",
) -> np.ndarray:
    """One image of the table as (size, size, 3) uint8, by the competition's own reader when it has one.
    resize: a word of RESIZES.
    """
    return np.asarray(RESIZES[resize](read(record, size, read_image, max_pixels), size), dtype=np.uint8)


def read(record: Mapping[str, str], size: int, read_image: Reader | None, max_pixels: int) -> Image.Image:
    """One image of the table in RGB."""
    if read_image is None:
        return read_picture(Path(record["file"]), size, max_pixels)
    check_file(Path(record["file"]))
    values = np.asarray(read_image(record))
    is_picture = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3))
    if values.dtype != np.uint8 or not is_picture:
        raise ValueError(
            f"read_image must give uint8 (H, W, 3) or (H, W), it gave {values.dtype} {values.shape}"
        )
    return Image.fromarray(values.squeeze()).convert("RGB")


def read_all(
    records: Sequence[dict[str, str]],
    size: int,
    put: Callable[[int, np.ndarray], object],
    *,
    read_image: Reader | None = None,
    max_pixels: int,
    resize: str = "squash",
    workers: int,
) -> dict[str, str]:
    """Read each image and put(place, pixels); returns id -> what is wrong, for those that can't be read
    whole.
    """
    # read_picture looks at the size itself, and refuses instead of warning
    Image.MAX_IMAGE_PIXELS = None

    def one(place: int) -> str:
        try:
            put(place, read_square(records[place], size, read_image, max_pixels, resize))
        except Exception as error:  # Pillow raises many kinds; all are gathered and reported
            reason = str(error).replace(records[place]["file"], "the file")[:120]
            return f"{records[place]['path']}: {reason or type(error).__name__}"
        return ""

    # Pillow lets other threads run while it decodes
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        problems = list(pool.map(one, range(len(records))))
    return {record["id"]: problem for record, problem in zip(records, problems) if problem}


def find_unreadable(records: Sequence[dict[str, str]], **how: Any) -> dict[str, str]:
    """id -> what is wrong. Each image is read at LOOKED_AT pixels, in about half the time of its own size."""
    bad = {}
    for start in range(0, len(records), PIECE):
        bad |= read_all(records[start : start + PIECE], LOOKED_AT, lambda place, pixels: None, **how)
    return bad


def decode(
    records: Sequence[dict[str, str]],
    size: int,
    path: Path,
    *,
    tolerant: bool = False,
    copies: Mapping[int, Callable[[], np.ndarray]] = {},
    clock: "Clock | None" = None,
    room_gb: float = 0.0,
    **how,
) -> tuple[Array, dict[str, str]]:
    """All images of a table as one array (N, size, size, 3) uint8, in the table's order, and id -> what is
    wrong for those that can't be read.

    Those stay black in the array: the caller must not use them. Raises ValueError naming all of them unless
    tolerant, and Stopped with what is decoded saved. copies: place -> the pixels, where an earlier array has
    them.
    """
    beside = path.with_suffix(".unreadable.json")

    def fill(values: np.ndarray, begun: dict) -> Iterator[dict]:
        bad = dict(begun.get("unreadable", {}))
        for start, end, done in ranks.pieces(begun.get("done", 0), len(records), PIECE):
            piece = records[start:end]
            new = [place for place in range(start, end) if place not in copies]
            for place in range(start, end):
                if place in copies:
                    values[place] = copies[place]()

            def put(number: int, pixels: np.ndarray, new: list[int] = new) -> None:
                values[new[number]] = pixels

            for found in ranks.gather(read_all([piece[place - start] for place in new], size, put, **how)):
                bad |= found
            yield {"done": done, "unreadable": bad}
        if bad and not tolerant:
            raise ValueError(complain(bad, len(records)))
        if ranks.is_main():
            write_json({"unreadable": bad}, beside)

    # it is written before the array, so somebody has removed it
    if not beside.exists():
        path.unlink(missing_ok=True)
    array = make_in_steps(path, (len(records), size, size, 3), "uint8", fill, clock, room_gb=room_gb)
    bad = read_json(beside, "unreadable")["unreadable"]
    if bad and not tolerant:
        raise ValueError(complain(bad, len(records)))
    return array, bad


def complain(bad: Mapping[str, str], total: int) -> str:
    """The message that names the first ten."""
    lines = [f"{len(bad)} of {total} images can't be read:", *(f"  {problem}" for problem in bad.values())]
    if len(bad) > 10:
        lines[11:] = ["  ..."]
    return "\n".join([*lines, 'replace them, or leave them out with SET="bad_images=drop"'])
