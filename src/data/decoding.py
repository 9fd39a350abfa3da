"""The images of a table, decoded once at the experiment's size, or larger where crops are drawn of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL

from src.config import decoded_size
from src.data import images
from src.data.arrays import Array, gigabytes
from src.data.cache_notes import Earlier, Note
from src.data.folds import features_hash
from src.data.on_the_fly import Files, open_files
from src.data.recipe import image_contents
from src.data.run import Run
from src.run import hashing, ranks
from src.run.choices import pick
from src.run.clock import Clock
from src.run.files import read_json, sha256


class Pictures(NamedTuple):
    """The decoded images of a table, in its order."""

    decoded: Array | Files  # (N, H, H, 3) uint8, H = decoded_size(config)
    key: str  # a hash of the images and of how they were decoded
    unreadable: dict[str, str]  # id -> what is wrong; black in `decoded`
    contents: list[str]  # a hash of each image
    made_by: str  # a hash of how they were decoded: equal contents were decoded to equal pixels


def decoding_code(run: Run) -> list[str | Callable]:
    """The code that makes pixels of a file."""
    pick(images.RESIZES, run.config.resize, "resize", "src/data/images.py")
    reader = run.competition.read_image
    resize = f"src.data.images:RESIZES[{run.config.resize}]"
    return ["src.data.images:read_square", resize, *([reader] if reader else [])]


def place(run: Run, table: pd.DataFrame, contents: list[str]) -> tuple[Path, Note]:
    """Where the table's decoded images lie, whose files have these hashes, and what they are made from."""
    size = decoded_size(run.config)
    of = {"size": size, "pillow": PIL.__version__, "images": sha256(contents)}
    if run.config.resize != "squash":
        of["resize"] = run.config.resize
    if run.competition.read_image and run.competition.features:  # it is told them, beside the file
        of["features"] = features_hash(table, run.competition.features)
    note = Note(of, hashing.reach(*decoding_code(run)))
    return run.settings.cache / run.settings.comp / f"images-{size}px-{note.key}.npy", note


def decode(run: Run, table: pd.DataFrame, clock: Clock | None = None, *, tolerant: bool = False) -> Pictures:
    """Decode the table's images, unless that was done before, or would be larger than decoded_gb. Raises
    ValueError that names the unreadable ones, unless tolerant.
    """
    size, reader, cache = decoded_size(run.config), run.competition.read_image, run.settings.cache
    contents = image_contents(run, table)
    path, note = place(run, table, contents)
    # a reader of one's own may look at more than the image's file
    made_by = note.key if reader else note.key_but_images
    how: dict[str, Any] = {
        "read_image": reader,
        "max_pixels": run.competition.max_pixels,
        "resize": run.config.resize,
        "workers": -(-run.machine.num_threads // ranks.num_here()),
    }
    need = gigabytes((len(table), size, size, 3), "uint8")
    if need > run.machine.decoded_gb and not path.exists():
        print(
            f"{len(table)} images at {size} px are decoded as they are read: {need:.2f} GB of pixels are more"
            f" than decoded_gb={run.machine.decoded_gb:g}",
            flush=True,
        )
        looked_through = path.with_suffix(".read.json")
        files, unreadable = open_files(
            table, run.inputs, size, looked_through, tolerant=tolerant, clock=clock, **how
        )
        return Pictures(files, note.key, unreadable, contents, made_by)
    copies: dict[int, Callable[[], np.ndarray]] = {}
    if not path.exists():
        if not reader and (earlier := note.earlier(path, contents)):
            copies = copies_of(contents, earlier)
        if copies:
            print(f"{len(copies)} of {len(table)} images are decoded already, at {size} px", flush=True)
        print(
            f"decoding {len(table) - len(copies)} images at {size} px, {need:.2f} GB in"
            f" {cache}{note.why_anew(path)}",
            flush=True,
        )
    decoded, unreadable = images.decode(
        images.Records(table, run.inputs),
        size,
        path,
        tolerant=tolerant,
        copies=copies,
        clock=clock,
        room_gb=run.machine.cache_total_gb,
        **how,
    )
    note.write(path, contents)
    return Pictures(decoded, note.key, unreadable, contents, made_by)


def copies_of(contents: list[str], earlier: Earlier) -> dict[int, Callable[[], np.ndarray]]:
    """place -> its decoded pixels, for each image that the earlier array has."""
    unreadable = earlier.path.with_suffix(".unreadable.json")
    # which of its pictures are black is known by id alone
    if not unreadable.exists() or read_json(unreadable)["unreadable"]:
        return {}
    rows = {
        content: row for row, content in enumerate(earlier.contents) if not content.startswith("unreadable")
    }
    return {
        place: partial(earlier.values.__getitem__, rows[content])
        for place, content in enumerate(contents)
        if content in rows
    }
