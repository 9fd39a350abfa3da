"""What a run costs: how often each piece of its work is done, times the seconds of one. Nothing is measured
here. Shared by doctor and plan.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from src.run.clock import SHARE

LOOK = 0.5  # of the time that decoding takes: what looking for broken images takes, where none is kept


class Work(NamedTuple):
    """How much a run has to do."""

    images: int  # that the folds learn from, each in all folds but its own
    held_out: int  # of these, those that a fold holds out
    folds: int
    epochs: int
    views: int = 0  # that pass the trunk before the training; 0: it is part of each step
    drawn: int = 0  # of these views, those that are augmented
    refits: int = 0
    test: int = 0  # test images
    test_views: int = 1
    is_test_cached: bool = False  # whether test images pass the trunk once for all models
    is_decoded: bool = True  # before anything else; False: whenever an image is read
    is_test_decoded: bool = True

    @property
    def models(self) -> int:
        return self.folds + self.refits

    @property
    def learned(self) -> int:
        """Images of one epoch of all models."""
        return self.models * self.images - self.held_out

    @property
    def predicting(self) -> int:
        """Models that predict the test images."""
        return self.refits or self.folds


class Rates(NamedTuple):
    """Seconds of one piece of work; 0 where it is not of interest."""

    start: float = 0.0  # the processes of a run, what they import, and the model
    split: float = 0.0  # but rows and images
    row: float = 0.0  # a line of the tables
    read: float = 0.0  # an image, for its hash
    checks: float = 0.0  # the quick checks before a training
    decode: float = 0.0  # an image
    trunk: float = 0.0  # a plain image
    drawn: float = 0.0  # an augmented image, with its augmentation
    fold: float = 0.0  # of a fold, what is neither step nor validation
    epoch: float = 0.0  # of an epoch of a fold, what does not grow with the images
    order: float = 0.0  # an image, for its place in an epoch
    step: float = 0.0  # an image of a training step
    save: float = 0.0  # a state of a fold, to go on from
    valid: float = 0.0  # an image of a validation
    evaluate: float = 0.0  # but the scores
    score: float = 0.0  # a score of the evaluation, but its rows
    score_row: float = 0.0  # a row of a score
    predict: float = 0.0  # but models and images
    model: float = 0.0  # a model that predicts, but its images
    test: float = 0.0  # a test image in a view of a model
    submit: float = 0.0  # but rows


# the parts of `parts` that a stage is made of
STAGES = {
    "start": ("start",),
    "split": ("split",),
    "quick checks": ("checks",),
    "decode": ("decode",),
    "trunk": ("trunk",),
    "train": ("folds", "epochs"),
    "evaluate": ("evaluate",),
    "predict": ("predict", "test decode", "test trunk", "test models"),
    "submit": ("submit",),
}


def parts(work: Work, rates: Rates) -> dict[str, float]:
    """Seconds of each part of a run, one after another on one device."""
    w, r = work, rates
    score_rows = w.epochs * w.held_out * r.score_row  # of the validations
    read, test_read = (not w.is_decoded) * r.decode, (not w.is_test_decoded) * r.decode
    step, valid = (seconds + (not w.views) * read for seconds in (r.step, r.valid))
    epochs = w.epochs * (w.models * r.epoch + w.learned * (r.order + step) + w.held_out * valid)
    test = r.test + (not w.is_test_cached) * test_read
    views_held_out = (w.test_views - 1) * w.held_out  # test-time views are scored out of fold too
    return {
        "start": r.start,
        "split": r.split + (w.images + w.test) * r.row + w.images * r.read,
        "checks": r.checks,
        "decode": w.images * (r.decode if w.is_decoded else LOOK * r.decode),
        "trunk": w.images * (min(w.views, 1) * r.trunk + w.drawn * r.drawn + w.views * read),
        "folds": w.models * r.fold,
        # a state is saved after each epoch, where that takes no more than its share of the time
        "epochs": epochs + score_rows + min(w.models * w.epochs * r.save, epochs / SHARE),
        # the curve has each validation's score again; then there is the score of all, and of each fold
        "evaluate": r.evaluate + w.folds * w.epochs * r.score + score_rows + 3 * w.held_out * r.score_row,
        "predict": r.predict,
        "test decode": w.test * (r.read + (r.decode if w.is_test_decoded else LOOK * r.decode)),
        "test trunk": w.is_test_cached * (w.test_views * w.test + views_held_out) * (r.trunk + test_read),
        "test models": w.predicting * (r.model + w.test_views * w.test * test) + views_held_out * test,
        "submit": r.submit + (w.images + w.test) * r.row,
    }


def of_stages(seconds: Mapping[str, float]) -> dict[str, float]:
    """The parts summed up to stages."""
    return {stage: sum(seconds[part] for part in names) for stage, names in STAGES.items()}


def memory_limit() -> int:
    """Bytes of the machine, or of the container where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total


UNITS = {"years": 365 * 86400, "days": 86400, "h": 3600, "min": 60, "s": 1}


def about(seconds: float) -> str:
    """Rounded to what an estimate is worth: 0.4 s, 12 s, 12 min, 3.4 h, 5 days."""
    for unit, size in UNITS.items():
        if seconds >= 1.5 * size or unit == "s":
            value = seconds / size
            digits = 1 if value < 5 and (unit != "s" or value < 2) else 0
            return f"{value:,.{digits}f} {unit}"
    raise AssertionError(seconds)
