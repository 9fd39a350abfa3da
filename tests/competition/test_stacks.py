"""Images in arrays of NumPy: what each becomes, its label, and what is proposed to whom."""

import numpy as np
import pandas as pd
import pytest

from src import competitions
from src.competition import stacks, tables

PIXELS = np.arange(10 * 8 * 8 * 3, dtype=np.float64).reshape(10, 8, 8, 3) % 251  # (N, H, W, 3)


@pytest.mark.parametrize(
    "stored, shown",
    [
        (PIXELS.astype(np.uint8), PIXELS),
        (PIXELS.astype(np.float32), PIXELS),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.astype(np.float32) / 255, PIXELS),
        ((PIXELS / 255 > 0.5), 255 * (PIXELS / 255 > 0.5)),
        ((PIXELS / 255 > 0.5).astype(np.uint8), 255 * (PIXELS / 255 > 0.5)),
        (PIXELS * 16 - 100, 255 * PIXELS / PIXELS.max()),  # 12 bits, or standardised
        (PIXELS.astype(np.uint8).transpose(0, 3, 1, 2), PIXELS),
        (PIXELS[..., 0].astype(np.uint8), PIXELS[..., 0]),
        (PIXELS[..., :1].astype(np.uint8), PIXELS[..., 0]),
        (PIXELS[:, None, :, :, 0].astype(np.uint8), PIXELS[..., 0]),
        (PIXELS[..., 0].reshape(10, 64).astype(np.uint8), PIXELS[..., 0]),
        (np.concatenate([PIXELS, PIXELS], axis=3).astype(np.uint8), PIXELS),  # six channels: the first three
    ],
)
@pytest.mark.parametrize("is_archive", [False, True])
def test_an_image_of_an_array_is_bytes_with_channels_behind(stored, shown, is_archive, tmp_path):
    if is_archive:
        np.savez(tmp_path / "all.npz", x=stored, other=stored[:3])
        frame = stacks.stacked(tmp_path, "all.npz:x")
    else:
        np.save(tmp_path / "x.npy", stored)
        frame = stacks.stacked(tmp_path, "x.npy")
    assert frame["image"].tolist() == [f"x-{line}" for line in range(10)]
    for line in (0, 3, 9):
        record = {"file": str(tmp_path / frame["path"][line]), "id": frame["image"][line]}
        image = stacks.read(record)
        assert image.dtype == np.uint8 and np.abs(image - shown[line]).max() <= 1


@pytest.mark.parametrize(
    "labels, read",
    [
        (np.arange(10) % 3, [str(n % 3) for n in range(10)]),
        ((np.arange(10) % 3)[:, None], [str(n % 3) for n in range(10)]),
        (np.eye(3)[np.arange(10) % 3], [str(n % 3) for n in range(10)]),
        (np.array(["owl", "cat"] * 5), ["owl", "cat"] * 5),
        (np.arange(10) / 4, [str(n / 4) for n in range(10)]),
    ],
)
def test_labels_of_an_array_are_read_as_numbers_or_words(labels, read, tmp_path):
    np.save(tmp_path / "x.npy", PIXELS.astype(np.uint8))
    np.save(tmp_path / "y.npy", labels)
    assert stacks.stacked(tmp_path, "x.npy", "y.npy")["label"].tolist() == read


@pytest.mark.parametrize("first", [0, 1])
def test_a_table_that_numbers_the_images_in_another_order_is_read_by_its_numbers(first, tmp_path):
    """Line by line each image would have got the label of another."""
    np.save(tmp_path / "x.npy", PIXELS)
    table = pd.DataFrame({"label": [f"kind {n % 3}" for n in range(10)], "Id": range(first, 10 + first)})
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "y.csv", index=False)
    assert stacks.stacked(tmp_path, "x.npy", "y.csv")["label"].tolist() == table["label"].tolist()
    table.drop(columns="Id").to_csv(tmp_path / "y.csv", index=False)
    assert stacks.stacked(tmp_path, "x.npy", "y.csv")["label"].tolist() == table["label"].tolist()


def test_what_does_not_fit_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    np.save(tmp_path / "short.npy", np.arange(9))
    np.save(tmp_path / "several.npy", np.ones((10, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    for labels, message in (
        ("short.npy", "short.npy has 9 labels, x.npy has 10 images"),
        ("several.npy", "no row has a single 1"),
        ("objects.npy", "Python objects"),
    ):
        with pytest.raises(ValueError, match=message):
            stacks.stacked(tmp_path, "x.npy", labels)
    np.save(tmp_path / "flat.npy", PIXELS.reshape(10, -1)[:, :65])
    with pytest.raises(ValueError, match="65 pixels are no square"):
        stacks.read({"file": str(tmp_path / "flat.npy"), "id": "flat-0"})


LABELS = np.arange(10) % 2
LAYOUTS = {
    "x and y": {"x_train.npy": PIXELS, "y_train.npy": LABELS, "x_test.npy": PIXELS[:4]},
    "as Kuzushiji": {
        "k49-train-imgs.npz": {"arr_0": PIXELS[..., 0]},
        "k49-train-labels.npz": {"arr_0": LABELS},
        "k49-test-imgs.npz": {"arr_0": PIXELS[:4, ..., 0]},
    },
    "as MedMNIST, with labels of the test": {
        "med.npz": {
            "train_images": PIXELS,
            "train_labels": LABELS[:, None],
            "val_images": PIXELS[:3],
            "val_labels": LABELS[:3],
            "test_images": PIXELS[:4],
        }
    },
    "flat, in folders, labels in a csv": {
        "train/Xtrain.npy": PIXELS[..., 0].reshape(10, 64),
        "train/labels.csv": pd.DataFrame({"label": LABELS}),
        "test/Xtest.npy": PIXELS[:4, ..., 0].reshape(4, 64),
    },
}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_line_that_is_proposed_works(name, first, tmp_path):
    root = tmp_path / "comp"
    for file, content in LAYOUTS[name].items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            np.savez_compressed(root / file, **content)
        elif isinstance(content, np.ndarray):
            np.save(root / file, content)
        else:
            content.to_csv(root / file, index=False)
    sample = pd.DataFrame({"Id": range(first, first + 4), "label": 0})
    sample.to_csv(root / "sample_submission.csv", index=False)
    with pytest.raises(ValueError, match="no image in") as refused:
        competitions.load("comp", tmp_path)
    [line] = [line for line in str(refused.value).splitlines() if "def competition" in line]
    code, _, counts = line.strip().partition("    # ")
    assert counts == "2 classes, 10 images; test 4"
    (root / "competition.py").write_text(code)
    competition = competitions.load("comp", tmp_path)
    table, test = tables.make_train(root, competition), tables.make_test(root, competition)
    by_id = table.set_index("id")["label"]
    assert [by_id[f"{table['id'][0].rpartition('-')[0]}-{n}"] for n in range(10)] == [str(n) for n in LABELS]
    assert test["row"].tolist() == [str(first + n) for n in range(4)]
