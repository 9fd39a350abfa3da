"""Stages in one process: what make calls, with the quick checks before the training."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import fast

from src import chain, competitions, train_fold
from src.run import sources
from src.run.files import read_json

ROOT = sources.SRC.parent


def call(*words: str) -> subprocess.CompletedProcess:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "src.chain", *words],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_words_between_plus_signs_are_stages_with_their_options():
    found = chain.read("doctor --quick --quiet + train --fold 0 + submit".split())
    assert [(module.__name__, options) for module, options in found] == [
        ("src.extras.doctor.__main__", ["--quick", "--quiet"]),
        ("src.train", ["--fold", "0"]),
        ("src.submit", []),
    ]


def test_checks_before_a_training_change_nothing_of_it(bench):
    plain, checked = (bench.configure(fast("drop_rate=0.2"), name) for name in ("plain", "checked"))
    bench.stage("split", plain), bench.stage("split", checked)
    after = ["train", "+", "predict", "+", "submit"]
    for words in (["runs/plain", *after], ["elsewhere/checked", "doctor", "--quick", "--quiet", "+", *after]):
        if words[0] == "elsewhere/checked":  # or it would take the other's folds over
            (bench.folder / "elsewhere").mkdir()
            checked.root.rename(words[0])
        done = call(*words)
        assert done.returncode == 0, done.stdout
    one, two = (bench.folder / "runs/plain", bench.folder / "elsewhere/checked")
    for name in ("fold0/model.safetensors", "fold2/model.safetensors", "oof.parquet", "test.parquet"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert (bench.folder / "submissions/plain.csv").read_bytes() == (
        bench.folder / "submissions/checked.csv"
    ).read_bytes()
    codes = [read_json(root / "fold0/done.json")["code"] for root in (one, two)]
    assert codes[0] == codes[1] and "src/train_fold.py" in codes[0]


@pytest.mark.parametrize(
    "words, code, told",
    [
        (["train", "--fold", "9", "+", "predict"], 2, "FOLD=9 does not exist"),
        (["predict", "+", "submit"], 2, "is not trained"),
    ],
)
def test_the_first_stage_that_fails_ends_the_chain_with_its_code(bench, words, code, told):
    paths = bench.configure()
    bench.stage("split", paths)
    done = call(str(paths.root), *words)
    assert done.returncode == code and told in done.stdout and "Traceback" not in done.stdout
    assert not paths.test.exists() and not (bench.folder / "submissions").exists()


def test_a_head_learns_the_same_beside_a_shared_backbone(bench, monkeypatch):
    shared = bench.run(fast("trainable=head drop_rate=0.2"), "shared")
    monkeypatch.setattr(
        train_fold,
        "fresh_model",
        lambda job, extra: train_fold.build(job.settings.config, job.target.shape[1], extra, is_proven=True),
    )
    (bench.folder / "elsewhere").mkdir()
    shared.root.rename("elsewhere/shared")
    own = bench.run(fast("trainable=head drop_rate=0.2"), "own")
    for k in range(3):
        assert (
            own.fold(k).model.read_bytes()
            == (bench.folder / f"elsewhere/shared/fold{k}/model.safetensors").read_bytes()
        )


def test_wandb_is_loaded_by_the_tracker_alone():
    code = (
        "import sys; from src import chain; chain.import_timm(); chain.read(['train']); print('wandb' in sys.modules, 'timm' in sys.modules); "
        "import wandb; print(wandb.init is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False True\nTrue\n", done.stderr


def test_the_files_are_looked_at_once_for_all_stages(monkeypatch):
    looked = []
    monkeypatch.setattr(competitions, "load", lambda comp, inputs: looked.append(comp))

    stage = SimpleNamespace(__name__="src.stage", main=lambda: competitions.load("a", "inputs"))
    monkeypatch.setattr(sys, "argv", [])
    chain.main("runs/x", [(stage, []), (stage, ["--fold", "0"])])
    assert looked == ["a"] and sys.argv == ["src.stage", "runs/x", "--fold", "0"]
