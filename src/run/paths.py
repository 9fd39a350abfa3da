"""The name of every file of a run, once."""

import re
from dataclasses import dataclass
from pathlib import Path

from src.run.files import check_file, read_json

# a file's name may have 255 characters, and what is written beside it has an ending; W&B takes 128
LONGEST_NAME = 120
# the fold of the first model that learns from all images, -3 of the next: no image is in it, so none is held
# out
REFIT = -2


def file(name: str) -> property:
    """A path of this name below root."""
    return property(lambda self: self.root / name)


def fold_name(k: int) -> str:
    """ "fold 0", or "refit 0" of the first model that learns from all images."""
    return f"fold {k}" if k > REFIT else f"refit {REFIT - k}"


@dataclass(frozen=True)
class FoldPaths:
    """The files of runs/<name>/fold<k>/, and of refit<n>/, which holds nothing out. done.json is written
    last: with it the fold is finished.
    """

    root: Path
    label = property(
        lambda self: re.sub(r"(\d+)$", r" \1", self.root.name)
    )  # for messages: "fold 0", "refit 1"
    model = file("model.safetensors")
    valid = file("valid.parquet")
    valid_epochs = file("valid_epochs.parquet")
    valid_views = file("valid_views.parquet")
    views_json = file("valid_views.json")
    log = file("log.jsonl")
    state = file("state")  # a folder, there while training runs
    done = file("done.json")
    test = file("test.parquet")
    test_json = file("test.json")


@dataclass(frozen=True)
class RunPaths:
    """The files of runs/<name>/."""

    root: Path
    name = property(lambda self: self.root.name)
    config = file("config.json")
    competition = file("competition.json")
    folds = file("folds.csv")
    oof = file("oof.parquet")
    oof_tta = file("oof_tta.parquet")
    tta = file("tta.json")
    test = file("test.parquet")
    test_json = file("test.json")  # written after it: which models it is the mean of
    score = file("score.json")
    frozen = file("frozen.safetensors")  # in a bundle: what of the network no model has learned
    diff = file("code.diff")
    old = file("old")

    def settings(self, stage: str) -> Path:
        """split.json, train.json, predict.json or submit.json: make compares the stage's products with it."""
        return self.root / f"{stage}.json"

    def fold(self, k: int) -> FoldPaths:
        return FoldPaths(self.root / fold_name(k).replace(" ", ""))

    def lock(self, k: int) -> Path:
        """Beside the fold's folder, which may be moved."""
        return self.root / f"{self.fold(k).root.name}.lock"

    def begun(self) -> list[int]:
        """The folds, then the refits, that have a folder."""
        folders = [re.fullmatch(r"(fold|refit)(\d+)", folder.name) for folder in self.root.glob("*[0-9]/")]
        numbers = sorted((match[1], int(match[2])) for match in folders if match)
        return [number if kind == "fold" else REFIT - number for kind, number in numbers]

    def finished(self) -> list[int]:
        """The folds that have a done.json."""
        return sorted(int(done.parent.name[4:]) for done in self.root.glob("fold*/done.json"))

    def predicting(self, refit: int) -> list[int]:
        """The models whose mean the test predictions are: `refit` ones that learned from all images, or those
        of the folds.
        """
        return [REFIT - number for number in range(refit)] or self.finished()

    def scored(self) -> tuple[Path, dict]:
        """The out-of-fold predictions that belong to the test predictions, and their score: the mean over the
        views of tta, where the run has it. Raises Damaged.
        """
        path, score = self.oof, read_json(self.score)
        with_tta = read_json(self.tta) if self.tta.exists() else {}
        if with_tta and with_tta["recipe"] == score["recipe"]:
            config = read_json(self.config)["config"]
            sizes = with_tta.get("test_size", 0), config.get("test_size", 0)
            if with_tta["tta"] == config["tta"] and sizes[0] == sizes[1]:
                path, score = self.oof_tta, score | with_tta
        if "sha256" in score:  # not of a run of earlier code
            check_file(path, score["sha256"])
        return path, score


def check_name(value: str, what: str) -> str:
    """The same value if it can name a folder, a make target and a file. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=,-]*", value) or ".." in value:
        allowed = "letters, digits and . _ = , - (a letter or digit first, no '..')"
        raise ValueError(f"{what}={value!r} can't be a name: use {allowed}")
    if len(value) > LONGEST_NAME:
        raise ValueError(
            f"{what}={value[:20]}... has {len(value)} characters, a name may have {LONGEST_NAME}: RUN=name"
            " gives a shorter one"
        )
    return value


def check_run_name(value: str, what: str) -> str:
    """The same value if it can name a run. Raises ValueError for the names of other files in submissions/:
    ledger.csv, and the csv files of single folds and of make infer.
    """
    if check_name(value, what).lower() == "ledger" or re.search(r"\.(fold\d+|infer)$", value):
        raise ValueError(
            f"{what}={value}: submissions/{value}.csv is the name of another file: choose another {what}"
        )
    return value
