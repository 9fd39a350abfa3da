"""A tiny competition of coloured squares, and the real stages run on it in a temporary folder."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may wait for a network
os.environ.setdefault("WANDB_MODE", "offline")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no test may need, or choose its experiment by, a GPU

from src import predict, split, submit, train
from src.data import arrays
from src.experiments import EXPERIMENTS
from src.load_run import load_run as open_run
from src.run import configure
from src.run.paths import RunPaths

ROOT = Path(__file__).parents[1]
COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (210, 40, 40)}
FAST = "backbone=test_resnet pretrained=false trainable=1 image_size=32 epochs=2 folds=3 batch_size=8"


def fast(changes: str) -> str:
    """FAST with some settings changed or added."""
    pairs = dict(pair.split("=") for pair in f"{FAST} {changes}".split())
    return " ".join(f"{name}={value}" for name, value in pairs.items())


def make_competition(root: Path, num_train: int = 36, num_test: int = 9) -> Path:
    """Squares of three colours with noise, in Kaggle's layout: learnable in seconds, every image its own."""
    rng = np.random.default_rng(0)
    names = list(COLOURS)
    for part, count in (("train", num_train), ("test", num_test)):
        (root / part).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.clip(np.array(COLOURS[names[i % 3]]) + rng.normal(0, 25, (24, 24, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / part / f"{part[:2]}{i:03}.png")
    ids = {
        part: [f"{part[:2]}{i:03}" for i in range(count)]
        for part, count in (("train", num_train), ("test", num_test))
    }
    pd.DataFrame({"id": ids["train"], "colour": [names[i % 3] for i in range(num_train)]}).to_csv(
        root / "train.csv", index=False
    )
    pd.DataFrame({"id": ids["test"], "colour": "blue"}).to_csv(root / "sample_submission.csv", index=False)
    return root


class Bench:
    """The pipeline in a folder of its own: `bench.run()` goes from inputs/tiny to a submission;
    `bench.stage("train")` runs one stage.
    """

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        monkeypatch.chdir(folder)
        self.inputs = make_competition(folder / "inputs" / "tiny")

    def configure(
        self,
        settings: str = FAST,
        name: str = "tiny-run",
        *,
        machine: str = "wandb=off workers=0 device=cpu memory=strict",
        exp: str = "baseline",
        comp: str = "tiny",
        cache: str = "runs/.cache",
    ) -> RunPaths:
        for key, value in {
            "COMP": comp,
            "EXP": exp,
            "SET": settings,
            "MACHINE": machine,
            "INPUTS": "inputs",
            "CACHE": cache,
        }.items():
            self.monkeypatch.setenv(key, value)
        paths = RunPaths(Path("runs") / name)
        configure.configure(paths, os.environ, EXPERIMENTS)
        return paths

    def run(self, settings: str = FAST, name: str = "tiny-run", **how) -> RunPaths:
        paths = self.configure(settings, name, **how)
        for stage in ("split", "train", "predict", "submit"):
            self.stage(stage, paths)
        return paths

    def stage(self, stage: str, paths: RunPaths, **how):
        functions = {
            "split": split.split,
            "train": train.train,
            "predict": predict.predict,
            "submit": submit.submit,
        }
        return functions[stage](open_run(paths), **how)


class ReadOnly:
    """Folders that nothing may be written to, as on a disk mounted so: root may write where a mode forbids
    it, and tests may run as root.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []

    def holds(self, path: object) -> bool:
        if not self.folders or not isinstance(path, str | bytes | os.PathLike):
            return False
        return any(os.path.abspath(os.fsdecode(path)).startswith(folder) for folder in self.folders)

    def refuse(self, event: str, args: tuple) -> None:
        """Called for each file that Python opens or changes."""
        if event == "open" and self.holds(args[0]) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system", args[0])
        changed = {"os.symlink": args[1:2]}.get(event, args) if event in CHANGES else ()
        if any(map(self.holds, changed)):
            raise OSError(errno.EROFS, "Read-only file system", args[0])


CHANGES = ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.symlink", "os.link")
READ_ONLY = ReadOnly()
sys.addaudithook(READ_ONLY.refuse)  # there is no way to remove one; without folders it does nothing


@pytest.fixture
def read_only(monkeypatch) -> Iterator[Callable[[Path], None]]:
    """read_only(folder): from now on, to the end of the test, nothing can be written there."""
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode, **how: (
            access(path, mode, **how) and not (mode & os.W_OK and READ_ONLY.holds(path))
        ),
    )
    yield lambda folder: READ_ONLY.folders.append(os.path.abspath(folder))
    READ_ONLY.folders.clear()


def make_array(path: Path, shape: tuple[int, ...], dtype: str, fill) -> arrays.Array:
    """An array of the cache, filled in one piece by fill(values)."""

    def in_one(values: np.ndarray, begun: dict):
        fill(values)
        yield {"done": len(values)}

    return arrays.make_in_steps(path, shape, dtype, in_one, None)


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    return Bench(tmp_path, monkeypatch)
