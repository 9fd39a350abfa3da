"""Inputs, weights and caches that can only be read, as under /kaggle/input: all of it works, and what has to
be written goes elsewhere.
"""

import zipfile
from pathlib import Path

import pytest
import timm
from conftest import fast

from src.model import weights
from src.run.archives import unpack, unpack_all
from src.run.files import read_json


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_weights_in_a_folder_that_can_only_be_read_train_and_are_hashed_once(bench, read_only, monkeypatch):
    file = weights.save(timm.create_model("test_resnet"), bench.folder / "kaggle" / "weights")
    before = contents(bench.folder / "kaggle")
    read_only(bench.folder / "kaggle")
    settings = fast(f"pretrained=true weights={file}")
    paths = bench.run(settings)
    assert (bench.folder / f"submissions/{paths.name}.csv").exists() and contents(
        bench.folder / "kaggle"
    ) == before
    kept = list((bench.folder / "weights").glob("*.hash"))
    assert len(kept) == 1
    monkeypatch.setattr(weights, "file_sha", lambda path: pytest.fail(f"{path} is read once more"))
    assert (
        weights.weights_hash(file)
        == read_json(kept[0])["hash"]
        == read_json(paths.fold(0).done)["weights_hash"]
    )


def test_weights_are_hashed_each_time_where_nothing_can_be_written_at_all(tmp_path, monkeypatch, read_only):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"one")
    read_only(tmp_path)
    first, second = (weights.weights_hash(Path("model.safetensors")) for _ in range(2))
    assert first == second and [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_damaged_hash_beside_the_weights_is_made_anew(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = weights.weights_hash(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.hash").write_text('{"size": 3, "mt')
    assert weights.weights_hash(tmp_path / "model.safetensors") == first


def test_inputs_that_can_only_be_read_are_trained_on(bench, read_only):
    before = contents(bench.folder / "inputs")
    read_only(bench.folder / "inputs")
    paths = bench.run()
    assert paths.score.exists() and contents(bench.folder / "inputs") == before


def test_a_cache_that_can_only_be_read_is_used_and_what_is_new_goes_elsewhere(bench, read_only, capsys):
    """The first run leaves a cache in another folder; the second reads it and needs another size too."""
    bench.run(cache="elsewhere/cache")
    kept = contents(bench.folder / "elsewhere")
    read_only(bench.folder / "elsewhere")
    capsys.readouterr()
    bench.run(fast("seed=1"), "second", cache="elsewhere/cache")
    printed = capsys.readouterr().out
    assert (
        "CACHE=elsewhere/cache can't be written: what is there is used, what is new goes to runs/.cache"
        in printed.splitlines()
    )
    assert "decoding" not in printed, "what is there is used"
    bench.run(fast("image_size=40"), "third", cache="elsewhere/cache")
    assert "decoding 36 images at 40 px" in capsys.readouterr().out
    assert contents(bench.folder / "elsewhere") == kept
    is_link = {path.is_symlink() for path in (bench.folder / "runs/.cache/tiny").glob("*.npy")}
    assert is_link == {True, False}


def test_archives_say_where_they_can_not_be_unpacked(tmp_path, read_only):
    for place in ("a.zip", "b/train.zip"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / place, "w") as archive:
            archive.writestr("x", "y")
    read_only(tmp_path)
    for call in (lambda: unpack(tmp_path / "a.zip", tmp_path / "a"), lambda: unpack_all(tmp_path / "b")):
        with pytest.raises(
            ValueError,
            match="can't be written: unpack it in a copy of that folder, and give INPUTS=its place",
        ):
            call()
