"""What the checks look at: the run's tables, the facts of every image, the backbone's features. Each is made
when first asked for.
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

from src import competitions
from src.competition import tables
from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.config import Settings
from src.data import images
from src.extras import probe
from src.extras.audit import opened
from src.run import hashing, sources
from src.run.files import file_sha, read_json, sha256, write_json
from src.run.paths import RunPaths


class Case:
    """quick: only what is remembered of the images, and nothing that needs the network."""

    def __init__(self, settings: Settings, paths: RunPaths, *, quick: bool = False) -> None:
        self.settings, self.config, self.paths, self.quick = settings, settings.config, paths, quick
        self.cache = settings.cache / settings.comp / "audit"
        self.folder = paths.root / "audit"  # sheets and tables for the user

    @cached_property
    def competition(self) -> Competition:
        return competitions.load(self.settings.comp, self.settings.inputs)

    @cached_property
    def table(self) -> pd.DataFrame:
        return tables.read_folds(self.paths.folds)

    @cached_property
    def test(self) -> pd.DataFrame:
        return tables.make_test(self.settings.folder, self.competition)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The train table with all of the host's columns, in the host's order."""
        return tables.train_frame(self.settings.folder, self.competition)

    @property
    def is_single(self) -> bool:
        """Has an image one label among several?"""
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
        return pd.Series(
            [" ".join(columns.columns[row]) for row in (columns == "1").to_numpy()], index=columns.index
        )

    @property
    def kinds(self) -> pd.Series:
        """The class to compare images within; one for all where an image has several labels or numbers."""
        return self.labels if self.is_single else self.labels.map(lambda label: "")

    @cached_property
    def images(self) -> pd.DataFrame:
        """All images, those of train first: id, path, part, label, fold, file, bytes, content."""
        train = self.table[["id", "path", "row", "group", "fold"]].assign(part="train", label=self.labels)
        both = pd.concat(
            [train, self.test[["id", "path"]].assign(part="test", label="", row="", group="", fold=-2)],
            ignore_index=True,
        )
        files = [self.settings.folder / path for path in both["path"]]
        content = (opened.known_contents if self.quick else images.content_hashes)(
            files, self.settings.memory
        )
        sizes = [os.stat(file).st_size if file.is_file() else 0 for file in files]
        return both.assign(file=[str(file) for file in files], bytes=sizes, content=content)

    @cached_property
    def facts(self) -> pd.DataFrame:
        """A line per image of `images`, with the columns opened.COLUMNS; empty ones for what was never
        opened.
        """
        c = self.competition
        memory = self.cache / f"opened-{hashing.name_of(c.read_image) if c.read_image else 'pillow'}.json"
        with contextlib.redirect_stdout(sys.stderr):
            return opened.open_all(
                self.images.to_dict("records"),
                memory,
                reader=c.read_image,
                max_pixels=c.max_pixels,
                workers=self.settings.machine.workers,
                only_known=self.quick,
            )

    @cached_property
    def is_readable(self) -> np.ndarray:
        return (self.facts["error"] == "").to_numpy()

    @property
    def is_train(self) -> np.ndarray:
        return (self.images["part"] == "train").to_numpy()

    @cached_property
    def features_key(self) -> str:
        """Of all that the features depend on; told without torch, so that a second audit takes seconds.
        Raises ValueError without weights.
        """
        from src.model import weights

        c = self.config
        known = weights.pretrained_hash(c) or f"random {c.seed}"
        code = [
            file_sha(sources.SRC / name)
            for name in ("competitions.py", "data/images.py", "model/backbone.py")
        ]
        return sha256(
            [
                c.backbone,
                c.pool_type,
                c.image_size,
                known,
                code,
                self.images[["id", "content"]].to_numpy().tolist(),
            ]
        )

    @cached_property
    def features(self) -> np.ndarray:
        """(N, F) of `images`: what a head-only run would give its head, from the same caches."""
        with contextlib.redirect_stdout(sys.stderr):
            return probe.pooled(self.settings, self.competition, (self.table, self.test))

    def kept(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns (json takes it), made once for this key, these images and this code."""
        code = [
            file_sha(file) for file in (*sorted(Path(__file__).parent.glob("*.py")), Path(probe.__file__))
        ]
        path = self.cache / f"{name}-{sha256([key, code])}.json"
        if not path.exists():
            write_json(make(), path)
        return read_json(path)
