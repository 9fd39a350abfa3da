"""Pseudo-labels: each fold learns what its own model says, so the score does not flatter; what goes stale is
refused.
"""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, fast, open_run
from PIL import Image

from src.competition import tables
from src.data.training_table import add_pseudo_labels, hard_labels, load_training_table
from src.extras import pseudo
from src.model.backbone import BACKBONES
from src.run import predictions
from src.run.files import file_sha, read_json, write_json

LOW = 0.34


def label(bench, paths, cut: float = LOW) -> pd.DataFrame:
    return pseudo.pseudo(open_run(paths), cut)


def test_a_fold_gets_the_labels_of_its_own_model_above_the_cut_and_no_others(bench, capsys):
    first = bench.run(FAST, "first")
    surest = pd.concat([predictions.read(first.fold(k).test).max(axis=1) for k in range(3)])
    cut = float(surest.median())
    found = label(bench, first, cut)
    paths = bench.run(f"{FAST} pseudo=first", "second")
    whole = add_pseudo_labels(load_training_table(open_run(paths), ""))
    assert len(whole.frame) > 36 and (whole.frame["fold"][36:] == -1).all()
    for k in range(3):
        asked = predictions.read(first.fold(k).test)
        sure = asked.index[asked.max(axis=1) >= cut]
        own = whole.for_fold(k)
        learns = np.isin(np.arange(len(own.frame)), own.training)
        assert sorted(own.frame["id"][36:][learns[36:]]) == [f"test/{name}" for name in sorted(sure)]
        rows = own.frame[36:][learns[36:]]
        assert np.abs(own.target[36:][learns[36:]] - asked.loc[rows["id"].str[5:]].to_numpy()).max() < 1e-5
        assert rows["colour"].tolist() == asked.loc[rows["id"].str[5:]].idxmax(axis=1).tolist()
        assert (learns[:36] == (tables.read_folds(paths.folds)["fold"] != k)).all()
    assert f"fold 0 learns from {(found['fold'] == 0).sum()}" in capsys.readouterr().out
    assert sorted(predictions.read(paths.oof).index) == sorted(tables.read_folds(paths.folds)["id"])
    label(bench, paths)
    assert bench.run(f"{FAST} pseudo=second", "third").score.exists()  # the next round


def test_hard_labels_are_the_likeliest_class_of_the_fold_s_own_model(bench):
    first = bench.run(FAST, "first")
    label(bench, first)
    targets = {}
    for kind in ("soft", "hard"):
        paths = bench.configure(f"{FAST} pseudo=first pseudo_labels={kind}", kind)
        bench.stage("split", paths)
        whole = add_pseudo_labels(load_training_table(open_run(paths), ""))
        own = whole.for_fold(1)
        targets[kind] = own.target[own.training[own.training >= 36]]
    assert {*np.unique(targets["hard"])} == {0, 1} and 0 < targets["soft"].min()
    assert (targets["hard"].argmax(1) == targets["soft"].argmax(1)).all() and (
        targets["hard"].sum(1) == 1
    ).all()
    bench.stage("train", paths, only=[1])


def test_hard_labels_of_several_per_image_are_those_above_one_half():
    soft = pd.DataFrame({"a": [0.9, 0.6, np.nan], "b": [0.7, 0.2, np.nan]})
    hard = hard_labels(soft, "multilabel").to_numpy()
    assert hard[:2].tolist() == [[1, 1], [1, 0]] and np.isnan(hard[2]).all()


def make_noise(root, num: int = 40) -> None:
    """Labels that mean nothing; each picture has one bright pixel of its own, so that a linear model can
    learn them by heart. The test shows the same pictures, a little darker.
    """
    shutil.rmtree(root)
    for part, bright in (("train", 255), ("test", 250)):
        (root / part).mkdir(parents=True)
        for i in range(num):
            pixels = np.full((8, 8, 3), (124, 116, 104), np.uint8)  # 0 once normalised
            pixels[divmod(i, 8)] = bright
            Image.fromarray(pixels).save(root / part / f"{part[:2]}{i:03}.png")
    labels = np.random.default_rng(0).permutation(num) % 2
    pd.DataFrame({"id": [f"tr{i:03}" for i in range(num)], "colour": labels}).to_csv(
        root / "train.csv", index=False
    )
    pd.DataFrame({"id": [f"te{i:03}" for i in range(num)], "colour": 0}).to_csv(
        root / "sample_submission.csv", index=False
    )


