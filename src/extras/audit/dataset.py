"""What the checks look at: the run's tables, facts about every image, the backbone's features. Each is made
when it is first needed.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition import tables
from src.competition.host_tables import read_part
from src.competition.tasks import TASKS
from src.data import contents, images
from src.data.run import Run
from src.extras import linear_probe
from src.extras.audit import facts
from src.extras.contact_sheet import Cell, draw_sheet
from src.run import hashing, sources
from src.run.files import file_sha, read_json, sha256, write_json


class Dataset:
    """The images of a run. quick: only what is known of them already, and nothing that needs the network."""

    def __init__(self, run: Run, *, quick: bool = False) -> None:
        self.run, self.quick = run, quick
        self.settings, self.config, self.paths = run.settings, run.config, run.paths
        self.competition = run.competition
        self.cache = run.settings.cache / run.settings.comp / "audit"
        self.folder = run.paths.root / "audit"  # sheets and tables for the user

    @cached_property
    def table(self) -> pd.DataFrame:
        """folds.csv"""
        return tables.read_folds(self.paths.folds)

    @cached_property
    def test(self) -> pd.DataFrame:
        return tables.make_test(self.settings.folder, self.competition)

    @cached_property
    def host_table(self) -> pd.DataFrame:
        """The train table with all of the host's columns, in the host's order."""
        return read_part(self.settings.folder, self.competition, "train")

    @property
    def is_single(self) -> bool:
        """Has each image exactly one label?"""
        return self.competition.task in ("multiclass", "binary")

    @property
    def has_values(self) -> bool:
        return TASKS[self.competition.task].kind == "value"

    @cached_property
    def target(self) -> np.ndarray:
        """(N, T) of the training images."""
        return TASKS[self.competition.task].encode(self.table, self.competition)

    @cached_property
    def labels(self) -> pd.Series:
        """As a person reads them: the class, the classes, or the number."""
        if self.competition.task != "multilabel":
            return tables.joined(self.table, self.competition.targets)
        columns = self.table[list(self.competition.targets)]
        names = [" ".join(columns.columns[row]) for row in (columns == "1").to_numpy()]
        return pd.Series(names, index=columns.index)

    @property
    def strata(self) -> pd.Series:
        """The class within which images are compared; one for all with several labels or numbers."""
        return self.labels if self.is_single else self.labels.map(lambda label: "")

    @cached_property
    def images(self) -> pd.DataFrame:
        """All images, those of train first: id, path, row, features, part, label, group, fold, file, bytes,
        content.
        """
        told = ["id", "path", "row", *self.competition.features]  # to a read_image of one's own
        train = self.table[[*told, "group", "fold"]].assign(part="train", label=self.labels)
        test = self.test[told].assign(part="test", label="", group="", fold=-2)
        both = pd.concat([train, test], ignore_index=True)
        files = [self.settings.folder / path for path in both["path"]]
        hashes = facts.known_contents if self.quick else contents.content_hashes
        content = hashes(files, self.settings.memory)
        if self.competition.read_image:
            content = contents.told_apart(content, both)
        sizes = [os.stat(file).st_size if file.is_file() else 0 for file in files]
        return both.assign(file=[str(file) for file in files], bytes=sizes, content=content)

    @cached_property
    def facts(self) -> pd.DataFrame:
        """A line per image of `images` with facts.COLUMNS; empty where the image was never opened."""
        reader = self.competition.read_image
        memory = self.cache / f"opened-{hashing.name_of(reader) if reader else 'pillow'}.json"
        with contextlib.redirect_stdout(sys.stderr):
            return facts.open_all(
                self.images.to_dict("records"),
                memory,
                reader=reader,
                max_pixels=self.competition.max_pixels,
                workers=self.settings.machine.num_threads,
                only_known=self.quick,
            )

    def number(self, fact: str) -> pd.Series:
        """A column of `facts` as numbers."""
        return pd.to_numeric(self.facts[fact])

    @cached_property
    def is_readable(self) -> np.ndarray:
        return (self.facts["error"] == "").to_numpy()

    @property
    def is_train(self) -> np.ndarray:
        return (self.images["part"] == "train").to_numpy()

    @cached_property
    def features_key(self) -> str:
        """A hash of all that the features depend on; made without torch, so that a second audit takes
        seconds. Raises ValueError without weights.
        """
        from src.model.pretrained import pretrained_hash

        c = self.config
        weights_hash = pretrained_hash(c) or f"random {c.seed}"
        files = ("competitions.py", "data/images.py", "model/backbone.py")
        code = [file_sha(sources.SRC / name) for name in files]
        contents = self.images[["id", "content"]].to_numpy().tolist()
        return sha256([c.backbone, c.pool_type, c.image_size, weights_hash, code, contents])

    @cached_property
    def features(self) -> np.ndarray:
        """(N, F) of `images`: what a head-only run would give its head, from the same caches."""
        with contextlib.redirect_stdout(sys.stderr):
            return linear_probe.backbone_features(self.run, (self.table, self.test))

    def cached(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns (as JSON), made once for this key and the code of the audit."""
        files = [*sorted(Path(__file__).parent.glob("*.py")), Path(linear_probe.__file__)]
        path = self.cache / f"{name}-{sha256([key, [file_sha(file) for file in files]])}.json"
        if not path.exists():
            write_json(make(), path)
        return read_json(path)

    def draw_sheet(self, name: str, cells: list[tuple[list[int], list[str]]], *, columns: int) -> Path:
        """A contact sheet audit/<name>.png of cells: places in `images`, and captions."""
        drawn = [Cell([self.picture(place) for place in places], captions) for places, captions in cells]
        return draw_sheet(self.folder / f"{name}.png", drawn, columns=columns, size=160)

    def picture(self, place: int, size: int = 160) -> np.ndarray:
        """uint8 (size, size, 3); grey where it can't be read."""
        record = self.images.iloc[place].to_dict()
        try:
            return images.read_square(record, size, self.competition.read_image, self.competition.max_pixels)
        # readers raise errors of any kind; the check `images` reports them
        except Exception:
            return np.full((size, size, 3), 220, np.uint8)
