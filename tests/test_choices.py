"""The words that settings choose from, each through the real stages; a training with it that is killed ends
with the bytes of one that was not.
"""

import pandas as pd
import pytest
from conftest import fast, open_run
from test_resume import Killed, after_steps, kill, products, train_fold_0, whole_run
from test_tasks import relabel

from src.data.recipe import make_recipe, recipe_hash, training_code
from src.data.training_table import load_training_table
from src.run.files import read_json

# settings that change what a step does, or what the weights become after it
EXACT = {
    "schedule": "schedule=one_cycle trainable=head",
    "arcface": "head=subcentre_arcface mixup=0.4 loss=bi_tempered trainable=head",
}


@pytest.mark.parametrize("name", EXACT)
def test_a_killed_training_goes_on_to_the_same_bytes(bench, monkeypatch, name):
    settings = f"epochs=3 {EXACT[name]}"
    expected = whole_run(bench, settings)
    for steps in (4, 3):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            after_steps(patch, steps, kill)
            train_fold_0(bench, settings, "broken")
    assert products(train_fold_0(bench, settings, "broken")) == expected


@pytest.mark.parametrize("name", ["arcface", "subcentre_arcface", "cosine"])
def test_a_head_of_cosines_learns_the_colours(bench, name):
    paths = bench.run(fast(f"head={name} epochs=6 folds=2 lr=3e-2"))
    losses = pd.read_json(paths.fold(0).log, lines=True)["loss"]
    assert losses.iloc[-1] < losses.iloc[0] and read_json(paths.score)["oof"] > 0.6


def test_the_asymmetric_loss_learns_several_labels(bench):
    relabel(bench.inputs, lambda i: [int(i % 3 == 0), int(i % 3 != 2)], 0.5, columns=("id", "a", "b"))
    paths = bench.run(fast("loss=asymmetric epochs=6 folds=2 lr=3e-2"))
    losses = pd.read_json(paths.fold(0).log, lines=True)["loss"]
    assert losses.iloc[-1] < losses.iloc[0]


def test_a_margin_between_classes_is_refused_where_there_are_none(bench):
    relabel(bench.inputs, lambda i: [i / 7], 0.5)
    paths = bench.configure(fast("head=arcface"))
    bench.stage("split", paths)
    with pytest.raises(ValueError, match="head=arcface puts a margin between classes, and task='regression'"):
        bench.stage("train", paths)


def test_a_new_setting_at_its_default_changes_no_recipe_and_its_code_counts_where_it_is_used(bench):
    paths = bench.configure(fast(""))
    bench.stage("split", paths)
    run = open_run(paths)
    recipe = make_recipe(run, load_training_table(run, "").frame, "")
    before = {name: value for name, value in recipe["settings"].items() if name != "schedule"}
    assert recipe_hash(recipe | {"settings": before}) == recipe_hash(recipe)
    assert "SCHEDULES[cosine]" in training_code(run)["src/training/schedules.py"]
    other = open_run(bench.configure(fast("schedule=constant"), "other"))
    assert "SCHEDULES[constant]" in training_code(other)["src/training/schedules.py"]
