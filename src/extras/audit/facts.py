"""Every image opened once, whole: what its file says, how it looks after loading, and a hash of its looks.
Cached by content.
"""

import io
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from src.data import contents
from src.data.images import Reader, check_file, open_picture, read_picture
from src.data.looks import SIDE, looks
from src.run.files import file_sha, read_json, write_json

ORIENTATION, UPRIGHT = 0x0112, 1  # an EXIF tag, and its value for a picture that is stored as it is seen
# of the file: error, width, height, format, mode, is_deep (16 bits or more), its largest value, is_turned,
# frames, the transparent share; of the loaded picture: mean and spread of its grey values, packed (bytes as
# PNG), hashes of its looks as it is and mirrored
COLUMNS = [
    *"error width height format mode is_deep largest is_turned frames transparent".split(),
    *"mean spread packed looks mirrored".split(),
]


def facts_of(record: Mapping[str, str], reader: Reader | None, max_pixels: int) -> dict:
    """All facts of one image. What can't be read has an `error`, beside what its file says."""
    facts: dict = {"error": ""}
    try:
        if reader is None:
            facts |= facts_of_file(Path(record["file"]))
            picture = read_picture(Path(record["file"]), SIDE, max_pixels)
        else:
            check_file(Path(record["file"]))
            picture = Image.fromarray(np.asarray(reader(record)).squeeze()).convert("RGB")
            facts |= {"width": picture.width, "height": picture.height}
        facts |= facts_of_picture(picture)
    # Pillow and readers raise errors of many kinds; each is a finding
    except Exception as error:
        facts["error"] = str(error).replace(record["file"], "the file")[:120] or type(error).__name__
    return facts


def facts_of_file(path: Path) -> dict:
    """What the header says; transparency and depth from the pixels where there are any."""
    with open_picture(path) as picture:
        is_deep = picture.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in picture.tile)
        facts = {
            "width": picture.width,
            "height": picture.height,
            "format": picture.format,
            "mode": picture.mode,
            "is_deep": is_deep,
            "is_turned": picture.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT,
            # the second frame of a phone's picture is a preview
            "frames": 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1),
        }
        if is_deep and picture.mode != "RGB":
            facts["largest"] = float(np.asarray(picture).max())
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            alpha = np.asarray(picture.convert("RGBA"))[..., 3]
            facts["transparent"] = round(float((alpha < 128).mean()), 4)
    return facts


def facts_of_picture(picture: Image.Image) -> dict:
    grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=float)
    packed = io.BytesIO()
    picture.thumbnail((2 * SIDE, 2 * SIDE))  # never enlarges
    picture.save(packed, "PNG", compress_level=1)
    return {
        "mean": round(grey.mean(), 2),
        "spread": round(grey.std(), 2),
        "packed": len(packed.getvalue()),
        "looks": looks(grey),
        "mirrored": looks(grey[:, ::-1]),
    }


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
    is opened and the facts of the others are empty.
    """
    saved, code = remembered(memory), file_sha(Path(__file__))
    known = saved["images"] if saved.get("code") == code else {}
    new = list({record["content"]: record for record in records if record["content"] not in known}.values())
    if only_known:
        new = []
    Image.MAX_IMAGE_PIXELS = None  # read_picture looks at the size itself
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for start in range(
            0, len(new), 5000
        ):  # saved after each part: an audit that is stopped goes on there
            part = new[start : start + 5000]
            print(f"opening {len(part)} images, {start} of {len(new)} done", flush=True)
            facts = pool.map(lambda record: facts_of(record, reader, max_pixels), part)
            known |= {record["content"]: one for record, one in zip(part, facts)}
            write_json({"code": code, "images": known}, memory, indent=None)
    return pd.DataFrame([known.get(record["content"], {}) for record in records], columns=COLUMNS)


def remembered(memory: Path) -> dict:
    """What an earlier audit has found. A damaged file is as good as none: all is opened again."""
    try:
        return dict(read_json(memory)) if memory.exists() else {}
    except (ValueError, TypeError):
        print(f"warning: {memory} is damaged: all images are opened anew", file=sys.stderr)
        return {}


def known_contents(files: list[Path], memory: Path) -> list[str]:
    """The hashes of contents that split and train have saved, "" for a new file; nothing is read."""
    facts = contents.look_up([str(file) for file in files], memory)
    digests = facts["digest"].astype(str).tolist()
    is_there = (facts["size"] >= 0).tolist()
    return [
        digest if there else f"unreadable {file}" for file, digest, there in zip(files, digests, is_there)
    ]
