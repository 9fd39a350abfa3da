"""What a fold was trained from: everything that can change a prediction is part of it, and what differs is
said by name.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import fast, open_run
from PIL import Image

from src import competitions
from src.competition import tables
from src.data import recipe, training_table
from src.data.run import Run
from src.evaluate import evaluate
from src.model.pretrained import pretrained_hash
from src.run import configure
from src.run.files import read_json, write_json


@pytest.fixture
def split_run(bench):
    paths = bench.configure(fast("folds=2 epochs=1"))
    bench.stage("split", paths)
    settings = configure.load(paths.config)
    return settings, competitions.load(settings.comp, settings.inputs), paths, tables.read_folds(paths.folds)


def made_of(settings, competition, paths, table) -> dict:
    return recipe.make_recipe(Run(paths, settings, competition), table, pretrained_hash(settings.config))


def test_a_recipe_names_the_setting_image_feature_and_fact_that_differ(split_run):
    settings, competition, paths, table = split_run
    before = made_of(*split_run)
    assert recipe.differences(before, before) == []
    other = replace(settings, config=replace(settings.config, lr=0.5, trainable=("layer3", "layer4")))
    found = recipe.differences(before, made_of(other, competition, paths, table))
    assert found == ["trainable=1, now layer3,layer4", f"lr={settings.config.lr}, now 0.5"]
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save("inputs/tiny/train/tr001.png")
    assert recipe.differences(before, made_of(*split_run)) == ["other contents of the training images"]
    after = made_of(*split_run)
    featured, weights = replace(competition, features=("weight",)), table.assign(weight="1")
    known = made_of(settings, featured, paths, weights)
    assert recipe.differences(after, known) == [
        "other facts of the competition",
        "other values of the extra columns",
    ]
    weights.loc[3, "weight"] = "2"
    assert recipe.differences(known, made_of(settings, featured, paths, weights)) == [
        "other values of the extra columns"
    ]
    assert recipe.recipe_hash(known) != recipe.recipe_hash(made_of(settings, featured, paths, weights))


def test_a_setting_that_is_new_in_this_version_retires_no_fold(split_run):
    now = made_of(*split_run)
    then = now | {
        "settings": {name: value for name, value in now["settings"].items() if name not in ("ema", "mixup")}
    }
    assert recipe.differences(then, now) == [] and recipe.recipe_hash(then) == recipe.recipe_hash(now)
    used = now | {"settings": now["settings"] | {"ema": 0.9}}
    assert recipe.differences(then, used) == ["ema=0.0, now 0.9"] and recipe.recipe_hash(
        then
    ) != recipe.recipe_hash(used)


def test_a_fold_of_an_earlier_version_is_refused_in_words(split_run):
    assert recipe.differences({"recipe": "a", "settings": {}}, made_of(*split_run)) == [
        "an earlier version of the kit, which did not write all of its recipe down"
    ]


def test_with_patience_the_metric_its_code_and_the_pooling_belong_to_the_recipe(split_run, monkeypatch):
    settings, competition, paths, table = split_run
    patient = replace(settings, config=replace(settings.config, patience=2))

    def pasted(solution, submission):
        return 0.5

    def other(solution, submission):
        return 0.25

    hashes = [
        recipe.recipe_hash(made_of(patient, changed, paths, table))
        for changed in (
            competition,
            replace(competition, metric=pasted),
            replace(competition, metric=other),
            replace(competition, pool="max"),
        )
    ]
    assert len(set(hashes)) == 4
    plain = [
        recipe.recipe_hash(made_of(settings, changed, paths, table))
        for changed in (competition, replace(competition, metric=pasted))
    ]
    assert plain[0] == plain[1], "without patience the metric changes no prediction"


def test_settings_that_changed_since_the_training_are_refused_by_predict_and_submit(bench):
    paths = bench.run(fast("folds=2 epochs=1"))
    csv = Path("submissions/tiny-run.csv").read_text()
    bench.configure(fast("folds=2 epochs=1 image_size=48"))
    for stage in ("predict", "submit"):
        with pytest.raises(
            ValueError,
            match=r"fold 0 of runs/tiny-run was trained with image_size=32, now 48: make train RUN=tiny-run",
        ):
            bench.stage(stage, paths)
    assert Path("submissions/tiny-run.csv").read_text() == csv


def test_folds_of_differing_code_recipe_or_versions_are_not_scored_together(bench, monkeypatch, capsys):
    paths = bench.configure(fast("folds=2 epochs=1"))
    bench.stage("split", paths)
    bench.stage("train", paths, only=[0])
    units = training_table.training_code(open_run(paths))
    edited = units | {"src/training/losses.py": units["src/training/losses.py"] | {"cross_entropy": "0"}}
    with monkeypatch.context() as patch:
        patch.setattr(training_table, "training_code", lambda run: edited)
        bench.stage("train", paths, only=[1])
    run, table = open_run(paths), tables.read_folds(paths.folds)
    with pytest.raises(
        ValueError, match="trained by differing code, src/training/losses.py: cross_entropy: make retrain"
    ):
        evaluate(run, table)
    done = read_json(paths.fold(1).done)
    write_json(done | {"code": units, "images_hash": "0"}, paths.fold(1).done)
    with pytest.raises(ValueError, match="differing recipes, other contents of the training images"):
        evaluate(run, table)
    write_json(done | {"code": units, "versions": {"torch": "1"}}, paths.fold(1).done)
    capsys.readouterr()
    evaluate(run, table)
    assert "folds 0 and 1 were trained by differing versions of the packages" in capsys.readouterr().err


def test_an_edit_between_two_folds_stops_before_the_second_is_trained(bench, monkeypatch):
    paths = bench.configure(fast("folds=2 epochs=1"))
    bench.stage("split", paths)
    with monkeypatch.context() as patch:
        patch.setattr(
            training_table,
            "training_code",
            lambda run: {"src/training/loop.py": {"": "0", "train_steps": "0"}},
        )
        bench.stage("train", paths, only=[0])
    with pytest.raises(
        ValueError,
        match=r"fold 0 of runs/tiny-run began before src/training/loop.py: train_steps changed, and other folds",
    ):
        bench.stage("train", paths)
    assert not paths.fold(1).done.exists() and paths.fold(0).done.exists()


def test_a_new_run_says_why_it_does_not_take_over_a_fold(bench, monkeypatch, capsys):
    first = bench.configure(fast("folds=2 epochs=1"), "first")
    bench.stage("split", first)
    with monkeypatch.context() as patch:
        patch.setattr(
            training_table,
            "training_code",
            lambda run: {"src/training/losses.py": {"": "0", "cross_entropy": "0"}},
        )
        bench.stage("train", first, only=[0])
    second = bench.configure(fast("folds=2 epochs=1"), "second")
    bench.stage("split", second)
    capsys.readouterr()
    bench.stage("train", second, only=[0])
    said = capsys.readouterr().out
    assert (
        "fold 0: not taken over from run first: src/training/losses.py: cross_entropy changed since it was trained"
        in said
    )
    assert said.count("not taken over from run first") == 1  # it is looked for once


def test_a_model_does_not_predict_by_code_that_was_edited_since_it_was_trained(bench, monkeypatch):
    paths = bench.run(fast("folds=2 epochs=1"))
    done = read_json(paths.fold(0).done)
    edited = done["code"]["src/data/images.py"] | {"": "0", "read": "0"}
    write_json(done | {"code": done["code"] | {"src/data/images.py": edited}}, paths.fold(0).done)
    bench.stage("predict", paths)  # nothing is to be made
    bench.configure(fast("folds=2 epochs=1 tta=hflip"))
    with pytest.raises(
        ValueError,
        match=r"fold 0 .* trained before src/data/images.py: read changed, and would predict by the new code",
    ):
        bench.stage("predict", paths)
