"""Bad input: one clear error that says what to do, exit code 2 of the stage, nothing half-written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import FAST, fast, make_competition

from src.competition import answers
from src.competitions import load

ROOT = Path(__file__).resolve().parent.parent


def stage(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "RUN", "FOLD")}
    environment |= {
        "COMP": "tiny",
        "EXP": "baseline",
        "SET": FAST,
        "MACHINE": "wandb=off workers=0",
        "INPUTS": "inputs",
        "CACHE": "cache",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", "src", name, "runs/x"],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def table(root):
    return pd.read_csv(root / "train.csv", dtype=str)


def no_inputs(root):
    shutil.rmtree(root.parent)


def no_train_csv(root):
    (root / "train.csv").unlink()


def label_missing(root):
    frame = table(root)
    frame.loc[3, "colour"] = ""
    frame.to_csv(root / "train.csv", index=False)


def id_twice(root):
    frame = table(root)
    pd.concat([frame, frame.iloc[:1].assign(colour="red")]).to_csv(root / "train.csv", index=False)


def image_missing(root):
    (root / "train" / "tr004.png").unlink()
    (root / "train" / "tr005.png").unlink()


def too_few_rows(root):
    table(root).iloc[:3].to_csv(root / "train.csv", index=False)


def empty_test_folder(root):
    for file in (root / "test").iterdir():
        file.unlink()


def foreign_sample(root):
    sample = pd.read_csv(root / "sample_submission.csv")
    sample.assign(id="zz" + sample["id"]).to_csv(root / "sample_submission.csv", index=False)


CASES = {
    no_inputs: r"no folder inputs.tiny",
    no_train_csv: r"no train.csv",
    label_missing: r"1 .*no label.*tr003",
    id_twice: r"1 .*ids stand twice.*tr000",
    image_missing: r"2 .*images are missing.*tr004.*tr005",
    too_few_rows: r"folds",
    empty_test_folder: r"test.*(missing|empty|no image)",
    foreign_sample: r"zzte000",
}


@pytest.mark.parametrize("fault", CASES, ids=lambda fault: fault.__name__)
def test_one_clear_line_exit_code_2_and_nothing_half_written(tmp_path, fault):
    root = make_competition(tmp_path / "inputs" / "tiny")
    fault(root)
    done = stage("configure", tmp_path)
    if done.returncode == 0:
        done = stage("split", tmp_path)
    assert done.returncode == 2, done.stderr
    warned, error, _ = done.stderr.partition("error: ")
    assert (
        "Traceback" not in done.stderr
        and error
        and all(line.startswith("warning: ") for line in warned.splitlines())
    )
    import re

    assert re.search(CASES[fault], done.stderr, re.DOTALL), done.stderr
    assert not (tmp_path / "runs/x/folds.csv").exists() and not list(tmp_path.rglob("*.part"))


def test_an_unreadable_image_is_named_before_anything_is_trained(tmp_path):
    root = make_competition(tmp_path / "inputs" / "tiny")
    (root / "train" / "tr007.png").write_bytes(b"not a picture")
    assert stage("configure", tmp_path).returncode == stage("split", tmp_path).returncode == 0
    done = stage("train", tmp_path)
    assert (
        done.returncode == 2
        and "1 of 36 images can't be read" in done.stderr
        and "tr007.png" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert not list(tmp_path.rglob("*.part")) and not (tmp_path / "runs/x/fold0").exists()


def test_a_misspelt_setting_is_asked_back(tmp_path):
    make_competition(tmp_path / "inputs" / "tiny")
    done = stage("configure", tmp_path, SET="lrr=1 epochs=-3")
    assert done.returncode == 2 and "did you mean lr" in done.stderr and "epochs=-3" in done.stderr
    assert not (tmp_path / "runs").exists()


# -- a submission that would be refused


@pytest.fixture
def answer(tmp_path):
    make_competition(tmp_path / "tiny")
    competition = load("tiny", tmp_path)
    sample = answers.sample(tmp_path / "tiny", competition)
    return competition, sample, sample.copy()


def spoil(answer, how):
    return {
        "renamed column": answer.rename(columns={"colour": "label"}),
        "row twice": pd.concat([answer, answer.iloc[:1]]),
        "row missing": answer.iloc[1:],
        "foreign row": answer.assign(id=["zz", *answer["id"].iloc[1:]]),
        "other order": answer.iloc[::-1],
        "gap": answer.assign(colour=["", *answer["colour"].iloc[1:]]),
        "not a number": answer.assign(colour=["NaN", *answer["colour"].iloc[1:]]),
        "unknown label": answer.assign(colour=["purple", *answer["colour"].iloc[1:]]),
    }[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("renamed column", "the columns are"),
        ("row twice", "1 rows stand twice"),
        ("row missing", "1 rows of the sample are missing"),
        ("foreign row", "not in it.*zz"),
        ("other order", "order"),
        ("gap", "1 empty"),
        ("not a number", "1 empty or non-finite"),
        ("unknown label", "purple"),
    ],
)
def test_a_submission_that_would_be_refused_is_never_written(answer, how, message):
    competition, sample, given = answer
    answers.check_answer(competition, given, sample)
    with pytest.raises(ValueError, match=message):
        answers.check_answer(competition, spoil(given, how), sample)


def test_a_refused_submission_leaves_the_old_one(bench, monkeypatch):
    paths = bench.run()
    before = (bench.folder / "submissions/tiny-run.csv").read_bytes()
    monkeypatch.setattr(answers, "invalid_cells", lambda competition, column: ["odd"])
    with pytest.raises(ValueError, match="odd"):
        bench.stage("submit", paths)
    assert (bench.folder / "submissions/tiny-run.csv").read_bytes() == before


# -- folds by hand


def test_a_folds_csv_that_is_not_used_is_spoken_of(bench, capsys):
    pd.DataFrame({"id": table(bench.inputs)["id"], "fold": [i // 3 % 3 for i in range(36)]}).to_csv(
        bench.inputs / "folds.csv", index=False
    )
    bench.stage("split", bench.configure())
    line = 'warning: inputs/tiny/folds.csv is there and not used: SET="fold_scheme=file" takes its folds'
    assert line in capsys.readouterr().err.splitlines()
    bench.stage("split", bench.configure(fast("fold_scheme=file"), "by-hand"))
    assert "not used" not in capsys.readouterr().err


def test_a_folds_csv_without_its_columns_says_so(bench):
    table(bench.inputs).to_csv(bench.inputs / "folds.csv", index=False)
    with pytest.raises(ValueError, match="folds.csv has no column fold, only id, colour"):
        bench.stage("split", bench.configure(fast("fold_scheme=file")))