def test_labels_of_the_mean_over_the_folds_flatter_on_pure_noise_and_those_by_fold_do_not(bench):
    """The trap itself: each test image is a near copy of a training image, whose random label all folds but
    one have learned by heart.
    """
    make_noise(bench.inputs)
    bench.monkeypatch.setitem(BACKBONES, "pixels", lambda config: torch.nn.Flatten())
    how = fast(
        "backbone=pixels trainable=head image_size=8 epochs=12 folds=3 batch_size=40 lr=0.2 augment=none views=1 weight_decay=0 head_epochs=0"
    )
    machine = "wandb=off workers=0 device=cpu sanity=false"
    first = bench.run(how, "first", machine=machine)
    label(bench, first, 0.5)
    by_fold = bench.run(f"{how} pseudo=first", "by_fold", machine=machine)
    mean = predictions.read(first.test)
    # what a csv of the mean would give each fold
    for k in range(3):
        predictions.write(mean, first.fold(k).test)
        note = read_json(first.fold(k).test_json)
        write_json(note | {"sha256": file_sha(first.fold(k).test)}, first.fold(k).test_json)
    label(bench, first, 0.5)
    by_mean = bench.run(f"{how} pseudo=first", "by_mean", machine=machine)
    accuracy = {paths.name: read_json(paths.score)["also"]["accuracy"] for paths in (first, by_fold, by_mean)}
    assert abs(accuracy["by_fold"] - 0.5) < 0.15 and accuracy["by_mean"] > 0.9, accuracy


def test_what_was_changed_or_made_of_other_folds_is_refused_or_trained_anew(bench, capsys):
    first = bench.run(FAST, "first")
    with pytest.raises(ValueError, match="there is no runs/first/pseudo.csv: make pseudo RUN=first"):
        bench.run(f"{FAST} pseudo=first", "second")
    found = label(bench, first)
    second = bench.run(f"{FAST} pseudo=first", "second")
    recipe = read_json(second.score)["recipe"]
    assert recipe != read_json(first.score)["recipe"]
    found.iloc[2:].to_csv(first.root / "pseudo.csv", index=False)
    bench.configure(f"{FAST} pseudo=first", "second")
    assert (
        read_json(second.settings("train"))["pseudo.csv"]["pseudo.csv"][0]
        == (first.root / "pseudo.csv").stat().st_size
    )
    bench.stage("train", second)
    assert read_json(second.score)["recipe"] != recipe and (second.old / recipe).exists()
    for settings, told in (
        (fast("fold_seed=1 pseudo=first"), "other folds"),
        (f"{FAST} pseudo=none", "no finished fold"),
        (f"{FAST} pseudo=third", "itself"),
    ):
        with pytest.raises(ValueError, match=told):
            bench.run(settings, "third")
    # retrained: its labels are another model's now
    bench.run(fast("epochs=1"), "first")
    with pytest.raises(ValueError, match="fold 0 was trained anew since"):
        bench.stage("train", second)


def test_numbers_a_cut_that_none_reaches_and_missing_predictions_are_refused_in_a_line(bench):
    paths = bench.configure()
    bench.stage("split", paths)
    with pytest.raises(ValueError, match="has no test predictions"):
        label(bench, paths)
    bench.stage("train", paths), bench.stage("predict", paths)
    with pytest.raises(ValueError, match="no test prediction is as sure as CUT=0.9999, the surest is 0"):
        label(bench, paths, 0.9999)
    table = pd.read_csv(bench.inputs / "train.csv")
    table.assign(colour=np.linspace(0, 1, len(table))).to_csv(bench.inputs / "train.csv", index=False)
    with pytest.raises(ValueError, match="task='regression' predicts numbers"):
        label(bench, paths)


def test_several_labels_per_image_are_as_sure_as_the_least_certain_of_them():
    frame = predictions.make(["a", "b"], [[0.99, 0.02, 0.9], [0.5, 0.01, 0.99]], ["x", "y", "z"])
    assert pseudo.confidence("multilabel", frame).tolist() == pytest.approx([0.9, 0.5])
    assert pseudo.confidence("multiclass", frame).tolist() == pytest.approx([0.99, 0.99])


def test_several_labels_per_image_are_learned_as_the_shares_that_they_are(bench):
    table = pd.read_csv(bench.inputs / "train.csv")
    table["colour"] = [
        "dark" if i % 9 == 0 else f"{colour} dark" if i % 2 else colour
        for i, colour in enumerate(table["colour"])
    ]
    table.to_csv(bench.inputs / "train.csv", index=False)
    how = fast("epochs=1 folds=2")
    first = bench.run(how, "first")
    label(bench, first, 0.5)
    paths = bench.run(f"{how} pseudo=first", "second")
    own = add_pseudo_labels(load_training_table(open_run(paths), "")).for_fold(1)
    asked = predictions.read(first.fold(1).test).loc[own.frame["id"][36:].str[5:]].to_numpy()
    assert {*range(36, len(own.frame))} <= {*own.training} and np.abs(own.target[36:] - asked).max() < 1e-5
    assert (
        own.frame[list(open_run(paths).competition.targets)][36:].to_numpy()
        == np.where(asked >= 0.5, "1", "0")
    ).all()
