"""Faults of a competition's data, each planted in the tiny competition and caught by the check that is named;
none in the clean one.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from conftest import COLOURS, fast, open_run
from PIL import Image
from safetensors.torch import save_file

from src.competition import tables
from src.extras.audit.command import FULL, QUICK, examine
from src.extras.audit.dataset import Dataset
from src.run import predictions


class Fault(NamedTuple):
    name: str
    where: str  # it is planted
    check: str  # that must catch it
    fix: str  # what must stand in the line
    plant: Callable[[Path], object]  # (folder of the competition), or of the run when after_split
    settings: str = ""
    level: str = "warn"
    after_split: bool = False
    quick: bool = False  # is it seen by the quick checks too?


# -- planting


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def texture(seed: int, size: int = 24) -> np.ndarray:
    """A picture that has a shape, as noise has none: smooth blobs."""
    small = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def painted(values: np.ndarray, seed: int, size: int = 24) -> np.ndarray:
    """The picture's colour, with blobs in place of its noise."""
    return np.clip(values.mean(axis=(0, 1)) + 0.6 * (texture(seed, size).astype(float) - 128), 0, 255).astype(
        np.uint8
    )


def save(values: np.ndarray, path: Path, **how) -> None:
    Image.fromarray(values).save(path, **how)


def train(root: Path, number: int) -> Path:
    return root / "train" / f"tr{number:03}.png"


def every(change: Callable[[np.ndarray], np.ndarray], part: str = "train", step: int = 1) -> Callable:
    def plant(root: Path) -> None:
        for path in sorted((root / part).glob("*.png"))[::step]:
            save(change(pixels(path)), path)

    return plant


def one(change: Callable[[Path], object]) -> Callable:
    return lambda root: change(train(root, 4))


def relabel(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable:
    return lambda root: change(pd.read_csv(root / "train.csv", dtype=str)).to_csv(
        root / "train.csv", index=False
    )


def copy(source: str, target: str) -> Callable:
    return lambda root: (root / target).write_bytes((root / source).read_bytes())


def near(change: Callable[[Image.Image], Image.Image], target: str) -> Callable:
    """Textured pictures, and the first of them, changed a little, once more."""

    def plant(root: Path) -> None:
        for number, path in enumerate(sorted(root.glob("t*/*.png"))):
            save(painted(pixels(path), number, 64), path)
        change(Image.open(train(root, 0))).save(root / target)

    return plant


def dimmed(image: Image.Image) -> Image.Image:
    packed = io.BytesIO()
    image.point(lambda value: int(value * 0.95)).save(packed, "JPEG", quality=85)
    return Image.open(packed)


def jpeg(path: Path) -> bytes:
    whole = io.BytesIO()
    Image.fromarray(texture(1, 64)).save(whole, "JPEG")
    return whole.getvalue()


def truncate(path: Path) -> None:
    path.write_bytes(jpeg(path)[:600])


def sixteen_bits(path: Path) -> None:
    # as a 12-bit camera gives them
    Image.fromarray(np.random.default_rng(0).integers(0, 4095, (24, 24)).astype(np.uint16)).save(path)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)


