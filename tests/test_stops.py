"""A stop reaches the long work before and after the training too: decoding, the trunk's pass, prediction; and
the cache keeps its size.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import fast, make_array
from PIL import Image

from src import config, predict
from src.data import cache, images
from src.data.arrays import Array, make_in_steps
from src.run import predictions
from src.run.clock import Clock
from src.run.errors import Stopped

ROOT = Path(__file__).parents[1]


class Asked:
    """A clock that stops at the n-th look."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def begin(self) -> None:
        pass

    def is_due(self, *, ends_epoch: bool) -> bool:
        return False

    def saving(self):
        return Clock(config.Machine()).saving()

    def why_stop(self) -> str:
        self.looks -= 1
        return "SIGTERM" if self.looks == 0 else ""


def stop_at(monkeypatch, look: int) -> None:
    """SIGTERM at the n-th look at the clock from now."""
    real, looks = Clock.why_stop, iter(range(1, 10**9))

    def why_stop(clock):
        if next(looks) == look:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)  # the handler runs here
        return real(clock)

    monkeypatch.setattr(Clock, "why_stop", why_stop)


def fill(values, begun):
    for row in range(begun.get("done", 0), len(values)):
        values[row] = row + begun.get("more", 0)
        yield {"done": row + 1, "more": begun.get("more", 0)}


def test_an_array_that_was_begun_goes_on_where_it_was_left(tmp_path, capsys):
    path = tmp_path / "comp/x.npy"
    for stop in (3, 2):
        with pytest.raises(
            Stopped, match="SIGTERM: x.npy is saved after [35] of 8 images; the same command goes on"
        ):
            make_in_steps(path, (8, 2), "float32", fill, Asked(stop))
    assert "x.npy goes on after 3 of 8 images" in capsys.readouterr().out and not path.exists()
    done = make_in_steps(path, (8, 2), "float32", fill, None)
    assert done.values[:, 0].tolist() == list(range(8)) and sorted(os.listdir(path.parent)) == ["x.npy"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda begun: begun.write_bytes(b"x"),
        lambda begun: begun.with_name(begun.name + ".json").write_text("{"),
        lambda begun: begun.unlink(),
    ],
)
def test_what_was_begun_and_is_damaged_is_begun_anew(tmp_path, spoil):
    path = tmp_path / "comp/x.npy"
    with pytest.raises(Stopped):
        make_in_steps(path, (8, 2), "float32", fill, Asked(3))
    spoil(path.with_name("x.npy.begun"))
    assert make_in_steps(path, (8, 2), "float32", fill, None).values[:, 1].tolist() == list(range(8))


@pytest.mark.parametrize(
    "settings, looks",
    [
        ("trainable=1 views=3 augment=light tta=hflip", (1, 2, 3, 4, 30)),
        ("trainable=all batch_size=2 tta=hflip epochs=1", (1, 12, 26, 1, 1, 2)),
    ],
)
def test_a_run_that_is_stopped_anywhere_ends_like_one_that_never_was(bench, monkeypatch, settings, looks):
    """In decoding, in the trunk's pass, in training, in the prediction of the held-out and of the test
    images: each time exit code 75.
    """
    monkeypatch.setattr(images, "PIECE", 10), monkeypatch.setattr(predict, "PIECE", 1)
    whole = bench.run(fast(settings), "whole")
    expected = [
        whole.oof.read_bytes(),
        predictions.read(whole.test),
        Path("submissions/whole.csv").read_bytes(),
    ]
    shutil.move("runs/whole", "elsewhere"), shutil.rmtree("runs/.cache")
    stops = []
    for look in [*looks, 10**9]:
        with monkeypatch.context() as patch:
            stop_at(patch, look)
            try:
                paths = bench.run(fast(settings), "broken")
            except Stopped as stop:
                stops.append(str(stop))
    assert len(stops) >= 3 and "images-32px" in stops[0] and "the same command goes on" in stops[-1]
    assert paths.oof.read_bytes() == expected[0] and predictions.read(paths.test).equals(expected[1])
    assert Path("submissions/broken.csv").read_bytes() == expected[2]
    assert not [
        file
        for file in Path("runs").rglob("*")
        if ".begun" in file.name or file.name.startswith("predicting-") or file.suffix == ".lock"
    ]


def test_max_hours_stops_the_decoding_too(bench, monkeypatch):
    monkeypatch.setattr(images, "PIECE", 10)
    paths = bench.configure(machine="wandb=off workers=0 device=cpu max_hours=0.0001")
    bench.stage("split", paths)
    with pytest.raises(Stopped, match="max_hours=0.0001: images-32px-.* is saved after 10 of 36 images"):
        bench.stage("train", paths)


