"""Files under attack: several writers at once, kills, cut files, flipped bits, files where folders should be.
Nothing is lost, mixed, or used unseen.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, ROOT, fast, make_array, open_run

from src import submit, train_fold
from src.data import contents, images
from src.data.arrays import Array
from src.data.run import Run
from src.extras import verify
from src.extras.ensemble import command as ensemble
from src.model.classifier import build
from src.run import configure, locks, predictions
from src.run.errors import CheckFailed
from src.run.files import HOST, file_sha, make_folder, read_json, write_json, write_text
from src.run.ledger import add_to_ledger
from src.run.memory import MemoryHeld
from src.run.paths import RunPaths, check_run_name


class Killed(BaseException):
    """The process ends here."""


def together(code: str, *words: str, number: int = 4) -> list[str]:
    """What as many processes print that run this code at once; sys.argv[1] tells them apart."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(one), *words],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for one in range(number)
    ]
    said = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes), said
    return said


def flips(content: bytes, step: int = 1):
    """The content with one bit of every step-th byte turned."""
    for place in range(0, len(content), step):
        yield content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


# ---- writing ----


def test_writers_of_one_file_at_once_neither_mix_nor_fail(tmp_path):
    code = """
import sys
from pathlib import Path
from src.run import files
path, mine = Path(sys.argv[2]), sys.argv[1] * 100_000
for _ in range(60):
    with files.atomic(path) as part:
        for start in range(0, len(mine), 10_000):
            with part.open("a") as file:
                file.write(mine[start:start + 10_000])
    content = path.read_text()
    assert len(content) == 100_000 and len(set(content)) == 1, (len(content), set(content))
"""
    together(code, str(tmp_path / "file.txt"))
    assert os.listdir(tmp_path) == ["file.txt"]


