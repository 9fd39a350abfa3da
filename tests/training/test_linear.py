"""The exact solver against scikit-learn, and through the real stages for each kind of task."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fast, open_run
from sklearn.linear_model import LogisticRegression, Ridge
from test_resume import Killed
from test_tasks import relabel

from src import solve_fold
from src.extras import verify
from src.run import reuse
from src.run.files import read_json
from src.training.linear import CS, Axes, Examples, choose_c, solve
from src.training.losses import LOSSES

EXACT = "solver=exact trainable=head folds=3"


def problem(num_outputs: int = 3, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 5) of very different size, one of them constant, and labels that two of them tell in part."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 5)) * [1, 30, 0.1, 1, 0] + [0, 100, 0, 0, 7]
    score = x[:, [0]] * np.arange(num_outputs) + x[:, [2]] * 10 * np.arange(num_outputs) ** 2
    return x, (score + rng.gumbel(size=(n, num_outputs))).argmax(axis=1)


def layer(x: np.ndarray, target: np.ndarray, loss: str, c: float, weight: np.ndarray | None = None):
    """The weights and bias of a layer on the plain features."""
    plain = torch.from_numpy(x)
    axes = Axes.of(plain)
    weights = torch.ones(len(x), dtype=torch.float64) if weight is None else torch.from_numpy(weight)
    examples = Examples(axes.apply(plain), torch.from_numpy(target).double(), weights)
    solution = solve(examples, axes.variance, LOSSES[loss], c, tolerance=1e-9)
    return [values.numpy() for values in axes.undo(solution)]


@pytest.mark.parametrize("c", [1e-3, 1.0, 30.0])
def test_it_is_logistic_regression(c):
    x, label = problem()
    weight = np.where(label == 0, 3.0, 1.0)
    weights, bias = layer(x, np.eye(3)[label], "cross_entropy", c, weight)
    scaled = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(scaled, label, sample_weight=weight)
    logits = x @ weights.T + bias
    ours = np.exp(logits - logits.max(1, keepdims=True))
    assert np.allclose(ours / ours.sum(1, keepdims=True), theirs.predict_proba(scaled), atol=1e-5)


@pytest.mark.parametrize("copies", [1, 3])
def test_with_more_features_than_examples_it_is_the_same(copies):
    rng = np.random.default_rng(3)
    x = np.tile(rng.normal(size=(40, 200)) + 5, (copies, 1))  # copies of an example add no axis
    label = np.tile(rng.integers(0, 3, 40), copies)
    weights, bias = layer(x, np.eye(3)[label], "cross_entropy", 0.3)
    assert Axes.of(torch.from_numpy(x)).directions.shape == (200, 39)
    theirs = LogisticRegression(C=0.3, tol=1e-10, max_iter=10_000)
    theirs.fit(scaled := (x - x.mean(0)) / x.std(0), label)
    logits = x @ weights.T + bias
    ours = np.exp(logits - logits.max(1, keepdims=True))
    assert np.allclose(ours / ours.sum(1, keepdims=True), theirs.predict_proba(scaled), atol=1e-5)


def test_features_that_never_differ_leave_the_shares_of_the_classes():
    weights, bias = layer(np.ones((8, 20)), np.eye(2)[[0, 1, 1, 1] * 2], "cross_entropy", 1.0)
    assert not weights.any() and np.isclose(bias[1] - bias[0], np.log(3), atol=1e-4)


def test_each_column_of_several_labels_is_a_logistic_regression_of_its_own():
    x, label = problem()
    target = np.stack([label == 0, label > 1], axis=1).astype(float)
    weights, bias = layer(x, target, "binary_cross_entropy", 2.0)
    scaled = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    for column in range(2):  # the loss is the mean over two columns: half the C for each
        theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(scaled, target[:, column])
        ours = 1 / (1 + np.exp(-(x @ weights[column] + bias[column])))
        assert np.allclose(ours, theirs.predict_proba(scaled)[:, 1], atol=1e-5)


def test_with_squares_it_is_ridge_regression():
    x, label = problem()
    target = label[:, None] * 2.0 + x[:, [1]]
    weights, bias = layer(x, target, "mse", 0.5)
    scaled = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    theirs = Ridge(alpha=1.0).fit(scaled, target)
    assert np.allclose((x @ weights.T + bias)[:, 0], theirs.predict(scaled).ravel(), atol=1e-5)


def test_c_is_small_for_noise_and_large_for_what_can_be_learned():
    rng = np.random.default_rng(1)
    x, folds = torch.from_numpy(rng.normal(size=(120, 30))), np.arange(120) % 4
    noise = torch.eye(2, dtype=torch.float64)[torch.from_numpy(rng.integers(0, 2, 120))]
    clear = torch.eye(2, dtype=torch.float64)[(x[:, 0] > 0).long()]
    axes, weight = Axes.of(x), torch.ones(120, dtype=torch.float64)
    chosen = [
        choose_c(Examples(axes.apply(x), target, weight), axes.variance, LOSSES["cross_entropy"], folds)
        for target in (noise, clear)
    ]
    assert chosen[0] == CS[0] and chosen[1] > 0.1


TASKS = {
    "multiclass": None,
    "binary": (lambda i: [int(i % 3 == 2)], ("id", "label")),
    "multilabel": (lambda i: [int(i % 3 == 0), int(i % 3 != 2)], ("id", "a", "b")),
    "regression": (lambda i: [1000 + (i % 3) + i / 100], ("id", "label")),
}


@pytest.mark.parametrize("task", TASKS)
def test_each_task_goes_from_features_to_a_submission(bench, capsys, task):
    if TASKS[task]:
        relabel(bench.inputs, TASKS[task][0], 0.5, columns=TASKS[task][1])
    paths = bench.run(fast(EXACT))
    score, log = read_json(paths.score), pd.read_json(paths.fold(0).log, lines=True)
    assert len(log) == 1 and log["C"][0] in [pytest.approx(c) for c in CS]
    assert f"fold 0  loss {log['loss'][0]:.4g}" in capsys.readouterr().out
    better = score["oof"] < 0.7 if task == "regression" else score["oof"] > 0.5
    assert better or score["metric"] == "log_loss"
    verify.verify(open_run(paths))


TWO_BACKBONES = "backbone=joined:test_resnet+test_vit"


@pytest.mark.parametrize(
    "settings", ["folds=2", "views=3 augment=light", "views=0 augment=light", "refit=1", TWO_BACKBONES]
)
def test_few_folds_many_views_refits_and_several_backbones(bench, settings):
    paths = bench.run(fast(f"{EXACT} {settings}"))
    assert read_json(paths.score)["oof"] > 0.6 and len(pd.read_parquet(paths.test)) == 9


def test_a_stopped_fold_begins_anew_and_a_finished_one_is_taken_over(bench, monkeypatch, capsys):
    def kill(*args, **how):
        raise Killed

    whole = bench.run(fast(EXACT), "whole")
    expected = whole.fold(0).model.read_bytes(), whole.oof.read_bytes()
    monkeypatch.setattr(reuse, "adopt_fold", lambda *args: "")
    paths = bench.configure(fast(EXACT), "broken")
    bench.stage("split", paths)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(solve_fold, "choose_c", kill)
        bench.stage("train", paths)
    bench.stage("train", paths)
    assert (paths.fold(0).model.read_bytes(), paths.oof.read_bytes()) == expected
    monkeypatch.undo(), monkeypatch.chdir(bench.folder)
    bench.stage("split", bench.configure(fast(f"{EXACT} tta=hflip"), "other"))
    bench.stage("train", bench.configure(fast(f"{EXACT} tta=hflip"), "other"))
    assert "the same recipe as in run" in capsys.readouterr().out


def test_c_never_sees_the_fold_that_is_scored(bench, monkeypatch):
    seen = {}
    real = solve_fold.inner_folds

    def remember(rows, positions):
        seen[rows.fold] = {*real(rows, positions).tolist()}
        return real(rows, positions)

    monkeypatch.setattr(solve_fold, "inner_folds", remember)
    bench.run(fast(EXACT))
    assert seen == {0: {1, 2}, 1: {0, 2}, 2: {0, 1}}


@pytest.mark.parametrize(
    "settings, told",
    [
        ("trainable=1", "solver=exact solves a linear head of frozen features, not trainable=1 head=linear"),
        ("trainable=head head=mlp", "not trainable=head head=mlp: set trainable=head head=linear"),
        ("backbone=gem:test_resnet trainable=head", "solver=exact fits one linear layer, and"),
    ],
)
def test_what_it_cannot_solve_is_refused(bench, settings, told):
    paths = bench.configure(fast(f"solver=exact {settings}"))
    bench.stage("split", paths)
    with pytest.raises(ValueError, match=told):
        bench.stage("train", paths)