# ---- one image changes ----


def test_one_changed_image_is_decoded_and_the_others_are_copied(bench, monkeypatch, capsys):
    settings = fast("trainable=1 epochs=6")
    bench.run(settings)
    Image.new("RGB", (24, 24), (9, 9, 9)).save("inputs/tiny/train/tr004.png")
    read = []
    real = images.read_all
    monkeypatch.setattr(
        images,
        "read_all",
        lambda records, *rest, **how: (
            read.extend(one["id"] for one in records) or real(records, *rest, **how)
        ),
    )
    capsys.readouterr()
    changed = bench.run(settings, "changed")
    said = capsys.readouterr().out
    assert (
        read == ["tr004"]
        and "35 of 36 images are decoded already" in said
        and "trunk: view plain: 20 of 36 outputs were there already" in said
    )
    shutil.move("runs/changed", "elsewhere"), shutil.rmtree("runs/.cache")
    anew = bench.run(settings, "anew")
    assert pd.read_parquet("elsewhere/oof.parquet").equals(predictions.read(anew.oof)), (
        "copied or made anew, the bits are the same"
    )
    assert changed.name == "changed"


def test_an_own_reader_decodes_all_anew(bench, monkeypatch):
    """It may look at more than the image's file, at the slice below for one."""
    from src import competitions
    from src.competition import facts

    read = []

    def reader(record):
        read.append(record["id"])
        return np.asarray(Image.open(record["file"]).convert("RGB"))

    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: facts.Competition(read_image=reader))
    bench.run(fast("epochs=1"))
    Image.new("RGB", (24, 24), (9, 9, 9)).save("inputs/tiny/train/tr004.png")
    del read[:]
    bench.run(fast("epochs=1"), "changed")
    assert len(set(read)) >= 36


# ---- the cache's size ----

HOLD = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from src.data import cache; print(cache.use(Path(sys.argv[2])), flush=True); sys.stdin.read()"


def make(folder: Path, name: str, age: int) -> Path:
    path = make_array(folder / "comp" / name, (100, 100), "float32", lambda values: values.fill(1)).path
    cache.release(path)  # as a process does that has ended
    path.with_suffix(".code.json").write_text("{}")
    os.utime(path, (10**9 - age, 10**9 - age))
    return path


def test_the_least_recently_used_arrays_make_room_and_none_that_is_in_use(tmp_path, capsys):
    old, older, oldest = (
        make(tmp_path, f"images-{name}.npy", age) for name, age in (("a", 1), ("b", 2), ("c", 3))
    )
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), str(oldest)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "True\n"
        os.utime(oldest, (10**9 - 3, 10**9 - 3))
        cache.make_room(tmp_path, room_gb=130e-6, needed_gb=40e-6)
        assert (
            oldest.exists()
            and old.exists()
            and not older.exists()
            and not older.with_suffix(".code.json").exists()
        )
        assert (
            'that were used least recently are removed, for MACHINE="cache_total_gb=0.00013"'
            in capsys.readouterr().out
        )
        cache.clear(tmp_path)
        assert (
            oldest.exists()
            and not old.exists()
            and "1 arrays removed, 0.00 GB; 1 are in use and stay" in capsys.readouterr().out
        )
    finally:
        process.stdin.close(), process.wait()
    cache.clear(tmp_path)
    assert not list(tmp_path.glob("comp/*.npy"))


def test_a_full_cache_is_made_smaller_by_the_run_that_needs_room(bench, capsys):
    bench.run(fast("epochs=1"))
    for path in cache.arrays(Path("runs/.cache")):
        cache.release(path)  # as if that run's process had ended
    paths = bench.run(
        fast("epochs=1 image_size=40"),
        "larger",
        machine="wandb=off workers=0 device=cpu cache_total_gb=0.00001",
    )
    assert "used least recently are removed" in capsys.readouterr().out and paths.score.exists()
    assert not list(Path("runs/.cache/tiny").glob("images-32px*"))


def test_an_array_that_was_removed_and_made_again_is_in_use_like_any_other(tmp_path):
    path = make(tmp_path, "images-a.npy", 1)
    assert cache.use(path)
    path.unlink()
    make(tmp_path, "images-a.npy", 1)
    assert cache.use(path) and not cache.remove(path) and path.exists()


def test_an_array_in_use_is_known_by_its_path_alone(tmp_path):
    path = make(tmp_path, "images-a.npy", 1)
    assert cache.use(path) and not cache.use(tmp_path / "comp/images-z.npy") and len(Array(path)) == 100