def test_what_a_killed_writer_left_is_removed_by_the_next_one_and_a_living_ones_stays(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    dead, alive = (
        tmp_path / f"a.csv.{HOST}-{killed.pid}-0123ab.part",
        tmp_path / f"a.csv.{HOST}-{os.getpid()}-0123ab.part",
    )
    elsewhere, old = (
        tmp_path / "a.csv.zzzz-1-0123ab.part",
        tmp_path / f"a.csv.{'0000' if HOST != '0000' else '1111'}-1-0123ab.part",
    )
    for file in (dead, alive, elsewhere, old):
        file.touch()
    os.utime(old, (0, 0))
    write_text("whole", tmp_path / "b.csv")
    assert sorted(os.listdir(tmp_path)) == sorted([alive.name, elsewhere.name, "b.csv"])


@pytest.mark.parametrize("there", ["runs", "runs/x", "runs/x/fold0"])
def test_a_file_where_a_folder_should_be_is_named_in_one_line(tmp_path, there):
    write_text("I am a file", tmp_path / there)
    path = tmp_path / "runs/x/fold0/done.json"
    for write in (
        lambda: write_json({}, path),
        lambda: make_folder(path.parent),
        lambda: locks.lock(path).__enter__(),
        lambda: make_array(path, (1,), "uint8", lambda values: None),
    ):
        with pytest.raises(ValueError, match=f"{there} is a file, and a folder must be there: move it away$"):
            write()


# ---- json ----


def test_a_cut_or_flipped_json_says_its_name_and_what_to_type_or_reads_the_same(tmp_path):
    path, content = (
        tmp_path / "runs/x/fold0/done.json",
        {"recipe": "abc", "score": 0.5, "files": {"model.safetensors": "0f"}, "code": {}, "ä": None},
    )
    write_json(content, path)
    whole, damaged = path.read_bytes(), 0
    for wrong in [*flips(whole), *(whole[:size] for size in range(len(whole) - 2))]:
        path.write_bytes(wrong)
        try:
            again = read_json(path)
            again.pop(next(iter(again.keys() - content.keys()), ""), None)  # the word "checksum" itself
            assert again == content, wrong
        except ValueError as error:
            damaged += 1
            assert str(error).startswith(
                f"{path} is damaged ("
            ) and f"remove the folder {path.parent}, and make train RUN=x FORCE=1" in str(error)
    assert damaged > 1.8 * len(whole)


def test_a_json_reads_as_it_was_written_by_this_code_and_by_earlier_code(tmp_path):
    path = tmp_path / "a.json"
    for content in ({"10": 1, "9": [1.5, None, True], "ä": {"b": "\u2028"}}, {}, [1, 2], "text", 0.1):
        write_json(content, path)
        assert read_json(path) == content
        write_json(read_json(path), path)
        assert read_json(path) == content
        path.write_text(json.dumps(content))
        assert read_json(path) == content
    write_json({10: 1, 9: 2}, path)
    assert read_json(path) == {"10": 1, "9": 2}


# ---- the memory of hashes ----


def test_two_that_hash_at_once_lose_nothing_of_each_other(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.png").write_text(str(number))
    code = """
import sys
from pathlib import Path
from src.data import contents, images
folder = Path(sys.argv[2])
for number in range(int(sys.argv[1]) * 10, int(sys.argv[1]) * 10 + 10):
    contents.content_hashes([folder / f"{number}.png"], folder / "hashes.bin")
"""
    together(code, str(tmp_path))
    assert len(contents.remembered(tmp_path / "hashes.bin")) == 40
    assert not [name for name in os.listdir(tmp_path) if not name.endswith((".png", "hashes.bin"))]


@pytest.mark.parametrize("content", ["[]x", "3", "0123456789abcdef", "0123456789abcdef" + 56 * "x"])
def test_a_broken_memory_of_hashes_is_made_anew(tmp_path, capsys, content):
    (tmp_path / "a.png").write_text("a")
    memory = tmp_path / "hashes.bin"
    expected = contents.content_hashes([tmp_path / "a.png"], memory)
    memory.write_text(content)
    assert (
        contents.content_hashes([tmp_path / "a.png"], memory) == expected
        and f"{memory} is damaged" in capsys.readouterr().err
    )
    assert len(contents.remembered(memory)) == 1


def test_a_full_disk_at_the_memory_of_hashes_is_a_warning(tmp_path, capsys, monkeypatch):
    def write_bytes(self, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a.png").write_text("a")
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert len(contents.content_hashes([tmp_path / "a.png"], tmp_path / "hashes.bin")) == 1
    assert "hashes.bin can't be written: [Errno 28] No space left on device" in capsys.readouterr().err


# ---- cached arrays ----


def test_a_cached_array_that_is_not_as_it_was_made_is_named_and_made_again(tmp_path):
    path, values = tmp_path / "images.npy", np.arange(60, dtype=np.float32).reshape(20, 3)

    def make() -> Array:
        return make_array(path, values.shape, "float32", lambda out: out.__setitem__(slice(None), values))

    assert np.array_equal(make().values, values) and len(make()) == 20
    whole, damaged = path.read_bytes(), 0
    for wrong in [*flips(whole), *(whole[:size] for size in range(len(whole)))]:
        path.write_bytes(wrong)
        try:
            assert np.array_equal(make().values, values) and len(make()) == 20
        except ValueError as error:
            damaged += 1
            assert str(error) == f"{path} is damaged: the same command makes it again" and not path.exists()
            assert np.array_equal(make().values, values)
    assert damaged > 1.8 * (len(whole) - 34)


def test_an_array_of_earlier_code_without_a_checksum_is_read(tmp_path):
    np.save(tmp_path / "old.npy", np.ones(5))
    assert Array(tmp_path / "old.npy").values.sum() == 5


def test_a_decoded_array_without_its_list_of_unreadable_images_is_made_again(tmp_path):
    rows = [{"id": "a", "path": "a", "file": "a"}]

    def decode():
        return images.decode(
            rows,
            8,
            tmp_path / "x.npy",
            read_image=lambda record: np.zeros((8, 8, 3), np.uint8),
            max_pixels=99,
            workers=1,
        )[0]

    decode()
    for name in os.listdir(tmp_path):
        if name.endswith(".json"):
            (tmp_path / name).unlink()
    assert decode().values.shape == (1, 8, 8, 3)


# ---- one fold is not the whole ----


@pytest.fixture
def tiny(bench):
    """A finished run of two folds."""
    return bench, bench.run(fast("folds=2 epochs=1"))


def test_one_folds_predictions_never_bear_the_name_of_the_whole(tiny):
    bench, paths = tiny
    before = {file: file.read_bytes() for file in bench.folder.glob("runs/tiny-run/**/*.parquet")} | {
        file: file.read_bytes() for file in bench.folder.glob("submissions/tiny-run.*")
    }
    bench.stage("predict", paths, only=0)
    assert paths.fold(0).test.exists()
    path = bench.stage("submit", paths, fold=0)
    assert (
        path.name == "tiny-run.fold0.csv" and read_json(path.with_suffix(".json"))["partial"] == "fold 0 only"
    )
    assert before == {file: file.read_bytes() for file in before}, "what is of all folds stays as it was"


def test_test_predictions_that_are_not_of_all_models_as_they_are_now_are_refused_by_submit_and_ensemble(tiny):
    bench, paths = tiny
    other = bench.run(fast("folds=2 epochs=1 seed=1"), "other")
    whole, note = paths.test.read_bytes(), read_json(paths.test_json)
    one_fold = {"models": {"fold0": note["models"]["fold0"]}, "sha256": file_sha(paths.fold(0).test)}

    def refused(match: str) -> None:
        csv = (bench.folder / "submissions/tiny-run.csv").read_bytes()
        for act in (
            lambda: bench.stage("submit", paths),
            lambda: ensemble.ensemble(RunPaths(Path("runs/both")), ["tiny-run", "other"]),
        ):
            with pytest.raises(ValueError, match=match):
                act()
        assert (bench.folder / "submissions/tiny-run.csv").read_bytes() == csv

    paths.test.write_bytes(paths.fold(0).test.read_bytes())  # as an earlier version's `--fold 0` did
    refused("runs/tiny-run/test.parquet is damaged .its content is not what was written.: remove it")
    write_json(one_fold, paths.test_json)
    refused("is not the mean of what fold0, fold1 predict now: make train RUN=tiny-run FORCE=1")
    paths.test_json.unlink()
    refused("runs/tiny-run/test.json is not there, .* make train RUN=tiny-run FORCE=1")
    paths.test.write_bytes(whole)
    write_json(note, paths.test_json)
    model = note["models"]["fold0"]
    write_json(note | {"models": note["models"] | {"fold0": model | {"recipe": "0" * 16}}}, paths.test_json)
    refused("is not the mean of what")
    bench.stage("predict", paths)
    bench.stage("submit", paths)
    ensemble.ensemble(RunPaths(Path("runs/both")), ["tiny-run", "other"])
    assert [*read_json(Path("runs/both/test.json"))["models"]] == [
        "tiny-run",
        "other",
    ] and other.test.exists()


def test_one_folds_submission_is_not_what_a_kaggle_notebook_hands_in(tiny, monkeypatch):
    bench, paths = tiny
    monkeypatch.setattr(submit, "KAGGLE", make_folder(bench.folder / "working"))
    bench.stage("submit", paths, fold=0)
    assert not os.listdir(submit.KAGGLE)
    bench.stage("submit", paths)
    assert (submit.KAGGLE / "submission.csv").read_bytes() == (
        bench.folder / "submissions/tiny-run.csv"
    ).read_bytes()


# ---- the submission, its note and the ledger ----


@pytest.mark.parametrize("name", ["ledger", "Ledger", "LEDGER", "a.fold0", "a.fold12"])
def test_a_name_whose_csv_is_another_files_is_refused_before_anything_is_written(bench, name):
    for act in (
        lambda: bench.configure(FAST, name),
        lambda: submit.submit(Run(RunPaths(Path("runs") / name), None, None)),
    ):
        with pytest.raises(
            ValueError,
            match=rf"RUN={name}: submissions/{name}.csv is the name of another file: choose another RUN",
        ):
            act()
    assert not Path("runs").exists()
    assert check_run_name("my-ledger", "RUN") and check_run_name("a.folds0", "RUN")


@pytest.mark.parametrize("place", [".json", "ledger.csv", ".csv"])
def test_a_kill_between_the_submissions_files_is_repaired_by_the_same_command(bench, monkeypatch, place):
    paths = bench.configure(fast("folds=2 epochs=1"))
    for stage in ("split", "train", "predict"):
        bench.stage(stage, paths)
    real = os.replace

    def replace(part, path):
        if str(path).endswith(place) and "submissions" in str(path):
            raise Killed
        real(part, path)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", replace)
        bench.stage("submit", paths)
    assert not Path("submissions/tiny-run.csv").exists(), "make goes by it, so it must be the last"
    bench.stage("submit", paths)
    assert sorted(os.listdir("submissions")) == ["ledger.csv", "tiny-run.csv", "tiny-run.json"]
    sha = file_sha(Path("submissions/tiny-run.csv"))
    assert (
        read_json(Path("submissions/tiny-run.json"))["sha256"] == sha
        and Path("submissions/ledger.csv").read_text().count(sha) == 1
    )


def test_each_run_has_its_line_in_the_ledger_also_where_two_give_the_same_csv(tmp_path):
    ledger = tmp_path / "ledger.csv"
    for name in ("a.csv", "b.csv", "a.csv", "b.csv"):
        add_to_ledger(ledger, {"submission": name, "sha256": "0" * 16})
    assert [line.split(",")[1] for line in ledger.read_text().splitlines()] == [
        "submission",
        "a.csv",
        "b.csv",
    ]


def test_submits_at_once_lose_no_line_of_the_ledger(tmp_path):
    code = """
import sys
from pathlib import Path
from src.run.ledger import add_to_ledger
for number in range(12):
    add_to_ledger(Path(sys.argv[2]), {"submission": "a.csv", "sha256": f"{sys.argv[1]}-{number:015}"})
"""
    for _ in range(2):
        together(code, str(tmp_path / "ledger.csv"))
        assert len((tmp_path / "ledger.csv").read_text().splitlines()) == 1 + 4 * 12
        assert os.listdir(tmp_path) == ["ledger.csv"]


@pytest.mark.parametrize("call", [0, 1])
def test_a_lock_whose_file_another_process_removes_meanwhile_is_taken_all_the_same(
    tmp_path, monkeypatch, call
):
    """Under load one of four processes found the file, and in the next moment it was gone."""
    path, real, calls = tmp_path / "x.lock", Path.stat, []

    def stat(self, **how):
        if self == path:
            calls.append(self)
            if len(calls) == call + 1:
                raise FileNotFoundError(self)
        return real(self, **how)

    monkeypatch.setattr(Path, "stat", stat)
    with locks.lock(path, wait=True) as holder:
        assert holder == ""
    assert not os.path.exists(path)


# ---- a fold that stays in memory ----


@pytest.mark.parametrize("how", ["warn", "strict"])
def test_a_finished_fold_is_written_before_its_memory_is_judged(bench, monkeypatch, capsys, how):
    kept, real = [], train_fold.write_fold

    def write_fold(paths, model, *rest):
        kept.append(model)
        real(paths, model, *rest)

    monkeypatch.setattr(train_fold, "write_fold", write_fold)
    paths = bench.configure(fast("folds=2 epochs=1"), machine=f"wandb=off workers=0 device=cpu memory={how}")
    bench.stage("split", paths)
    if how == "strict":
        with pytest.raises(MemoryHeld, match="the finished fold is still in memory"):
            bench.stage("train", paths)
        assert paths.finished() == [0] and not paths.fold(0).state.exists()
        return
    bench.stage("train", paths)
    assert paths.finished() == [0, 1] and paths.score.exists()
    assert (
        "warning: fold 1 is finished, but the finished fold is still in memory (" in capsys.readouterr().err
    )


# ---- damage is seen where a file is used ----


def turn(path: Path, place: int | None = None) -> None:
    """One bit, in the middle where no place is given; a hard link to the file keeps what was there."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 4
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "valid.parquet", "log.jsonl", "done.json"])
def test_a_damaged_fold_of_another_run_is_not_taken_over_and_trained_instead(tiny, capsys, name):
    bench, paths = tiny
    expected = paths.fold(0).model.read_bytes()
    turn(paths.fold(0).root / name)
    capsys.readouterr()
    other = bench.run(fast("folds=2 epochs=1 tta=hflip"), "other")
    printed = capsys.readouterr()
    assert f"nothing is taken over from run tiny-run: runs/tiny-run/fold0/{name} is damaged (" in printed.err
    assert (
        "fold 0  epoch 1/1" in printed.out
        and "fold 1: the same recipe as in run tiny-run, taken over" in printed.out
    )
    assert other.fold(0).model.read_bytes() == expected


@pytest.mark.parametrize("name", ["config.json", "split.json", "competition.json", "folds.csv"])
def test_a_damaged_run_does_not_stop_a_new_one(tiny, capsys, name):
    bench, paths = tiny
    folds = paths.folds.read_bytes()
    (paths.root / name).write_bytes((paths.root / name).read_bytes()[:-9])
    other = bench.configure(fast("folds=2 epochs=1 lr=0.1"), "other")
    bench.stage("split", other)
    assert (
        f"nothing is taken over from run tiny-run: runs/tiny-run/{name} is damaged ("
        in capsys.readouterr().err
    )
    assert other.folds.read_bytes() == folds


def test_a_damaged_model_or_held_out_prediction_is_named_where_it_is_used(tiny):
    bench, paths = tiny
    fold_files = {
        name: (paths.fold(0).root / name).read_bytes()
        for name in ("model.safetensors", "valid.parquet", "valid_epochs.parquet")
    }

    def use(stage: str, name: str) -> None:
        turn(paths.fold(0).root / name)
        with pytest.raises(
            ValueError,
            match=f"fold0/{name} is damaged .its content is not what was written.: remove the folder runs/tiny-run/fold0, "
            "and make train RUN=tiny-run FORCE=1 trains it again",
        ):
            bench.stage(stage, paths)
        (paths.fold(0).root / name).write_bytes(fold_files[name])

    use("train", "valid.parquet")
    use("train", "valid_epochs.parquet")
    paths.fold(0).test_json.unlink()
    use("predict", "model.safetensors")
    bench.stage("train", paths), bench.stage("predict", paths), bench.stage("submit", paths)


def test_a_damaged_model_is_no_start_for_another_run(tiny):
    bench, paths = tiny
    turn(paths.fold(1).model)
    with pytest.raises(ValueError, match="runs/tiny-run/fold1/model.safetensors is damaged"):
        bench.run(fast("folds=2 epochs=1 init_from=tiny-run image_size=48"), "other")


def test_damaged_test_predictions_of_a_fold_are_predicted_again(tiny, capsys):
    bench, paths = tiny
    expected = paths.test.read_bytes()
    turn(paths.fold(0).test)
    bench.stage("predict", paths)
    assert (
        "predicted again: runs/tiny-run/fold0/test.parquet is damaged" in capsys.readouterr().err
        and paths.test.read_bytes() == expected
    )


def test_damaged_out_of_fold_predictions_are_not_scored_nor_joined(tiny):
    bench, paths = tiny
    bench.run(fast("folds=2 epochs=1 seed=1"), "other")
    turn(paths.oof)
    for act in (
        lambda: bench.stage("submit", paths),
        lambda: ensemble.ensemble(RunPaths(Path("runs/both")), ["tiny-run", "other"]),
    ):
        with pytest.raises(
            ValueError, match="runs/tiny-run/oof.parquet is damaged .its content is not what was written"
        ):
            act()


@pytest.mark.parametrize("place", [3, None])
def test_an_edited_folds_csv_is_refused_with_what_to_type(tiny, place):
    bench, paths = tiny
    turn(paths.folds, place)
    with pytest.raises(
        ValueError,
        match="runs/tiny-run/folds.csv is damaged .*: remove it, and make split RUN=tiny-run FORCE=1 writes it again",
    ):
        bench.stage("train", paths)


def test_a_cut_parquet_or_model_of_earlier_code_says_its_name(tiny, tmp_path):
    _, paths = tiny
    for path in (paths.test, paths.fold(0).model):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="runs/tiny-run/test.parquet is damaged"):
        predictions.read(paths.test)
    with pytest.raises(ValueError, match="runs/tiny-run/fold0/model.safetensors is damaged"):
        build(configure.load(paths.config).config, 3).load(paths.fold(0).model)


def test_verify_names_each_damaged_file_of_a_run_and_of_an_ensemble(tiny, capsys):
    bench, paths = tiny
    other, both = bench.run(fast("folds=2 epochs=1 seed=1"), "other"), RunPaths(Path("runs/both"))
    ensemble.ensemble(both, ["tiny-run", "other"])
    bench.stage("submit", both)
    for run in (paths, both):
        verify.verify(open_run(run))
        assert "runs/" + run.name + " is as it was written" in capsys.readouterr().out
        files = [
            *run.root.glob("*.json"),
            *run.root.glob("*.parquet"),
            *run.root.glob("fold*/*"),
            run.folds,
            Path(f"submissions/{run.name}.csv"),
            Path(f"submissions/{run.name}.json"),
        ]
        assert len(files) > 8
        for file in files:
            kept = file.read_bytes()
            turn(file, 6 if file.suffix == ".json" else None)
            with pytest.raises((ValueError, CheckFailed)) as wrong:
                verify.verify(open_run(run))
            assert file.name in f"{wrong.value}{capsys.readouterr().out}", file
            file.write_bytes(kept)
    turn(other.test)
    verify.verify(open_run(both))
    assert "by now   run other predicts something else" in capsys.readouterr().out
