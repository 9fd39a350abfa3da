"""Images that a read_image takes out of one file: a table of pixels, as in Kaggle's Digit Recognizer, or an array
of NumPy. Their file says nothing of each; every stage must tell them apart.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FAST, make_competition
from PIL import Image

from src import competitions
from src.data import decoding
from src.data.recipe import image_contents
from src.extras.audit.command import QUICK, examine
from src.extras.audit.dataset import Dataset
from src.load_run import load_run
from src.run import predictions

SIDE = 24


def squares(num: int, first: int = 0) -> np.ndarray:
    """(num, SIDE, SIDE, 3) uint8, each of its own, in three kinds by its number."""
    rng = np.random.default_rng(first)
    colours = np.eye(3)[np.arange(first, first + num) % 3] * 150 + 40
    noise = rng.normal(0, 25, (num, SIDE, SIDE, 3))
    return (colours[:, None, None] + noise).clip(0, 255).astype(np.uint8)


def labels(num: int) -> np.ndarray:
    return np.arange(num) % 3


def advised(root: Path) -> str:
    """The line that the error proposes, alone."""
    with pytest.raises(ValueError, match="no image in") as refused:
        competitions.load(root.name, root.parent)
    [line] = [line for line in str(refused.value).splitlines() if "def competition" in line]
    return line.partition("    #")[0].strip()


@pytest.fixture
def one_archive(bench):
    """Training and test images in one archive, as many of each."""
    root = bench.folder / "inputs" / "packed"
    root.mkdir()
    arrays = {"train_images": squares(30), "train_labels": labels(30), "test_images": squares(30, 1)}
    np.savez(root / "data.npz", **arrays)
    sample = pd.DataFrame({"Id": range(1, 31), "Category": 0})
    sample.to_csv(root / "sample_submission.csv", index=False)
    (root / "competition.py").write_text(advised(root))
    return bench


def test_train_and_test_images_of_one_archive_are_told_apart_in_every_stage(one_archive):
    paths = one_archive.run(FAST.replace("epochs=2", "epochs=6"), "packed-run", comp="packed")
    run = load_run(paths)
    decoded = [np.load(file) for file in sorted(Path("runs/.cache/packed").glob("images-*.npy"))]
    assert len(decoded) == 2 and not np.array_equal(*decoded)
    csv = pd.read_csv(Path("submissions") / "packed-run.csv")
    assert csv["Id"].tolist() == list(range(1, 31))
    # 30 images of noise and colour: the second archive begins with the second colour
    assert (csv["Category"] == (np.arange(30) + 1) % 3).mean() > 0.9
    hashes = image_contents(run, pd.read_csv(paths.folds, dtype=str))
    assert len({*hashes}) == 30


def test_other_images_of_the_same_file_are_decoded_and_predicted_anew(bench):
    """Of a file whose bytes stay the same: as many of its images, but others, had the pixels of those before."""
    root = bench.folder / "inputs" / "rows"
    root.mkdir()
    np.save(root / "x_train.npy", squares(36))
    np.save(root / "x_test.npy", squares(9, 1))
    half = "stacks.stacked(root, 'x_train.npy', 'labels.csv').iloc[{}].reset_index(drop=True)"
    pd.DataFrame({"label": labels(36)}).to_csv(root / "labels.csv", index=False)
    pd.DataFrame({"Id": range(9), "label": 0}).to_csv(root / "sample_submission.csv", index=False)
    seen = []
    for rows in ("::2", "1::2"):
        (root / "competition.py").write_text(
            "def table(root): return "
            + half.format(rows)
            + "\ndef competition(): return Competition(id='image', make_table=table, read_image=stacks.read,"
            " make_test=lambda root: stacks.stacked(root, 'x_test.npy', Id=0))"
        )
        paths = bench.configure(FAST, f"rows{len(seen)}", comp="rows")
        bench.stage("split", paths)
        run = load_run(paths)
        table = pd.read_csv(paths.folds, dtype=str)
        seen.append(decoding.decode(run, table).decoded.values[:].copy())
        numbers = [int(name.rpartition("-")[2]) for name in table["id"]]
        want = [np.asarray(Image.fromarray(squares(36)[n]).resize((32, 32), 2)).mean() for n in numbers]
        assert np.abs(seen[-1].mean(axis=(1, 2, 3)) - want).max() < 1
    assert not np.array_equal(*seen)


@pytest.mark.parametrize("quick", [False, True])
def test_the_audit_takes_images_of_one_file_for_no_copies(one_archive, quick):
    paths = one_archive.configure(FAST, "packed-run", comp="packed")
    one_archive.stage("split", paths)
    data = Dataset(load_run(paths), quick=quick)
    known = data.images["content"][data.images["content"] != ""]
    assert known.is_unique and data.images["part"].value_counts().to_dict() == {"train": 30, "test": 30}
    if not quick:
        assert data.is_readable.all() and data.number("spread").gt(0).all() and len(known) == 60


def test_a_table_of_pixels_goes_through_the_audit_that_submit_runs_first(bench):
    """Digit Recognizer ended in "98.8 % of train are copies in different folds" before its first epoch."""
    root = bench.folder / "inputs" / "digits"
    root.mkdir()
    names = [f"pixel{n}" for n in range(64)]
    for part, num in (("train", 36), ("test", 9)):
        pixels = squares(num, len(part))[:, :8, :8, 0].reshape(num, 64)
        frame = pd.DataFrame(pixels, columns=names)
        if part == "train":
            frame.insert(0, "label", labels(num))
        frame.to_csv(root / f"{part}.csv", index=False)
    pd.DataFrame({"ImageId": range(1, 10), "Label": 0}).to_csv(root / "sample_submission.csv", index=False)
    (root / "competition.py").write_text(advised(root))
    paths = bench.run(FAST, "digits-run", comp="digits")
    assert len(predictions.read(paths.test)) == 9
    found = list(examine(Dataset(load_run(paths), quick=True), QUICK))
    assert found and not [one for one in found if one.level == "FAIL"], found
    [order] = [one for one in found if one.check == "order"]
    assert order.level == "pass" and "neighbours by id have the same label in 0%" in order.seen


def test_what_a_reader_is_told_beside_the_file_is_told_in_the_audit_too_and_makes_other_pixels(bench):
    root = make_competition(bench.folder / "inputs" / "told")
    train = pd.read_csv(root / "train.csv").assign(age="7")
    train.to_csv(root / "train.csv", index=False)
    sample = pd.read_csv(root / "sample_submission.csv")
    sample[["id"]].assign(age="8").to_csv(root / "test.csv", index=False)
    (root / "competition.py").write_text(
        "def read(record):\n    assert record['age'] and record['row']\n"
        "    return np.zeros((9, 9), np.uint8) + int(record['age'])\n"
        "def competition(): return Competition(features=('age',), read_image=read)\n"
    )
    paths = bench.configure(FAST, "told-run", comp="told")
    bench.stage("split", paths)
    assert Dataset(load_run(paths)).is_readable.all()
    for age in (7, 9):  # in the csv alone: the files are the same
        train.assign(age=str(age)).to_csv(root / "train.csv", index=False)
        bench.stage("split", paths)
        run = load_run(paths)
        table = pd.read_csv(paths.folds, dtype=str)
        assert (decoding.decode(run, table).decoded.values[:] == age).all()
