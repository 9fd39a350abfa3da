"""Every image opened once, whole: what its file says, how it looks after loading, and a hash of its looks.
Remembered by content.
"""

import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from src.data import images
from src.data.images import Reader, check_file, open_picture, read_picture
from src.data.looks import SIDE, looks
from src.run.files import file_sha, write_json

# EXIF's orientation of a picture that is stored as it is seen
UPRIGHT = 1
COLUMNS = (
    "error",
    "width",
    "height",
    "format",
    "mode",
    "deep",
    "top",
    "turned",
    "frames",
    "clear",
    "mean",
    "spread",
    "packed",
    "looks",
    "mirrored",
)


def look(record: Mapping[str, str], reader: Reader | None, max_pixels: int) -> dict:
    """All facts of one image. What can't be read has an `error`, and what its file still told."""
    facts: dict = {"error": ""}
    try:
        if reader is None:
            facts |= told_by_file(Path(record["file"]))
            picture = read_picture(Path(record["file"]), SIDE, max_pixels)
        else:
            check_file(Path(record["file"]))
            picture = Image.fromarray(np.asarray(reader(record)).squeeze()).convert("RGB")
            facts |= {"width": picture.width, "height": picture.height}
        grey, packed = (
            np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=float),
            io.BytesIO(),
        )
        picture.thumbnail((2 * SIDE, 2 * SIDE))  # never enlarges
        picture.save(packed, "PNG", compress_level=1)
        facts |= {
            "mean": round(grey.mean(), 2),
            "spread": round(grey.std(), 2),
            "packed": len(packed.getvalue()),
            "looks": looks(grey),
            "mirrored": looks(grey[:, ::-1]),
        }
    # Pillow and readers raise many kinds; each is a finding
    except Exception as error:
        facts["error"] = str(error).replace(record["file"], "the file")[:120] or type(error).__name__
    return facts


def told_by_file(path: Path) -> dict:
    """What stands in the header; alpha and depth from the pixels where there are any."""
    with open_picture(path) as picture:
        deep = picture.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in picture.tile)
        facts = {
            "width": picture.width,
            "height": picture.height,
            "format": picture.format,
            "mode": picture.mode,
            "deep": deep,
            "turned": picture.getexif().get(0x0112, UPRIGHT) != UPRIGHT,
            # a phone's second frame is a preview
            "frames": 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1),
        }
        if deep and picture.mode != "RGB":
            facts["top"] = float(np.asarray(picture).max())
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            facts["clear"] = round(float((np.asarray(picture.convert("RGBA"))[..., 3] < 128).mean()), 4)
    return facts


def remembered(memory: Path) -> dict[str, dict]:
    """Content -> facts, by the code as it is now."""
    saved = images.remembered(memory)
    return saved["images"] if saved.get("code") == file_sha(Path(__file__)) else {}


def open_all(
    records: list[dict],
    memory: Path,
    *,
    reader: Reader | None,
    max_pixels: int,
    workers: int,
    only_known: bool,
) -> pd.DataFrame:
    """The facts of each image (a record has `file` and `content`), in their order; with only_known, nothing
    is opened and the others are empty.
    """
    known = remembered(memory)
    new = list({record["content"]: record for record in records if record["content"] not in known}.values())
    Image.MAX_IMAGE_PIXELS = None  # read_picture looks at the size itself
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        # an audit that is stopped goes on where it was
        for start in range(0, 0 if only_known else len(new), 5000):
            part = new[start : start + 5000]
            print(f"opening {len(part)} images, {start} of {len(new)} done", flush=True)
            found = pool.map(lambda record: look(record, reader, max_pixels), part)
            known |= {record["content"]: facts for record, facts in zip(part, found)}
            write_json({"code": file_sha(Path(__file__)), "images": known}, memory, indent=None)
    return pd.DataFrame([known.get(record["content"], {}) for record in records], columns=list(COLUMNS))


def known_contents(files: list[Path], memory: Path) -> list[str]:
    """The contents' hashes that split and train have remembered, "" where the file is new: nothing is read."""
    known = images.remembered(memory)

    def one(file: Path) -> str:
        try:
            stat = os.stat(file)
        except OSError:
            return f"unreadable {file}"
        size, time, content = known.get(str(file), (0, 0, ""))
        return content if (size, time) == (stat.st_size, stat.st_mtime_ns) else ""

    return [one(file) for file in files]
