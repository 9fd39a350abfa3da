"""A fold that is worse than an answer that looks at no image."""
import numpy as np
import pandas as pd
import pytest

from src.fit.sanity import below_constant, constant_answer, spread_by_chance


def test_the_constant_answer_is_the_mean_of_what_is_learned_from():
    assert constant_answer(np.array([[1, 0], [1, 0], [0, 1], [1, 0]])).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("score, n, is_told", [(0.21, 680, False), (0.13, 680, True), (0.13, 36, False), (0.0, 36, True), (0.25, 680, False), (0.9, 680, False),
                                               (float("nan"), 680, False)])
def test_a_share_must_be_below_by_three_standard_errors(score, n, is_told):
    told = below_constant(score, 0.25, n, 2)
    assert bool(told) == is_told
    assert not told or "after epoch 2" in told and "usual causes" in told


@pytest.mark.parametrize("score, is_told", [(2.2, False), (2.4, False), (4.0, True), (float("inf"), True)])
def test_of_a_loss_lower_is_better(score, is_told):
    assert bool(below_constant(score, 2.3, 680, 2, lower_is_better=True)) == is_told


def test_a_score_that_varies_by_chance_is_given_more_room():
    assert below_constant(0.40, 0.5, 680, 2) and not below_constant(0.40, 0.5, 680, 2, spread=0.08)


def test_the_spread_by_chance_is_that_of_predictions_dealt_out_anew():
    rng = np.random.default_rng(0)
    truth = pd.Series(rng.integers(0, 2, 400), index=[f"i{k}" for k in range(400)])
    guess = pd.DataFrame({"a": rng.random(400)}, index=truth.index)

    def accuracy(frame: pd.DataFrame) -> float:
        return float(((frame["a"] > 0.5) == truth.loc[frame.index]).mean())

    assert 0.01 < spread_by_chance(accuracy, guess, times=40) < 0.04        # the binomial one is 0.025
    assert spread_by_chance(accuracy, guess.assign(a=1.0)) == 0
