"""What a cached array was made from: the key in its name is a hash of it, and the same in words lies beside
it.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data import cache
from src.data.arrays import Array
from src.run import hashing
from src.run.files import read_json, sha256, write_json


class Earlier(NamedTuple):
    """An array made in the same way of images most of which are the same."""

    values: np.ndarray
    contents: list[str]  # a hash of each image
    path: Path

    def has_batch(self, contents: list[str], start: int, end: int) -> bool:
        """Whether it has this very batch: the same images, and no others in the last one."""
        is_same = self.contents[start:end] == contents[start:end]
        return is_same and (end < len(contents) or end == len(self.contents))


class Note(NamedTuple):
    of: dict[str, Any]  # images, weights, sizes, versions
    code: hashing.Units

    @property
    def key(self) -> str:
        return sha256([self.of, hashing.own(self.code)])

    @property
    def key_but_images(self) -> str:
        return self._replace(of=self.of | {"images": ""}).key

    def write(self, path: Path, contents: list[str]) -> None:
        """Beside the array at `path`; contents: a hash of each image."""
        note, images = path.with_suffix(".code.json"), path.with_suffix(".contents.json")
        if not images.exists():
            write_json({"contents": contents}, images, indent=None)
        if not note.exists():
            write_json(self._asdict(), note)

    def earlier(self, path: Path, contents: list[str]) -> Earlier | None:
        """The array that differs from this one in its images alone and shares most of them: one changed image
        is no reason to make all the others anew.
        """
        best, most = None, 0
        for note, array in notes_like(path):
            images = array.with_suffix(".contents.json")
            if array == path or note.key_but_images != self.key_but_images or not images.exists():
                continue
            known = read_json(images)["contents"]
            shared = len({*contents} & {*known})
            if shared > most and array.exists():
                best, most = (array, known), shared
        if best and cache.use(best[0]):
            return Earlier(Array(best[0]).values, best[1], best[0])
        return None

    def why_anew(self, path: Path) -> str:
        """Words for a message, where the same was made before by other code; "" where nothing like it was."""
        newest_first = sorted(
            notes_like(path), key=lambda pair: -pair[1].with_suffix(".code.json").stat().st_mtime_ns
        )
        for note, _ in newest_first:
            edits = hashing.changes(note.code, self.code)
            if edits and sha256(note.of) == sha256(self.of):
                return f"; made anew, for {hashing.few(edits)} changed"
        return ""


def notes_like(path: Path) -> list[tuple[Note, Path]]:
    """(note, array) of all whose names differ from this array's in the key alone."""
    stem = path.name.rpartition("-")[0]
    files = sorted(path.parent.glob(f"{stem}-*.code.json"))
    return [
        (Note(**read_json(file)), file.with_name(file.name.replace(".code.json", ".npy"))) for file in files
    ]
