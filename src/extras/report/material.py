"""What a report is about: a finished run's held-out images with their labels, answers and errors. Each part
is made when it is first needed.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import scoring, tables
from src.competition.tasks import TASKS
from src.data import decoding
from src.data.images import open_picture
from src.data.run import Run
from src.extras.results import Result, finished, neighbour
from src.run import predictions

MOST_OPENED = 20_000  # files whose headers are read for their size


class Material:
    """Arrays of N are in the order of `table`: the images that a fold has held out."""

    def __init__(self, run: Run) -> None:
        """Raises ValueError for a run without a score."""
        if not run.paths.score.exists():
            raise ValueError(f"{run.paths.root} has no score.json yet: make train RUN={run.paths.name}")
        self.run, self.paths, self.competition = run, run.paths, run.competition
        self.result = Result(run.paths)
        self.score = self.result.score

    # -- tables

    @cached_property
    def folds(self) -> pd.DataFrame:
        """All of folds.csv, also the rows that always train."""
        return tables.read_folds(self.paths.folds)

    @cached_property
    def table(self) -> pd.DataFrame:
        return self.folds[self.folds["fold"] >= 0].reset_index(drop=True)

    @cached_property
    def places(self) -> np.ndarray:
        """(N,) where each image of `table` stands in `folds`, and so in the arrays of the cache."""
        return np.flatnonzero(self.folds["fold"] >= 0)

    @cached_property
    def test(self) -> pd.DataFrame:
        return tables.make_test(self.run.inputs, self.competition)

    @cached_property
    def oof(self) -> pd.DataFrame:
        """The out-of-fold predictions that the score is of."""
        return predictions.read(self.paths.scored()[0]).loc[self.table["id"]]

    @cached_property
    def others(self) -> list[Result]:
        """The other finished runs of this competition."""
        beside = finished(self.paths.root.parent)
        return [one for one in beside if one.name != self.paths.name and one.comp == self.result.comp]

    @cached_property
    def neighbour(self) -> Result | None:
        return neighbour(self.result, self.others)

    # -- the task

    @property
    def is_single(self) -> bool:
        """Has each image exactly one class?"""
        return self.competition.is_single

    @property
    def is_ordinal(self) -> bool:
        return self.competition.task == "ordinal"

    @property
    def has_values(self) -> bool:
        """Are the labels numbers, and no classes?"""
        return TASKS[self.competition.task].kind == "value" and not self.is_ordinal

    @property
    def classes(self) -> list[str]:
        """The classes, labels or grades; the names of the numbers."""
        return list(self.competition.outputs if self.has_values else self.competition.classes)

    # -- truth and answers

    @cached_property
    def target(self) -> np.ndarray:
        """(N, T) what perfect predictions would be."""
        return TASKS[self.competition.task].encode(self.table, self.competition)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N, T) float64"""
        return self.oof[list(self.competition.outputs)].to_numpy(dtype=np.float64)

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) the place in `classes` of the true class or grade."""
        return self.target[:, 0].astype(int) if self.is_ordinal else self.target.argmax(axis=1)

    @cached_property
    def answer(self) -> np.ndarray:
        """(N,) the place in `classes` of the likeliest class, or the nearest grade."""
        if self.is_ordinal:
            return self.predicted[:, 0].round().clip(0, len(self.classes) - 1).astype(int)
        return self.predicted.argmax(axis=1)

    @cached_property
    def is_right(self) -> np.ndarray:
        """(N,) bool. Of numbers: nearer than nine of ten images."""
        if self.has_values:
            return self.error <= np.quantile(self.error, 0.9)
        if self.competition.task == "multilabel":
            return ((self.predicted >= 0.5) == (self.target >= 0.5)).all(axis=1)
        return self.answer == self.label

    @cached_property
    def error(self) -> np.ndarray:
        """(N,) how wrong each answer is: the log loss of probabilities, the distance of numbers in standard
        deviations of the labels (in grades, of grades).
        """
        if self.is_single:
            return -np.log(self.predicted[np.arange(len(self.label)), self.label].clip(1e-12))
        if self.competition.task == "multilabel":
            right = np.where(self.target >= 0.5, self.predicted, 1 - self.predicted)
            return -np.log(right.clip(1e-12)).mean(axis=1)
        scale = 1.0 if self.is_ordinal else np.maximum(self.target.std(axis=0), 1e-12)
        return (np.abs(self.predicted - self.target) / scale).mean(axis=1)

    @cached_property
    def doubt(self) -> np.ndarray:
        """(N,) how undecided each answer is, from 0 to 1; of numbers nothing is known, so all are 0."""
        if self.has_values:
            return np.zeros(len(self.table))
        if self.is_ordinal:
            return 2 * np.abs(self.predicted[:, 0] - self.predicted[:, 0].round())
        if self.competition.task == "multilabel":
            return 1 - 2 * np.abs(self.predicted - 0.5).min(axis=1)
        ordered = np.sort(self.predicted, axis=1)
        return 1 - (ordered[:, -1] - ordered[:, -2])

    def score_of(self, table: pd.DataFrame) -> float:
        """The metric of a part of the images; nan where it has none, as of one class alone."""
        table = table.reset_index(drop=True)
        try:
            with np.errstate(all="ignore"):
                return scoring.score(self.competition, table, self.oof.loc[table["id"]])
        except Exception:  # a metric of the host's may raise anything for images that it never gets alone
            return float("nan")

    def words(self, values: np.ndarray) -> str:
        """One image's truth or prediction (T,), as a person reads it."""
        if self.competition.task == "multilabel":
            return ", ".join(np.array(self.classes)[values >= 0.5]) or "none"
        if self.is_ordinal:
            nearest = self.classes[int(values[0].round().clip(0, len(self.classes) - 1))]
            return nearest if values[0] == values[0].round() else f"{nearest} ({values[0]:.2f})"
        if self.has_values:
            return ", ".join(f"{value:.4g}" for value in values)
        return self.classes[int(values.argmax())]

    # -- pictures

    @cached_property
    def pixels(self) -> np.ndarray:
        """(M, size, size, 3) uint8 in the order of `folds`, as the model sees them; from the cache where it
        is there.
        """
        return decoding.decode(self.run, self.folds, tolerant=True).decoded.values

    @cached_property
    def test_pixels(self) -> np.ndarray:
        """The same of the test images, in the order of `test`."""
        return decoding.decode(self.run, self.test, tolerant=True).decoded.values

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N, 2) width and height in pixels, by the files' headers."""
        paths = [self.run.inputs / path for path in self.table["path"]]
        known = [size_of(path) for path in paths[:MOST_OPENED]]
        return np.array(known + [(0, 0)] * (len(paths) - len(known)))


def size_of(path: Path) -> tuple[int, int]:
    """(0, 0) of a file that Pillow does not open, such as one with a reader of its own."""
    try:
        with open_picture(path) as picture:
            return picture.size
    except (ValueError, OSError):
        return 0, 0


def share_interval(right: np.ndarray | int, number: int) -> tuple[float, float]:
    """95 % of a share, by Wilson 1927, doi:10.1080/01621459.1927.10502953; nan of nothing."""
    if not number:
        return float("nan"), float("nan")
    z, count = 1.96, float(np.sum(right))
    share = count / number
    middle = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * np.sqrt(share * (1 - share) / number + z * z / (4 * number**2))
    return float(middle - half), float(middle + half)
