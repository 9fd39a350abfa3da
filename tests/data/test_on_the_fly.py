"""Images that are decoded as they are read give the bytes of those that were decoded once."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fast
from PIL import Image
from test_images import broken

from src.data import images, on_the_fly
from src.data.batches import Batches, Rows
from src.data.images import Records, read_all
from src.data.on_the_fly import Files
from src.run.errors import Stopped

MACHINE = "wandb=off device=cpu decoded_gb=0 workers="


def products(bench, paths) -> dict[str, bytes]:
    files = [*paths.root.glob("fold*/*.safetensors"), *paths.root.glob("**/*.parquet")]
    csv = bench.folder / "submissions" / f"{paths.name}.csv"
    return {file.relative_to(paths.root).as_posix(): file.read_bytes() for file in files} | {
        "csv": csv.read_bytes()
    }


def away() -> None:
    """Neither cache nor folds can be taken over."""
    shutil.rmtree("runs/.cache")
    shutil.rmtree("elsewhere", ignore_errors=True)
    shutil.move("runs/tiny-run", "elsewhere")


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        ("views=3 augment=light", 0),  # the trunk is fed with pieces
        ("trainable=all views=0 augment=medium tta=hflip", 2),  # by processes of a loader
        ("trainable=all augment=none sampler=windows", 0),  # by threads
    ],
)
def test_a_run_without_decoded_images_has_the_same_bytes(bench, capsys, settings, workers):
    settings = fast(f"{settings} epochs=1 folds=2")
    before = products(bench, bench.run(settings, machine="wandb=off device=cpu workers=0"))
    assert list(Path("runs/.cache/tiny").glob("images-*.npy"))
    away()
    after = products(bench, bench.run(settings, machine=f"{MACHINE}{workers}"))
    assert not list(Path("runs/.cache/tiny").glob("images-*.npy")) and len(after) > 5
    assert before == after
    said = capsys.readouterr().out
    assert "disk: 0.00 GB of pixels are more than decoded_gb=0: decoded as they are read" in said
    assert "px are decoded as they are read" in said


def test_what_can_not_be_read_is_named_before_the_training_and_stood_in_for_in_the_test_set(bench):
    (bench.inputs / "test/te003.png").write_bytes(b"no picture")
    paths = bench.run()
    before = products(bench, paths)
    away()
    assert products(bench, bench.run(machine=f"{MACHINE}0")) == before
    away()
    for name in ("tr003", "tr007"):
        (bench.inputs / f"train/{name}.png").write_bytes(name.encode())
    paths = bench.configure(machine=f"{MACHINE}0")
    bench.stage("split", paths)
    with pytest.raises(ValueError, match=r"2 of 36 images can't be read:\n.*tr003.*\n.*tr007.*\nreplace"):
        bench.stage("train", paths)
    assert not list(paths.root.glob("fold*/*"))


def test_a_reader_of_ones_own_decodes_as_well(bench):
    (bench.inputs / "competition.py").write_text(
        "import numpy as np\nfrom PIL import Image\nfrom src.competition.facts import Competition\n"
        "def read(record):\n    return 255 - np.asarray(Image.open(record['file']).convert('RGB'))\n"
        "def competition():\n    return Competition(read_image=read)\n"
    )
    before = products(bench, bench.run(fast("epochs=1 trainable=all")))
    away()
    assert products(bench, bench.run(fast("epochs=1 trainable=all"), machine=f"{MACHINE}2")) == before


def test_an_image_that_breaks_during_the_training_is_named(tmp_path):
    files = pictures(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1 of 2 images can't be read:\n  1.png"):
        files.read(np.array([0, 1]))


def pictures(folder: Path, count: int, **how) -> Files:
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    names = [f"{number}.png" for number in range(count)]
    table = pd.DataFrame({"id": names, "path": names})
    how = {"read_image": None, "max_pixels": 10**6} | how
    return Files(Records(table, folder), 16, {}, threads=2, **how)


def test_files_are_read_as_an_array_is(tmp_path):
    files = pictures(tmp_path, 5)
    pixels = files.read(np.array([4, 0, 4]))
    assert pixels.shape == (3, 16, 16, 3) and pixels.dtype == files.dtype == np.uint8
    assert (pixels[0] == pixels[2]).all() and (files.values[3:9][1] == pixels[0]).all()
    assert len(files) == 5 and files.nbytes == 5 * 16 * 16 * 3 and files.ndim == len(files.shape)


def test_a_gpu_augments_what_the_processes_decode(tmp_path):
    """With a device that is CUDA by name alone: nothing is copied there, since a tensor's own device counts."""
    files, seen = pictures(tmp_path, 6), []

    def transform(images, draws):
        seen.append(len(images))
        return images

    rows = Rows(*(np.zeros((6, 1), np.float32) for _ in range(3)))
    batches = Batches([files], rows, device=torch.device("cuda"), transforms={"": transform}, workers=1)
    assert batches.loader and batches.loader.workers == 1 and batches.augments_here
    assert batches.loader.loader.dataset.augmentation is None and not seen


def test_every_broken_image_is_found_at_the_small_size_that_is_looked_at(tmp_path):
    good, bad = broken(tmp_path)
    records = [{"id": name, "path": name, "file": str(tmp_path / name)} for name in good + bad]

    def unreadable(size: int) -> list[str]:
        how = {"read_image": None, "max_pixels": 900_000, "workers": 1}
        return sorted(read_all(records, size, lambda place, pixels: None, **how))

    assert unreadable(images.LOOKED_AT) == unreadable(224) == bad


class Impatient:
    """A clock that asks for a stop at its second look."""

    def __init__(self) -> None:
        self.looks = 0

    def begin(self) -> None:
        pass

    def is_due(self, *, ends_epoch: bool) -> bool:
        return False

    def why_stop(self) -> str:
        self.looks += 1
        return "SIGTERM" if self.looks == 2 else ""


def test_looking_through_goes_on_where_it_was_stopped_and_is_done_once(tmp_path, monkeypatch):
    records, note = pictures(tmp_path, 7).records, tmp_path / "note.json"
    (tmp_path / "1.png").write_bytes(b"no picture")
    read, how = [], {"read_image": None, "max_pixels": 10**6, "workers": 1}
    monkeypatch.setattr(on_the_fly, "PIECE", 2)
    find = on_the_fly.find_unreadable
    monkeypatch.setattr(
        on_the_fly, "find_unreadable", lambda records, **k: read.append(len(records)) or find(records, **k)
    )
    with pytest.raises(Stopped, match="SIGTERM: 4 of 7 images are looked through"):
        on_the_fly.look_through(records, note, Impatient(), **how)
    bad = on_the_fly.look_through(records, note, None, **how)
    assert list(bad) == ["1.png"] and read == [2, 2, 2, 1]
    assert on_the_fly.look_through(records, note, None, **how) == bad and len(read) == 4


def test_too_little_disk_names_the_way_out_and_decoded_gb_is_one(bench, monkeypatch):
    paths = bench.configure("folds=2 image_size=4096 limit=36")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2 * 10**9, 10**9, 10**9))
    with pytest.raises(
        ValueError, match='the decoded images need 2.3: free some, .* or MACHINE="decoded_gb=0"'
    ):
        bench.stage("split", paths)
    bench.stage("split", bench.configure("folds=2 image_size=4096 limit=36", machine="decoded_gb=0"))
