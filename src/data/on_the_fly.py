"""Images that are decoded whenever they are read: they stand in for the array of decoded ones where that
would be larger than MACHINE="decoded_gb=...". The same function decodes them, so a run has the same bytes.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.data.images import PIECE, Records, complain, find_unreadable, read_all
from src.run import ranks
from src.run.clock import Clock
from src.run.errors import Stopped
from src.run.files import read_json, write_json


class Files:
    """The images of a table as an Array has them, (N, H, H, 3) uint8. unreadable: by id, black."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self, records: Records, size: int, unreadable: dict[str, str], *, threads: int, **how: Any
    ) -> None:
        self.records, self.unreadable, self.threads, self.how = records, unreadable, threads, how
        self.shape = (len(records), size, size, 3)
        self.nbytes = math.prod(self.shape)

    @property
    def values(self) -> "Files":
        return self

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, lines: slice) -> np.ndarray:
        return self.read(np.arange(*lines.indices(len(self))))

    def read(self, positions: np.ndarray) -> np.ndarray:
        """The images at these positions (n,). Raises ValueError where one can't be read any more."""
        images = np.zeros((len(positions), *self.shape[1:]), np.uint8)
        records = self.records[positions]
        places = [place for place, one in enumerate(records) if one["id"] not in self.unreadable]

        def put(number: int, pixels: np.ndarray) -> None:
            images[places[number]] = pixels

        readable = [records[place] for place in places]
        problems = read_all(readable, self.shape[1], put, workers=self.threads, **self.how)
        if problems:
            raise ValueError(complain(problems, len(positions)))
        return images

    def close(self) -> None:
        """Nothing of them is kept."""


def look_through(records: Records, note: Path, clock: Clock | None, **how: Any) -> dict[str, str]:
    """id -> what is wrong, of the images that can't be read. Each is read once for that, in about half the
    time that decoding takes; `note` remembers it, and how far it is. Raises Stopped.
    """
    begun = ranks.from_main(lambda: read_json(note, "done", "unreadable") if note.exists() else {})
    before, bad = begun.get("done", 0), dict(begun.get("unreadable", {}))
    if clock and before < len(records):
        clock.begin()
    for start, end, done in ranks.pieces(before, len(records), PIECE):
        for found in ranks.gather(find_unreadable(records[start:end], **how)):
            bad |= found
        reason = clock.why_stop() if clock else ""
        is_due = done == len(records) or clock and clock.is_due(ends_epoch=False)
        if (reason or is_due) and ranks.is_main():
            write_json({"done": done, "unreadable": bad}, note)
        ranks.agree()
        if reason and done < len(records):
            raise Stopped(
                f"{reason}: {done} of {len(records)} images are looked through; the same command goes on from"
                " there"
            )
    return bad


def open_files(
    table: pd.DataFrame,
    folder: Path,
    size: int,
    note: Path,
    *,
    tolerant: bool,
    clock: Clock | None,
    workers: int,
    **how: Any,
) -> tuple[Files, dict[str, str]]:
    """The table's images below folder, and id -> what is wrong. Raises ValueError that names the unreadable
    ones, unless tolerant.
    """
    records = Records(table, folder)
    bad = look_through(records, note, clock, workers=workers, **how)
    if bad and not tolerant:
        raise ValueError(complain(bad, len(records)))
    return Files(records, size, bad, threads=workers, **how), bad