def animated(path: Path) -> None:
    frames = [Image.fromarray(texture(seed)) for seed in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def transparent(path: Path) -> None:
    alpha = np.zeros((24, 24, 1), np.uint8)
    alpha[:12] = 255
    save(np.concatenate([pixels(path), alpha], axis=2), path)


def cmyk(path: Path) -> None:
    Image.open(path).convert("CMYK").save(path, "JPEG")


def long_strips(root: Path) -> None:
    for number in range(3):
        save(np.tile(pixels(train(root, number)), (1, 6, 1)), train(root, number))


def add_rare(root: Path) -> None:
    save(texture(5), root / "train" / "tr900.png")
    with (root / "train.csv").open("a") as file:
        file.write("tr900,violet\n")


def add_many(root: Path) -> None:
    """As many blue ones as the metric should not care for."""
    rng = np.random.default_rng(1)
    with (root / "train.csv").open("a") as file:
        for number in range(300, 540):
            save(
                np.clip(np.array(COLOURS["blue"]) + rng.normal(0, 25, (24, 24, 3)), 0, 255).astype(np.uint8),
                train(root, number),
            )
            file.write(f"tr{number},blue\n")


def patients(root: Path) -> None:
    """12 patients with 3 pictures each, of one colour and one body."""
    table = pd.read_csv(root / "train.csv", dtype=str)
    # 12 is a multiple of 3: a patient has one colour
    table["patient"] = [f"p{number % 12}" for number in range(36)]
    for number in range(36):
        noise = np.random.default_rng(number).normal(0, 12, (24, 24, 3))
        save(
            np.clip(painted(pixels(train(root, number)), number % 12) + noise, 0, 255).astype(np.uint8),
            train(root, number),
        )
    table.to_csv(root / "train.csv", index=False)


def patients_in_ids(root: Path) -> None:
    patients(root)
    table = pd.read_csv(root / "train.csv", dtype=str)
    for number, row in table.iterrows():
        train(root, number).rename(root / "train" / f"{row['patient']}_{number // 12}.png")
        table.loc[number, "id"] = f"{row['patient']}_{number // 12}"
    table.drop(columns="patient").to_csv(root / "train.csv", index=False)


def pad_files(root: Path) -> None:
    """Bytes behind the picture's end, as many as the class says."""
    for row in pd.read_csv(root / "train.csv", dtype=str).itertuples():
        with (root / "train" / f"{row.id}.png").open("ab") as file:
            file.write(b"\0" * 2000 * sorted(COLOURS).index(row.colour))


def size_by_class(root: Path) -> None:
    for row in pd.read_csv(root / "train.csv", dtype=str).itertuples():
        path, size = root / "train" / f"{row.id}.png", 24 + 4 * sorted(COLOURS).index(row.colour)
        Image.open(path).resize((size, size)).save(path)


def in_label_order(root: Path) -> None:
    """Numbered class by class."""
    table = pd.read_csv(root / "train.csv", dtype=str).sort_values("colour", kind="stable")
    files = [train(root, int(name[2:])).read_bytes() for name in table["id"]]
    for number, content in enumerate(files):
        train(root, number).write_bytes(content)
    table.assign(id=[f"tr{number:03}" for number in range(36)]).to_csv(root / "train.csv", index=False)


def many_tests(
    root: Path, change: Callable[[np.ndarray], np.ndarray] = lambda values: values, count: int = 36
) -> None:
    rng, names = np.random.default_rng(2), list(COLOURS)
    for number in range(count):
        values = np.clip(
            np.array(COLOURS[names[number % 3]]) + rng.normal(0, 25, (24, 24, 3)), 0, 255
        ).astype(np.uint8)
        save(change(values), root / "test" / f"te{number:03}.png")
    pd.DataFrame({"id": [f"te{number:03}" for number in range(count)], "colour": "blue"}).to_csv(
        root / "sample_submission.csv", index=False
    )


def brighter(root: Path) -> None:
    many_tests(root, lambda values: np.clip(values.astype(int) + 60, 0, 255).astype(np.uint8))


def smaller(root: Path) -> None:
    many_tests(root, lambda values: values[::2, ::2])


def swap_labels(root: Path) -> None:
    def swap(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(
            colour=[
                "red" if name in ("tr000", "tr003") else colour
                for name, colour in zip(table["id"], table["colour"])
            ]
        )

    relabel(swap)(root)


def trained(run: Path) -> None:
    """Held-out predictions that see the colours and not the labels of the csv."""
    table, names = tables.read_folds(run / "folds.csv"), sorted(COLOURS)
    seen = [list(COLOURS)[int(name[2:]) % 3] for name in table["id"]]
    values = np.full((len(table), 3), 0.02)
    values[range(len(table)), [names.index(name) for name in seen]] = 0.96
    predictions.write(predictions.make(table["id"], values, names), run / "oof.parquet")


def predicted_in_blocks(run: Path) -> None:
    names = [f"te{number:03}" for number in range(36)]
    predictions.write(
        predictions.make(names, np.eye(3)[[number // 12 for number in range(36)]], sorted(COLOURS)),
        run / "test.parquet",
    )


def give_weights(root: Path) -> None:
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), Path("weights.safetensors"))


def strange_pictures(root: Path) -> None:
    """Labels that nothing in the pictures tells."""
    give_weights(root)
    relabel(lambda table: table.assign(colour=table["colour"].sample(frac=1, random_state=3).to_numpy()))(
        root
    )


PIXELS, CSV, RUN = "an image", "train.csv", "the run"
FAULTS = [
    # files
    Fault("an image cut short", PIXELS, "truncated", "bad_images=drop", one(truncate), level="FAIL"),
    Fault(
        "an image of no bytes",
        PIXELS,
        "zero-size",
        "bad_images=drop",
        one(lambda path: path.write_bytes(b"")),
        level="FAIL",
    ),
    Fault(
        "a page of a web server in place of an image",
        PIXELS,
        "unreadable",
        "bad_images=drop",
        one(lambda path: path.write_text("<html>404")),
        level="FAIL",
    ),
    Fault(
        "a test image cut short",
        PIXELS,
        "truncated",
        "average answer",
        lambda root: truncate(root / "test" / "te001.png"),
    ),
    Fault(
        "16 bits of which a camera fills 12",
        PIXELS,
        "16-bit",
        "divides by the largest value",
        one(sixteen_bits),
    ),
    Fault(
        "a JPEG named .png",
        PIXELS,
        "extension",
        "rename them",
        one(lambda path: path.write_bytes(jpeg(path))),
    ),
    Fault("an animation", PIXELS, "animated", "first frame alone", one(animated)),
    Fault("a transparent background", PIXELS, "alpha", "pastes onto a background", one(transparent)),
    Fault("a CMYK image", PIXELS, "cmyk", "without a colour profile", one(cmyk), level="pass"),
    Fault("an image stored turned", PIXELS, "exif", "loaded upright", one(turned), level="pass"),
    Fault("panoramas squashed to a square", PIXELS, "aspect", "crops or pads", long_strips),
    Fault(
        "a grey placeholder for a lost image",
        PIXELS,
        "blank",
        "placeholder",
        one(lambda path: save(np.full((24, 24, 3), 128, np.uint8), path)),
    ),
    Fault(
        "an image of one pixel",
        PIXELS,
        "tiny",
        "placeholder",
        one(lambda path: save(np.full((1, 1, 3), 128, np.uint8), path)),
    ),
    # classes and groups
    Fault("a class with one image", CSV, "rare", "folds=", add_rare, quick=True),
    Fault(
        "23 images of one class for each of another, and macro F1",
        CSV,
        "classes",
        "class_weights=sqrt",
        add_many,
        quick=True,
    ),
    Fault(
        "the same patient on both sides of a split", CSV, "groups", "group='patient'", patients, level="FAIL"
    ),
    Fault(
        "a column of patients, before the images are looked at",
        CSV,
        "groups",
        "group='patient'",
        patients,
        quick=True,
        level="warn",
    ),
    Fault(
        "patients that only the ids tell", CSV, "groups", "id up to its last", patients_in_ids, level="FAIL"
    ),
    # copies
    Fault(
        "an image twice, with two labels",
        CSV,
        "copies-labels",
        "different labels",
        copy("train/tr000.png", "train/tr001.png"),
        quick=True,
    ),
    Fault(
        "an image twice, in two folds",
        "SET",
        "copies-folds",
        "dedupe=content",
        lambda root: [
            copy(f"train/tr{i:03}.png", f"train/tr{i + 3:03}.png")(root) for i in (0, 1, 2, 12, 13, 14)
        ],
        "dedupe=none",
        level="FAIL",
    ),
    Fault(
        "a test image that is in train",
        PIXELS,
        "copies-test",
        "labels are known",
        copy("train/tr000.png", "test/te001.png"),
    ),
    Fault(
        "a darker copy, compressed anew, in another fold",
        PIXELS,
        "near-copies-folds",
        "dedupe=group",
        near(dimmed, "train/tr003.png"),
        "fold_seed=1",
        level="FAIL",
    ),
    Fault(
        "a copy with another label",
        PIXELS,
        "near-copies-labels",
        "different labels",
        near(dimmed, "train/tr001.png"),
        "fold_seed=10",
    ),
    Fault(
        "a mirrored copy in the test",
        PIXELS,
        "near-copies-test",
        "labels are known",
        near(lambda image: dimmed(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), "test/te001.png"),
    ),
    # what tells the label beside the picture
    Fault("ids numbered class by class", CSV, "order", "state their group", in_label_order, quick=True),
    Fault("file size tells the label", PIXELS, "file-tells-label", "file's bytes", pad_files),
    Fault("image size tells the label", PIXELS, "file-tells-label", "picture's size", size_by_class),
    Fault(
        "the sample's order tells the label",
        RUN,
        "sample-order",
        "smooth the predictions",
        predicted_in_blocks,
        after_split=True,
        quick=True,
    ),
    # labels, and the test
    Fault("swapped labels, found by the OOF", CSV, "label-noise", "tr000, tr003", trained, after_split=True),
    Fault(
        "swapped labels, found before any training",
        CSV,
        "label-noise",
        "linear probe",
        swap_labels,
        level="pass",
    ),
    Fault(
        "labels that the backbone does not see",
        CSV,
        "learning-curve",
        "another backbone",
        strange_pictures,
        "pretrained=true weights=weights.safetensors",
    ),
    Fault("a brighter test", PIXELS, "drift", "brightness", brighter),
    Fault("a test in another light", PIXELS, "adversary", "test_like.csv", brighter),
    Fault("a test of smaller images", PIXELS, "drift", "image_size", smaller),
]


def audit(
    bench,
    settings: str = "",
    *,
    quick: bool = False,
    after_split: Callable[[Path], object] = lambda run: None,
) -> list:
    paths = bench.configure(fast(settings))
    bench.stage("split", paths)
    after_split(paths.root)
    return list(examine(Dataset(open_run(paths), quick=quick), QUICK if quick else FULL))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_a_planted_fault_is_caught_by_its_check(bench, fault):
    if fault.after_split and fault.check == "label-noise":
        swap_labels(bench.inputs)
    if fault.after_split and fault.check == "sample-order":
        many_tests(bench.inputs)
    if not fault.after_split:
        fault.plant(bench.inputs)
    findings = audit(
        bench,
        fault.settings,
        quick=fault.quick,
        after_split=fault.plant if fault.after_split else lambda run: None,
    )
    caught = [
        finding
        for finding in findings
        if finding.check == fault.check and fault.fix in f"{finding.seen} {finding.change}"
    ]
    assert [finding.level for finding in caught] == [fault.level], findings
    assert {finding.check for finding in findings if finding.level == "FAIL"} <= {fault.check}, (
        "another check fails"
    )


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("settings", ["", "limit=24 folds=2"])
def test_clean_data_are_warned_of_by_no_check(bench, settings, quick):
    findings = audit(bench, settings, quick=quick)
    assert [finding for finding in findings if finding.level != "pass"] == []
    assert (
        {finding.check for finding in findings} == set(QUICK) - {"formats", "shapes"} if quick else set(FULL)
    )
