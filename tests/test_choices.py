"""The words that settings choose from, each through the real stages; a training with it that is killed ends
with the bytes of one that was not.
"""

import pandas as pd
import pytest
import torch
from conftest import fast, open_run
from safetensors.torch import load_file
from test_resume import Killed, after_steps, kill, products, train_fold_0, whole_run
from test_tasks import relabel

from src.config import Config, resolve
from src.data.recipe import make_recipe, recipe_hash, training_code
from src.data.training_table import load_training_table
from src.model.classifier import build
from src.run.files import read_json
from src.training import swa

NEW = ("schedule", "solver", "swa", "sam", "grad_checkpointing", "pseudo_labels")
# settings that change what a step does, or what the weights become after it
EXACT = {
    "schedule": "schedule=one_cycle trainable=head",
    "swa": "swa=2 epochs=4 trainable=1 schedule=constant",
    "sam": "sam=0.05 trainable=1 mixup=0.4 drop_rate=0.3 accumulate=2 batch_size=5 views=3 augment=light",
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


@pytest.mark.parametrize(
    "settings, told",
    [
        ("swa=2 ema=0.9", "swa=2 averages the weights of the last epochs, which ema=0.9 contradicts"),
        ("swa=2 patience=1", "which patience=1 contradicts: choose one"),
    ],
)
def test_two_ways_to_average_are_refused(bench, settings, told):
    paths = bench.configure(fast(settings))
    bench.stage("split", paths)
    with pytest.raises(ValueError, match=told):
        bench.stage("train", paths)


def test_the_model_of_a_fold_is_the_mean_of_its_last_epochs(bench):
    means = {}

    class Mean(swa.Swa):
        def update(self, epoch, *, ends_epoch):
            super().update(epoch, ends_epoch=ends_epoch)
            if ends_epoch:
                means[epoch] = {name: value.clone() for name, value in self.learned.items()}

    bench.monkeypatch.setattr(swa, "Swa", Mean)
    paths = train_fold_0(bench, "swa=2 epochs=4 trainable=1", "averaged")
    saved = load_file(paths.fold(0).model)
    for name, value in saved.items():
        if value.is_floating_point():
            mean = (means[2][name].double() + means[3][name].double()) / 2
            assert torch.allclose(value.double(), mean, atol=1e-6), name


def test_checkpointing_keeps_fewer_activations_and_learns_the_same(bench):
    """A ViT has no BatchNorm, so that recomputing changes nothing."""
    vit = "backbone=test_vit trainable=all epochs=1"
    plain = whole_run(bench, vit)
    paths = train_fold_0(bench, f"{vit} grad_checkpointing=true", "checkpointed")
    found = products(paths)
    assert found["valid.parquet"] == plain["valid.parquet"]
    assert found["model.safetensors"] == plain["model.safetensors"]
    assert size_of_graph(grad_checkpointing=True) < 0.7 * size_of_graph(grad_checkpointing=False)


def size_of_graph(**how) -> int:
    """Numbers that a forward pass keeps for the backward pass."""
    config = Config(backbone="test_vit", pretrained=False, trainable="all", image_size=32, **how)
    model, sizes = build(resolve(config), 3).train(), []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 0))
    return sum(sizes)


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
    before = {name: value for name, value in recipe["settings"].items() if name not in NEW}
    assert recipe_hash(recipe | {"settings": before}) == recipe_hash(recipe)
    assert "SCHEDULES[cosine]" in training_code(run)["src/training/schedules.py"]
    other = open_run(bench.configure(fast("schedule=constant"), "other"))
    assert "SCHEDULES[constant]" in training_code(other)["src/training/schedules.py"]
