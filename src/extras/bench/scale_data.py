"""Made-up competitions of any size in Kaggle's layout, for the benchmark `scale`."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

NUM_CLASSES = 10
SIDE = 32  # pixels of an image
ROWS_COMPETITION = '''\
import numpy as np

from src.competition.facts import Competition


def read_image(record):
    """All rows share a picture: what is measured are the tables."""
    return np.load(record["file"])


def competition():
    return Competition(train_images="image.npy", test_images="image.npy", read_image=read_image)
'''


def make_images(folder: Path, num_train: int, num_test: int) -> None:
    """A JPEG or PNG per image, of a colour per class with noise."""
    rng = np.random.default_rng(0)
    for part, count in (("train", num_train), ("test", num_test)):
        (folder / part).mkdir(parents=True)
        ids = [f"{number:07}.{'jpg' if number % 2 else 'png'}" for number in range(count)]
        labels = rng.integers(0, NUM_CLASSES, count)
        for name, label in zip(ids, labels):
            Image.fromarray(noisy(rng, int(label))).save(folder / part / name)
        write_table(folder, part, ids, labels)


def make_rows(folder: Path, num_train: int, num_test: int) -> None:
    """So many rows, whose images are not looked at."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    np.save(folder / "image.npy", noisy(rng, 0))
    (folder / "competition.py").write_text(ROWS_COMPETITION)
    for part, count in (("train", num_train), ("test", num_test)):
        ids = [f"{part}{number:07}" for number in range(count)]
        write_table(folder, part, ids, rng.integers(0, NUM_CLASSES, count))


def noisy(rng: np.random.Generator, label: int) -> np.ndarray:
    return (rng.integers(0, 100, (SIDE, SIDE, 3)) + label * 15).astype(np.uint8)


def write_table(folder: Path, part: str, ids: list[str], labels: np.ndarray) -> None:
    """train.csv, or sample_submission.csv with the first class everywhere."""
    shown = labels if part == "train" else 0
    table = pd.DataFrame({"id": ids, "label": shown})
    table.to_csv(folder / ("train.csv" if part == "train" else "sample_submission.csv"), index=False)


COMPETITIONS = {"images": make_images, "rows": make_rows}
