"""Each metric against scikit-learn or by hand, on labels, a probability and a column per class."""
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from src.fit.metrics import LOWER_IS_BETTER, METRICS, PROBABILITY_METRICS

ROWS = [f"r{n}" for n in range(200)]
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 4, 200)
GUESS = np.where(RNG.random(200) < 0.6, TRUTH, RNG.integers(0, 4, 200))
PROBABILITIES = (lambda p: p / p.sum(axis=1, keepdims=True))(RNG.random((200, 4)) + 2 * np.eye(4)[GUESS])
CELLS = RNG.integers(0, 2, (200, 3))
CELL_PROBABILITIES = np.clip(CELLS * 0.4 + RNG.random((200, 3)) * 0.6, 0, 1)


def frame(values) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(values), index=ROWS[: len(values)]).add_prefix("c")


LABELS = {"ints": (frame(TRUTH), frame(GUESS)), "text": (frame(np.array(list("abcd"))[TRUTH]), frame(np.array(list("abcd"))[GUESS])),
          "columns": (frame(np.eye(4)[TRUTH]), frame(np.eye(4)[GUESS] * 0.7 + 0.075))}


@pytest.mark.parametrize("form", LABELS)
@pytest.mark.parametrize("name, theirs", {
    "accuracy": sk.accuracy_score, "balanced_accuracy": sk.balanced_accuracy_score,
    "macro_f1": lambda t, g: sk.f1_score(t, g, average="macro"), "micro_f1": lambda t, g: sk.f1_score(t, g, average="micro"),
}.items())
def test_label_metrics_read_labels_and_columns_alike(name, theirs, form):
    assert METRICS[name](*LABELS[form]) == pytest.approx(theirs(TRUTH, GUESS))


@pytest.mark.parametrize("form", ["ints", "columns"])
def test_kappa_is_scikit_learns(form):
    assert METRICS["quadratic_weighted_kappa"](*LABELS[form]) == pytest.approx(sk.cohen_kappa_score(TRUTH, GUESS, weights="quadratic"))


def test_kappa_keeps_the_distance_over_a_grade_that_does_not_occur():
    truth, guess = frame([0, 0, 4, 4, 1]), frame([0, 4, 4, 0, 1])
    expected = sk.cohen_kappa_score(truth, guess, weights="quadratic", labels=[0, 1, 2, 3, 4])
    assert METRICS["quadratic_weighted_kappa"](truth, guess) == pytest.approx(expected)


def test_a_single_probability_is_cut_at_a_half():
    truth, guess = frame(CELLS[:, 0]), frame(CELL_PROBABILITIES[:, 0])
    assert METRICS["macro_f1"](truth, guess) == pytest.approx(sk.f1_score(CELLS[:, 0], CELL_PROBABILITIES[:, 0] >= 0.5, average="macro"))


def test_several_labels_per_row_are_cut_at_a_half():
    truth, guess = frame(CELLS), frame(CELL_PROBABILITIES)
    assert METRICS["macro_f1"](truth, guess) == pytest.approx(sk.f1_score(CELLS, CELL_PROBABILITIES >= 0.5, average="macro"))
    assert METRICS["accuracy"](truth, guess) == pytest.approx(sk.accuracy_score(CELLS, CELL_PROBABILITIES >= 0.5))


def test_log_loss_and_roc_auc_are_scikit_learns():
    one_hot = frame(np.eye(4)[TRUTH])
    assert METRICS["log_loss"](one_hot, frame(PROBABILITIES)) == pytest.approx(sk.log_loss(TRUTH, PROBABILITIES))
    assert METRICS["roc_auc"](one_hot, frame(PROBABILITIES)) == pytest.approx(sk.roc_auc_score(TRUTH, PROBABILITIES, multi_class="ovr"))
    binary = frame(CELLS[:, 0]), frame(CELL_PROBABILITIES[:, 0])
    assert METRICS["log_loss"](*binary) == pytest.approx(sk.log_loss(CELLS[:, 0], CELL_PROBABILITIES[:, 0]))
    assert METRICS["roc_auc"](*binary) == pytest.approx(sk.roc_auc_score(CELLS[:, 0], CELL_PROBABILITIES[:, 0]))
    assert METRICS["roc_auc"](frame(CELLS), frame(CELL_PROBABILITIES)) == pytest.approx(sk.roc_auc_score(CELLS, CELL_PROBABILITIES))


def test_a_column_of_one_class_has_no_area_and_is_left_out():
    truth, guess = CELLS.copy(), CELL_PROBABILITIES
    truth[:, 0] = 0
    assert METRICS["roc_auc"](frame(truth), frame(guess)) == pytest.approx(sk.roc_auc_score(truth[:, 1:], guess[:, 1:]))
    assert np.isnan(METRICS["roc_auc"](frame(truth[:, 0]), frame(guess[:, 0])))


def test_certain_and_wrong_costs_much_but_not_infinity():
    assert 30 < METRICS["log_loss"](frame([1, 1]), frame([0.0, 0.0])) < 40


def test_samples_f1_reads_joined_words_and_columns():
    words = METRICS["samples_f1"](frame(["a b", "a", "c"]), frame(["a", "a", "b c"]))
    assert words == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    cells = METRICS["samples_f1"](frame([[1, 1, 0], [1, 0, 0], [0, 0, 1]]), frame([[0.9, 0.1, 0], [0.8, 0, 0], [0, 0.5, 0.6]]))
    assert cells == pytest.approx(words)


def test_errors_are_means_over_columns():
    truth, guess = frame([[0.0, 0.0], [0.0, 0.0]]), frame([[3.0, 1.0], [3.0, 1.0]])
    assert METRICS["rmse"](truth, guess) == 2.0 and METRICS["mae"](truth, guess) == 2.0


def test_rows_are_joined_by_name():
    for truth, guess in LABELS.values():
        shuffled = guess.sample(frac=1, random_state=1)
        assert METRICS["accuracy"](truth, shuffled) == METRICS["accuracy"](truth, guess)


def test_a_metric_of_probabilities_refuses_labels():
    with pytest.raises(ValueError, match="reads numbers, the answer holds labels"):
        METRICS["log_loss"](*LABELS["text"])


def test_the_lists_name_metrics():
    assert set(METRICS) >= LOWER_IS_BETTER | PROBABILITY_METRICS
