"""A finished run predicts a new test set, or loose pictures: in chunks, in time, with no training image and no
cache.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FAST, fast, make_competition

from src import infer, predict_chunks
from src.__main__ import main
from src.run import pace, predictions
from src.run.files import read_json, write_json
from src.run.pace import Pace, Plan
from src.run.paths import RunPaths

RUN = RunPaths(Path("runs/tiny-run"))


def move_test_set(bench) -> Path:
    """The test set alone, in another folder; what the run was trained from is gone."""
    shutil.copytree(bench.inputs, "new/tiny")
    shutil.rmtree(bench.inputs)
    shutil.rmtree("new/tiny/train")
    Path("new/tiny/train.csv").unlink()
    return Path("new/tiny")


@pytest.mark.parametrize(
    "settings",
    ["tta=hflip augment=medium", "trainable=all epochs=1 test_size=40", "refit=2 epochs=1 batch_size=3"],
)
def test_chunks_give_the_bytes_of_predict_and_submit(bench, monkeypatch, capsys, read_only, settings):
    make_competition(bench.inputs, num_test=60)
    paths = bench.run(fast(settings))
    move_test_set(bench)
    shutil.rmtree("runs/.cache")
    read_only(Path("new"))
    read_only(Path("runs"))
    monkeypatch.setattr(predict_chunks, "CHUNK_BYTES", 1)
    capsys.readouterr()
    assert main(["predict", "runs/tiny-run", "--inputs", "new", "--out", "there/new.csv"]) == 0
    assert capsys.readouterr().out.count(" of 60 images") > 1, "there were several chunks"
    assert Path("there/new.csv").read_bytes() == Path("submissions/tiny-run.csv").read_bytes()
    run = infer.open_run(paths, Path("new"))
    test = infer.tables.make_test(run.inputs, run.competition)
    frame = infer.predict_images(run, test, run.inputs).frame(test, infer.prior_of(run))
    assert frame.equals(predictions.read(paths.test))


def test_another_number_of_images_gives_the_same_answers(bench):
    make_competition(bench.inputs, num_test=40)
    bench.run()
    new = move_test_set(bench)
    sample = pd.read_csv(new / "sample_submission.csv")[::-1][:33]
    sample.to_csv(new / "sample_submission.csv", index=False)
    assert main(["predict", "runs/tiny-run", "--inputs", "new"]) == 0
    before = pd.read_csv("submissions/tiny-run.csv", index_col="id")
    after = pd.read_csv("submissions/tiny-run.infer.csv", index_col="id")
    assert after.index.tolist() == sample["id"].tolist() and after.equals(before.loc[after.index])


def test_loose_pictures_need_no_competition_and_an_unreadable_one_is_named(bench, capsys):
    paths = bench.run(fast("tta=hflip"))
    shutil.copytree(bench.inputs / "test", "loose/some")
    shutil.rmtree("inputs")
    Path("loose/broken.png").write_bytes(b"no picture")
    assert main(["predict", "runs/tiny-run", "--images", "loose", "--out", "loose.csv"]) == 0
    assert "warning: 1 images (broken.png) can't be read" in capsys.readouterr().err
    loose, test = pd.read_csv("loose.csv", index_col="image"), predictions.read(paths.test)
    assert loose.index.tolist() == [f"some/{name}.png" for name in test.index]
    assert list(loose) == list(test) and np.allclose(loose, test, atol=1e-6)


def test_an_unreadable_test_image_gets_the_answer_that_predict_gives_it(bench, capsys):
    (bench.inputs / "test/te003.png").write_bytes(b"no picture")
    bench.run()
    assert main(["predict", "runs/tiny-run", "--inputs", "inputs"]) == 0
    assert "warning: 1 images (te003) can't be read and got an average answer" in capsys.readouterr().err
    assert (
        Path("submissions/tiny-run.infer.csv").read_bytes() == Path("submissions/tiny-run.csv").read_bytes()
    )


class Ticking:
    """A clock by which each look takes a second."""

    def __init__(self) -> None:
        self.now = pace.BEGAN

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_a_limit_that_is_too_tight_leaves_out_views_then_models_then_images_and_says_so(
    bench, monkeypatch, capsys
):
    make_competition(bench.inputs, num_test=100)
    paths = bench.run(fast("tta=hflip,vflip epochs=1"))
    capsys.readouterr()
    monkeypatch.setattr(pace, "time", Ticking())
    monkeypatch.setattr(predict_chunks, "CHUNK_BYTES", 1)
    assert main(["predict", "runs/tiny-run", "--inputs", "inputs", "--hours", "0.025"]) == 0
    said = capsys.readouterr()
    plans = [line.partition(" on ")[2] for line in said.out.splitlines() if line.startswith("time: ")]
    numbers = [(int(line.split()[0]), int(line.split(" and ")[1].split()[0])) for line in plans]
    assert (3, 3) not in numbers and numbers == sorted(numbers, reverse=True) and numbers[-1] == (1, 1)
    assert "there was no time for" in said.err and "which got an average answer" in said.err
    answer = pd.read_csv("submissions/tiny-run.infer.csv")
    assert answer["id"].tolist() == pd.read_csv(bench.inputs / "sample_submission.csv")["id"].tolist()
    run = infer.open_run(paths, Path("inputs"))
    test = infer.tables.make_test(run.inputs, run.competition)
    whole = infer.predict_images(run, test, run.inputs, hours=0.0001)
    assert whole.left(test) == test["id"].tolist(), "no time at all"
    prior = infer.prior_of(run)
    assert (whole.frame(test, prior) == prior.astype(np.float32)).all(axis=None)


def test_the_pace_drops_views_before_models_and_counts_what_is_left(monkeypatch):
    clock = Ticking()
    monkeypatch.setattr(pace, "time", clock)
    monkeypatch.setattr(Pace, "left", property(lambda self: 115.0))
    rate = Pace(hours=1)
    assert rate.plan(10**6, ("plain", "hflip"), (0, 1)) == (("plain", "hflip"), (0, 1), 10**6), "not measured"
    rate.seconds = {"read": 0.1, "trunk": 0.2, "tail": 0.1}
    assert rate.plan(100, ("plain", "hflip"), (0, 1)) == (("plain", "hflip"), (0, 1), 100)
    assert rate.plan(150, ("plain", "hflip"), (0, 1)) == (("plain",), (0, 1), 150)
    assert rate.plan(220, ("plain", "hflip"), (0, 1)) == (("plain",), (0,), 220)
    assert rate.plan(300, ("plain", "hflip"), (0, 1)) == Plan(("plain",), (0,), 250)


def test_images_of_a_row_that_there_was_no_time_for_get_the_mean_of_the_others():
    table = pd.DataFrame({"id": list("abcd"), "row": ["r", "r", "s", "s"]}, dtype=object)
    seen = predictions.make(["a"], np.float32([[0.9, 0.1]]), ["x", "y"])
    result = predict_chunks.Result(chunks=[{0: seen}])
    frame = result.frame(table, pd.Series([0.3, 0.7], ["x", "y"]))
    assert frame.index.tolist() == list("abcd")
    assert np.allclose(frame, [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]])


def test_a_reader_of_ones_own_comes_from_the_runs_competition_py(bench):
    (bench.inputs / "competition.py").write_text(
        "from PIL import Image\n"
        "def read(record):\n    return 255 - np.asarray(Image.open(record['file']))\n"
        "def competition():\n    return Competition(read_image=read)\n"
    )
    paths = bench.run()
    shutil.copytree(bench.inputs / "test", "loose")
    own = bench.inputs / "competition.py"
    shutil.move(own, paths.root / "competition.py")
    shutil.rmtree("inputs")
    assert main(["predict", "runs/tiny-run", "--images", "loose", "--out", "loose.csv"]) == 0
    loose = pd.read_csv("loose.csv", index_col="image")
    assert np.allclose(loose, predictions.read(paths.test), atol=1e-6)
    (paths.root / "competition.py").unlink()
    with pytest.raises(ValueError, match="has a function of its own for read_image, which is not here"):
        infer.open_run(paths)


def test_what_is_missing_is_said_in_one_line(bench, capsys):
    paths = bench.configure(FAST)
    assert main(["predict", "runs/tiny-run", "--images", "loose"]) == 2
    assert "has no competition.json: make train RUN=tiny-run" in capsys.readouterr().err
    bench.stage("split", paths)
    assert main(["predict", "runs/tiny-run", "--images", "loose", "--fold", "0"]) == 2
    assert "predict by all models of a run: leave out --fold" in capsys.readouterr().err
    assert main(["predict", "runs/tiny-run", "--images", "loose"]) == 2
    assert "--images loose: there are no images in this folder" in capsys.readouterr().err
    assert main(["predict", "runs/tiny-run", "--images", str(bench.inputs / "test")]) == 2
    assert "no fold of runs/tiny-run is trained: make train RUN=tiny-run" in capsys.readouterr().err
    note = read_json(paths.competition)
    del note["competition"]
    write_json(note, paths.competition)
    assert main(["predict", "runs/tiny-run", "--images", "loose"]) == 2
    assert "was written by earlier code: make split RUN=tiny-run FORCE=1" in capsys.readouterr().err


def test_models_of_other_code_do_not_predict_new_images(bench, capsys):
    paths = bench.run(fast("epochs=1"))
    done = read_json(paths.fold(1).done)
    done["code"]["src/data/images.py"] |= {"": "0", "read_square": "0"}
    write_json(done, paths.fold(1).done)
    assert main(["predict", "runs/tiny-run", "--inputs", "inputs"]) == 2
    assert "fold 1 of runs/tiny-run was trained before" in capsys.readouterr().err
