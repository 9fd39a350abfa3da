"""external.csv: its images train in every fold, are never scored, leak nothing, and change no hash of a run
without it.
"""

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import COLOURS, FAST, fast, make_competition, open_run
from PIL import Image

from src import competitions
from src.competition import facts, tables
from src.extras import verify
from src.extras.audit.command import FULL, examine
from src.extras.audit.dataset import Dataset
from src.extras.doctor.data import check_folds
from src.extras.doctor.setup import Setup
from src.run import predictions
from src.run.files import file_sha, read_json

NAMES = list(COLOURS)


def add_external(root, num: int = 6, folder: str = "external", **columns) -> pd.DataFrame:
    """Squares of the competition's colours below folder/, and the csv that names them."""
    rng = np.random.default_rng(7)
    (root / folder).mkdir(exist_ok=True)
    for i in range(num):
        pixels = np.clip(np.array(COLOURS[NAMES[i % 3]]) + rng.normal(0, 25, (24, 24, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{i}.png")
    frame = pd.DataFrame(
        {
            "path": [f"{folder}/{i}.png" for i in range(num)],
            "colour": [NAMES[i % 3] for i in range(num)],
            **columns,
        }
    )
    frame.to_csv(root / "external.csv", index=False)
    return frame


def test_external_images_train_in_every_fold_and_are_never_scored(bench, capsys):
    without = bench.configure()
    bench.stage("split", without)
    before, hashed = tables.read_folds(without.folds), read_json(without.competition)["fold_hash"]
    add_external(bench.inputs)
    paths = bench.run(FAST, "with")
    assert "external.csv: 6 images train in every fold and are never scored" in capsys.readouterr().out
    table = tables.read_folds(paths.folds)
    assert table[table["external"] == ""].drop(columns="external").equals(before)
    assert (table["fold"][36:] == -1).all() and table["id"][36:].tolist() == [
        f"external/{i}.png" for i in range(6)
    ]
    assert sorted(predictions.read(paths.oof).index) == sorted(before["id"])
    # what may be compared and blended is the same
    assert read_json(paths.competition)["fold_hash"] == hashed
    verify.verify(open_run(paths))
    assert not [
        f for f in examine(Dataset(open_run(paths)), FULL) if f.level == "FAIL" or "not checked" in f.seen
    ]
    assert check_folds(Setup(open_run(paths))).level == "pass"


def test_external_images_change_the_recipe_and_what_is_learned_and_none_leaves_them_out(bench, capsys):
    plain = bench.run(fast("epochs=1 folds=2"), "plain")
    add_external(bench.inputs)
    more, none = (bench.run(fast(f"epochs=1 folds=2 external={how}"), how) for how in ("auto", "none"))
    recipe = {paths.name: read_json(paths.score)["recipe"] for paths in (plain, more, none)}
    assert recipe["plain"] == recipe["none"] != recipe["auto"]
    assert file_sha(plain.oof) == file_sha(none.oof) != file_sha(more.oof)
    capsys.readouterr()
    # split.json lists external.csv, so the same command sees it
    bench.run(fast("epochs=1 folds=2"), "plain")
    assert (
        "trained with other contents of the training images; other external images" in capsys.readouterr().out
    )
    assert read_json(plain.score)["recipe"] == recipe["auto"]


def test_a_copy_of_a_training_image_is_left_out_and_one_of_a_test_image_is_named(bench, capsys):
    add_external(bench.inputs)
    shutil.copy(bench.inputs / "train/tr004.png", bench.inputs / "external/1.png")
    shutil.copy(bench.inputs / "test/te004.png", bench.inputs / "external/4.png")
    paths = bench.configure()
    bench.stage("split", paths)
    said = capsys.readouterr()
    assert (
        "1 images are left out: copies of training images, or linked with one by group or by another copy: external/1.png"
        in said.err
    )
    assert (
        "1 images are copies of test images: do the rules allow that?: external/4.png" in said.err
        and "external.csv: 5 images train" in said.out
    )
    assert "external/1.png" not in set(tables.read_folds(paths.folds)["id"])


def test_an_image_of_a_group_that_is_held_out_somewhere_is_left_out(bench, monkeypatch, capsys):
    table = pd.read_csv(bench.inputs / "train.csv")
    table.assign(patient=[f"p{i // 3}" for i in range(len(table))]).to_csv(
        bench.inputs / "train.csv", index=False
    )
    add_external(bench.inputs, patient=["p1", "q1", "q2", "", "q3", "p2"])
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: facts.Competition(group="patient"))
    paths = bench.configure()
    bench.stage("split", paths)
    assert (
        "2 images are left out: copies of training images, or linked with one by group or by another copy: external/0.png, external/5.png"
        in capsys.readouterr().err
    )
    bench.stage("train", paths, only=[0])


@pytest.mark.parametrize(
    "how",
    [
        {"suffix": "png", "compress_level": 1},
        {"suffix": "jpg", "quality": 95, "subsampling": 0},
        {"suffix": "bmp"},
        {"suffix": "png", "mirror": True},
    ],
)
def test_a_copy_with_other_bytes_is_left_out(bench, how, capsys):
    """On noise labels copies stored anew as PNG gave an OOF AUC of 0.897: the fold's model had learned what
    it was tested on.
    """
    frame = add_external(bench.inputs)
    how, name = dict(how), f"external/copy.{how['suffix']}"
    picture = Image.open(bench.inputs / "train/tr004.png")
    picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if how.pop("mirror", False) else picture
    how.pop("suffix")
    picture.save(bench.inputs / name, **how)
    assert (bench.inputs / name).read_bytes() != (bench.inputs / "train/tr004.png").read_bytes()
    pd.concat([frame, pd.DataFrame({"path": [name], "colour": ["green"]})]).to_csv(
        bench.inputs / "external.csv", index=False
    )
    paths = bench.configure()
    bench.stage("split", paths)
    assert (
        f"1 images are left out: copies of training images, or linked with one by group or by another copy: {name}"
        in capsys.readouterr().err
    )
    assert len(tables.read_folds(paths.folds)) == 42


def test_the_group_of_an_image_that_is_left_out_is_left_out_too(bench, monkeypatch, capsys):
    """external/0 is a training image again; external/1 shows the same patient; external/2 is a copy of
    external/1.
    """
    table = pd.read_csv(bench.inputs / "train.csv")
    table.assign(patient=[f"p{i}" for i in range(len(table))]).to_csv(bench.inputs / "train.csv", index=False)
    add_external(bench.inputs, patient=["q1", "q1", "q2", "q3", "q4", "q5"])
    shutil.copy(bench.inputs / "train/tr004.png", bench.inputs / "external/0.png")
    shutil.copy(bench.inputs / "external/1.png", bench.inputs / "external/2.png")
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: facts.Competition(group="patient"))
    paths = bench.configure()
    bench.stage("split", paths)
    assert "3 images are left out: copies of training images, or linked with one" in capsys.readouterr().err
    assert set(tables.read_folds(paths.folds)["id"][36:]) == {f"external/{i}.png" for i in (3, 4, 5)}


def test_a_copy_that_an_audit_has_grouped_with_a_training_image_is_left_out(bench):
    add_external(bench.inputs)
    (bench.inputs / "groups.csv").write_text("id,group\ntr003,1\nexternal/2.png,1\n")
    paths = bench.configure(fast("dedupe=group"))
    bench.stage("split", paths)
    assert (
        "external/2.png" not in set(tables.read_folds(paths.folds)["id"])
        and len(tables.read_folds(paths.folds)) == 41
    )


@pytest.mark.parametrize(
    "change, told",
    [
        (
            lambda frame: frame.replace("green", "yellow"),
            r"external/1.png, external/4.png \(there stands yellow\)",
        ),
        (
            lambda frame: frame.rename(columns={"path": "id"}),
            '(?s)no column path.*Its columns are path .* such as external/1.jpg.*colour; SET="external=none"',
        ),
        (
            lambda frame: frame.rename(columns={"colour": "label"}),
            "(?s)no column colour.*Its columns are path",
        ),
        (lambda frame: frame.replace("external/3.png", "3.png"), "1 of 6 .* images are missing.*3.png"),
        (lambda frame: pd.concat([frame, frame.assign(colour="red")]), "4 .* ids stand twice"),
    ],
)
def test_what_is_wrong_in_external_csv_is_said_with_what_to_write(bench, change, told):
    change(add_external(bench.inputs)).to_csv(bench.inputs / "external.csv", index=False)
    with pytest.raises(ValueError, match=told):
        bench.stage("split", bench.configure())


def test_external_images_do_not_disturb_what_is_inferred(tmp_path):
    """The folder external/ may look like one more class, or like another place of the training images."""
    plain = make_competition(tmp_path / "tiny")
    before = competitions.load("tiny", tmp_path)
    add_external(plain)
    for i in range(36):
        shutil.copy(plain / f"train/tr{i:03}.png", plain / f"external/tr{i:03}.png")
    assert competitions.load("tiny", tmp_path) == before
    folders = tmp_path / "folders"
    for i, name in enumerate(NAMES * 2):
        (folders / "photos" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(plain / f"train/tr{i:03}.png", folders / "photos" / name / f"{i}.png")
    shutil.copytree(plain / "test", folders / "test")
    before = competitions.load("folders", tmp_path)
    add_external(folders).rename(columns={"colour": "label"}).to_csv(folders / "external.csv", index=False)
    assert competitions.load("folders", tmp_path) == before and before.classes == tuple(sorted(NAMES))
    assert len(tables.make_external(folders, before)) == 6
