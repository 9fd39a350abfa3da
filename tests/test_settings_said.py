"""Settings and scores that can't do what they seem to: refused by name, or said in a line."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import fast
from PIL import Image

from src import competitions, evaluate
from src.__main__ import run_commands
from src.competition import definition
from src.competition.facts import Competition
from src.competition.metrics import METRICS
from src.run.files import read_json


def several_labels(bench) -> None:
    """The tiny competition's images with two labels that may both be there, or none."""
    table = pd.read_csv("inputs/tiny/train.csv")
    table["bright"], table["round"] = np.arange(len(table)) % 2, (np.arange(len(table)) % 3 == 0).astype(int)
    table.drop(columns="colour").to_csv("inputs/tiny/train.csv", index=False)
    sample = pd.read_csv("inputs/tiny/sample_submission.csv")
    sample.drop(columns="colour").assign(bright=0.5, round=0.5).to_csv(
        "inputs/tiny/sample_submission.csv", index=False
    )


@pytest.mark.parametrize(
    "settings, told",
    [
        (
            "class_weights=balanced",
            "class_weights=balanced weighs an image by its class.*multilabel.*set class_weights=none",
        ),
        (
            "loss=focal",
            "loss=focal is for one class per image.*multilabel.*set loss=auto, which is binary_cross_entropy",
        ),
        ("loss=cross_entropy", "loss=cross_entropy is for one class per image"),
    ],
)
def test_what_needs_one_class_per_image_is_refused_where_there_are_several(bench, settings, told):
    several_labels(bench)
    paths = bench.configure(fast(settings))
    bench.stage("split", paths)
    with pytest.raises(ValueError, match=told):
        bench.stage("train", paths)
    assert not list((bench.folder / "runs/.cache").rglob("*.npy"))


def test_label_smoothing_of_several_labels_is_said_to_do_nothing(bench, capsys):
    several_labels(bench)
    paths = bench.configure(fast("label_smoothing=0.1 epochs=1"))
    bench.stage("split", paths), bench.stage("train", paths, only=[0])
    assert "warning: label_smoothing=0.1 has no effect with task='multilabel'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings, told",
    [
        (
            "epochs=6 trainable=head cutmix=1",
            "cutmix=1 has no effect: what the trunk hands over has no height and width.*set mixup=1",
        ),
        ("epochs=6 trainable=head cutmix=1 mixup=0.2", "mixup mixes all batches"),
        ("trainable=head head_epochs=1", "head_epochs=1 has no effect with trainable=head"),
        ("trainable=1 head_epochs=1", "head_epochs=1 with epochs=1: the backbone never learns"),
        ("epochs=6 trainable=1 cutmix=1", ""),
    ],
)
def test_a_setting_without_effect_is_said(bench, capsys, settings, told):
    import re

    paths = bench.configure(fast(f"epochs=1 {settings}"))
    bench.stage("split", paths), bench.stage("train", paths, only=[0])
    said = capsys.readouterr().err
    assert re.search(f"warning: .*{told}", said) if told else "no effect" not in said


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error(bench, monkeypatch, device):
    (
        monkeypatch.setattr("torch.cuda.is_available", lambda: False),
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: False),
    )
    paths = bench.configure(machine=f"wandb=off workers=0 device={device}")
    bench.stage("split", paths)
    with pytest.raises(ValueError, match=f'MACHINE="device={device}": torch .* finds no such device here'):
        bench.stage("train", paths)


def test_more_gpus_than_there_are_is_an_error(bench, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    paths = bench.configure(machine="wandb=off workers=0")
    bench.stage("split", paths)
    with pytest.raises(
        ValueError,
        match='GPUS=2: torch finds 1 CUDA devices here.*MACHINE="device=cpu" lets 2 processes share the processor',
    ):
        run_commands(["train", str(paths.root), "--gpus", "2"])


def read_shrunk(record: dict, factor: int) -> np.ndarray:
    picture = Image.open(record["file"]).convert("RGB")
    return np.asarray(picture.resize((picture.width // factor, picture.height // factor)))


def test_a_partial_can_be_the_reader_and_the_metric(bench, monkeypatch):
    own = Competition(read_image=partial(read_shrunk, factor=2), metric=partial(METRICS["macro_f1"], beta=2))
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: own)
    paths = bench.run(fast("epochs=1"))
    assert read_json(paths.score)["metric"] == "f_beta"
    pasted = definition.as_python(competitions.load("tiny", Path("inputs")))
    assert "read_image=partial(read_shrunk, factor=2)" in pasted and "beta=2" in pasted


# ---- folds without a score ----


def test_early_stopping_without_any_score_keeps_the_last_weights(bench, monkeypatch, capsys):
    monkeypatch.setitem(METRICS, "macro_f1", lambda solution, submission: float("nan"))
    paths = bench.configure(fast("patience=1 epochs=3"))
    bench.stage("split", paths), bench.stage("train", paths)
    said = capsys.readouterr().out
    assert (
        "no epoch had a score (all NaN)" in said and "folds without a score" in said and paths.score.exists()
    )


def test_a_fold_without_positives_is_left_out_of_the_means_and_named(bench, monkeypatch, capsys):
    """As ROC AUC has no value for a fold in which nobody is ill."""
    real, third = METRICS["macro_f1"], []

    def score(solution, submission):
        third[:] = third or [solution.index[0]]
        return (
            float("nan") if third[0] in solution.index and len(solution) < 36 else real(solution, submission)
        )

    monkeypatch.setitem(METRICS, "macro_f1", score)
    paths = bench.run(fast("epochs=3"))
    score = read_json(paths.score)
    known = [value for value in score["folds"].values() if value == value]
    assert (
        len(known) == 2
        and score["mean"] == pytest.approx(np.mean(known))
        and score["spread"] == pytest.approx(np.std(known, ddof=1))
    )
    curves = np.array(
        [curve for k, curve in score["epochs"]["scores"].items() if score["folds"][k] == score["folds"][k]]
    )
    assert score["epochs"]["joint_best"] == 1 + curves.mean(axis=0).argmax() and score["epochs"][
        "mean"
    ] == pytest.approx(curves.mean(axis=0))
    assert np.isfinite([score["epochs"]["joint_gain"], score["epochs"]["per_fold_optimism"]]).all()
    assert (
        "folds without a score (macro_f1 is NaN for their held-out images): 0; the means are of the others"
        in capsys.readouterr().out
    )


def test_the_mean_over_one_fold_has_no_spread():
    assert evaluate.over_folds(np.array([0.5])) == {"mean": 0.5, "spread": 0.0}
