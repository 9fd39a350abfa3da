"""Images: read, brought upright to RGB, resized whole to a square, decoded once per size into one uint8
array.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from src.data.arrays import Array, make_in_steps
from src.run import locks
from src.run.files import read_json, write_json

if TYPE_CHECKING:
    from src.run.clock import Clock

PIECE = 256  # images that are decoded between two looks at the clock
Reader = Callable[[Mapping[str, str]], np.ndarray]
# What Pillow decodes by itself, looked for in the file's first bytes. Of the others it knows, EPS would start
# Ghostscript.
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "TIFF",
    "BMP",
    "GIF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "ICO",
    "PCX",
    "SGI",
    "QOI",
    "PSD",
)


def check_file(path: Path) -> None:
    """Raises ValueError for a pipe or a device, links followed: reading one may wait or go on for ever. What
    is missing, its reader says.
    """
    mode = os.stat(path).st_mode if path.exists() else stat.S_IFREG
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
        return picture.convert("RGB")


def square(picture: Image.Image, size: int) -> np.ndarray:
    """The whole picture, squashed to (size, size, 3) uint8: at validation nothing is cut off."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(picture, dtype=np.uint8)


def read_square(
    record: Mapping[str, str], size: int, read_image: Reader | None, max_pixels: int
) -> np.ndarray:
    """One image of the table as (size, size, 3) uint8, by the competition's own reader when it has one."""
    if read_image is None:
        return square(read_picture(Path(record["file"]), size, max_pixels), size)
    check_file(Path(record["file"]))
    values = np.asarray(read_image(record))
    if (
        values.dtype != np.uint8
        or values.ndim not in (2, 3)
        or values.ndim == 3
        and values.shape[2] not in (1, 3)
    ):
        raise ValueError(
            f"read_image must give uint8 (H, W, 3) or (H, W), it gave {values.dtype} {values.shape}"
        )
    return square(Image.fromarray(values.squeeze()).convert("RGB"), size)


def read_all(
    records: list[dict[str, str]],
    size: int,
    put: Callable[[int, np.ndarray], object],
    *,
    read_image: Reader | None = None,
    max_pixels: int,
    workers: int,
) -> dict[str, str]:
    """Read each image and put(place, pixels); returns id -> what is wrong, for those that can't be read
    whole.
    """
    # read_picture looks at the size itself, and refuses instead of warning
    Image.MAX_IMAGE_PIXELS = None

    def one(place: int) -> str:
        try:
            put(place, read_square(records[place], size, read_image, max_pixels))
        # Pillow raises many kinds; all are gathered and reported
        except Exception as error:
            return (
                f"{records[place]['path']}:"
                f" {str(error).replace(records[place]['file'], 'the file')[:120] or type(error).__name__}"
            )
        return ""

    # Pillow lets other threads run while it decodes
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        problems = list(pool.map(one, range(len(records))))
    return {record["id"]: problem for record, problem in zip(records, problems) if problem}


def decode(
    records: list[dict[str, str]],
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
        for start in range(begun.get("done", 0), len(records), PIECE):
            end = min(start + PIECE, len(records))
            new = [place for place in range(start, end) if place not in copies]
            for place in range(start, end):
                if place in copies:
                    values[place] = copies[place]()

            def put(number: int, pixels: np.ndarray, new: list[int] = new) -> None:
                values[new[number]] = pixels

            bad |= read_all([records[place] for place in new], size, put, **how)
            yield {"done": end, "unreadable": bad}
        if bad and not tolerant:
            raise ValueError(complain(bad, len(records)))
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
    return (
        f"{len(bad)} of {total} images can't be read:\n  "
        + "\n  ".join(list(bad.values())[:10])
        + ("\n  ..." if len(bad) > 10 else "")
        + '\nreplace them, or leave them out with SET="bad_images=drop"'
    )


def content_hashes(files: Iterable[Path], memory: Path) -> list[str]:
    """A hash of each file's bytes. `memory` (json) remembers them by size and modification time, so that each
    file is read once.
    """
    known = remembered(memory)

    def digest(name: str) -> str:
        try:
            check_file(Path(name))
            with open(name, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:32]
        except (OSError, ValueError):
            # decode says so, with all others of its kind
            return f"unreadable {name}"

    names = [str(file) for file in files]
    facts = {name: size_and_time(name) for name in names}
    new = [name for name, its in facts.items() if not its or known.get(name, [])[:2] != its]
    with ThreadPoolExecutor(4) as pool:
        digests = dict(zip(new, pool.map(digest, new)))
    remember(
        {
            name: [*facts[name], digest]
            for name, digest in digests.items()
            if not digest.startswith("unreadable")
        },
        memory,
    )
    return [digests.get(name) or known[name][2] for name in names]


def remembered(memory: Path) -> dict:
    """What is known of earlier times. A damaged file is as good as none: all is read again."""
    return read_memory(memory, *size_and_time(str(memory)))


@lru_cache(maxsize=1)
def read_memory(memory: Path, *version: int) -> dict:
    """Read once per process and version of the file: the stages of a chain ask several times, and of 100,000
    images it has 12 MB.
    """
    try:
        return dict(read_json(memory)) if version else {}
    except (ValueError, TypeError, FileNotFoundError):
        print(f"warning: {memory} is damaged: all images are hashed anew", file=sys.stderr)
        return {}


def remember(new: dict[str, list], memory: Path) -> None:
    """Add to what other processes may add to now. Where the disk refuses it, the files are read again the
    next time.
    """
    if not new:
        return
    try:
        with locks.lock(memory.with_name(memory.name + ".lock"), wait=True):
            write_json(remembered(memory) | new, memory, indent=None)
    except ValueError as error:
        print(f"warning: {error}", file=sys.stderr)


def size_and_time(name: str) -> list[int]:
    try:
        status = os.stat(name)
        return [status.st_size, status.st_mtime_ns]
    except OSError:
        return []
