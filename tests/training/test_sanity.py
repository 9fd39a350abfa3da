"""A fold that is worse than an answer that looks at no image."""

import numpy as np
import pandas as pd
import pytest
from simulate_stops import CASES, share_stopped
from sklearn.metrics import roc_auc_score

from src.training.sanity import below_constant, constant_answer, dead, is_below, spread_by_chance


def test_the_constant_answer_is_the_mean_of_what_is_learned_from():
    assert constant_answer(np.array([[1, 0], [1, 0], [0, 1], [1, 0]])).tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    "score, n, is_told",
    [
        (0.21, 680, False),
        (0.13, 680, True),
        (0.13, 36, False),
        (0.0, 36, True),
        (0.25, 680, False),
        (0.9, 680, False),
        (float("nan"), 680, False),
    ],
)
def test_a_share_must_be_below_by_three_standard_errors(score, n, is_told):
    assert is_below(score, 0.25, n) == is_told


@pytest.mark.parametrize("score, is_told", [(2.2, False), (2.4, False), (4.0, True), (float("inf"), True)])
def test_of_a_loss_lower_is_better(score, is_told):
    assert is_below(score, 2.3, 680, lower_is_better=True) == is_told


def test_a_score_that_varies_by_chance_is_given_more_room():
    assert is_below(0.40, 0.5, 680) and not is_below(0.40, 0.5, 680, spread=0.08)


def test_a_bar_of_nought_or_one_has_an_error_too():
    """Of 200 images one said in vain gives a correlation of -0.005 where the constant answer's is 0."""
    assert not is_below(-0.014, 0.0, 200) and is_below(-0.016, 0.0, 200) and not is_below(0.99, 1.0, 200)


def coin_flips(num: int, per_group: int = 1) -> tuple[pd.Series, pd.DataFrame, np.ndarray]:
    """Labels and predictions that know nothing of each other, both alike within a group."""
    rng, groups = np.random.default_rng(0), np.arange(num) // per_group
    truth = pd.Series(rng.integers(0, 2, num)[groups], index=[f"i{k}" for k in range(num)])
    return truth, pd.DataFrame({"a": rng.random(num)[groups]}, index=truth.index), groups


def test_the_spread_by_chance_is_that_of_predictions_dealt_out_anew():
    truth, guess, groups = coin_flips(400)

    def accuracy(frame: pd.DataFrame) -> float:
        return float(((frame["a"] > 0.5) == truth.loc[frame.index]).mean())

    assert 0.02 < spread_by_chance(accuracy, guess, groups) < 0.03  # the binomial one is 0.025
    assert spread_by_chance(accuracy, guess.assign(a=1.0), groups) < 1e-12


def test_images_of_one_group_are_dealt_out_together():
    truth, guess, groups = coin_flips(400, per_group=20)

    def auc(frame: pd.DataFrame) -> float:
        return float(roc_auc_score(truth.loc[frame.index], frame["a"]))

    assert spread_by_chance(auc, guess, groups) > 3 * spread_by_chance(auc, guess, np.arange(400))


def test_the_spread_of_many_images_is_measured_on_some_of_them():
    truth, guess, groups = coin_flips(40_000)
    sizes = []

    def accuracy(frame: pd.DataFrame) -> float:
        sizes.append(len(frame))
        return float(((frame["a"] > 0.5) == truth.loc[frame.index]).mean())

    assert spread_by_chance(accuracy, guess, groups) == pytest.approx(0.5 / 40_000**0.5, rel=0.2) and set(
        sizes
    ) == {10_000}


@pytest.mark.parametrize(
    "score_of",
    [lambda frame: 1.0, lambda frame: float("nan"), lambda frame: 0.1 + 1e-12 * frame["a"].iloc[0]],
)
def test_a_score_that_cannot_vary_tells_nothing(score_of):
    """A fold of one class under accuracy, a metric without a value, 200 deals that all miss the positives."""
    _, guess, groups = coin_flips(400)
    assert not below_constant(score_of, guess, groups, 0.2, 0.9, 2)


def test_what_is_said_names_the_score_the_bar_and_the_usual_causes():
    truth, guess, groups = coin_flips(400)
    told = below_constant(
        lambda frame: float(((frame["a"] > 0.5) == truth.loc[frame.index]).mean()), guess, groups, 0.2, 0.5, 2
    )
    assert told.startswith(
        "0.2000 after epoch 2 is worse than an answer that looks at no image (0.5000, 400 images); the usual causes"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_honest_folds_are_hardly_ever_stopped(name):
    """Before groups were kept together 9 to 48 % of these folds were, see tests/simulate_stops.py."""
    assert share_stopped(CASES[name], runs=10, seed=0) <= 0.02


LOGITS = np.random.default_rng(0).normal(size=(30, 3))


@pytest.mark.parametrize(
    "loss, valid_loss, reference",
    [
        (1.10, 1.15, 1.10),  # noise labels, or a slow start: no better than a constant answer
        (0.02, 9.0, 1.10),  # overfitted, or a batch norm that has seen few batches
        (0.9, 0.8, 0.05 * 20),  # a warm start under heavy mixing
        (3.0, 2.0, 1.10),  # a tiny fold's first steps
        (2e3, float("nan"), 1e3),  # a refit, of a loss with large values
        (-0.2, 0.5, -0.9),  # a loss of one's own that may be negative says nothing
    ],
)
def test_an_honest_loss_is_not_called_dead(loss, valid_loss, reference):
    assert not dead(loss, valid_loss, reference, LOGITS, 2)


@pytest.mark.parametrize(
    "loss, valid_loss, told",
    [
        (
            79.0,
            80.2,
            "diverged: after epoch 2 its loss is 79, the held-out loss 80.2; at its start it was at most 1.8",
        ),
        (3205.0, float("nan"), "diverged: after epoch 2 its loss is 3205; at"),
        (12.0, float("inf"), "the held-out loss inf"),
    ],
)
def test_a_diverged_training_is_named_with_its_losses(loss, valid_loss, told):
    assert told in dead(loss, valid_loss, 1.8, LOGITS, 2)


def test_a_model_that_gives_every_image_the_same_is_dead():
    same = np.tile([[0.3, -1.2, 4.0]], (30, 1))
    assert "same output for all 30 held-out images, with a loss of 1.8" in dead(1.8, 1.8, 1.8, same, 2)
    assert not dead(1.8, 1.8, 1.8, same + np.linspace(0, 1e-3, 30)[:, None], 2) and not dead(
        1.8, float("nan"), 1.8, LOGITS[:0], 2
    )
