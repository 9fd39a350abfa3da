"""Each metric against scikit-learn or by hand, on labels, a probability and a column per class."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics as sk

from src.competition.metrics import LOWER_IS_BETTER, METRICS, PROBABILITY_METRICS

ROWS = [f"r{n}" for n in range(200)]
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 4, 200)
GUESS = np.where(RNG.random(200) < 0.6, TRUTH, RNG.integers(0, 4, 200))
PROBABILITIES = (lambda p: p / p.sum(axis=1, keepdims=True))(RNG.random((200, 4)) + 2 * np.eye(4)[GUESS])
CELLS = RNG.integers(0, 2, (200, 3))
CELL_PROBABILITIES = np.clip(CELLS * 0.4 + RNG.random((200, 3)) * 0.6, 0, 1)


def frame(values) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(values), index=ROWS[: len(values)]).add_prefix("c")


LABELS = {
    "ints": (frame(TRUTH), frame(GUESS)),
    "text": (frame(np.array(list("abcd"))[TRUTH]), frame(np.array(list("abcd"))[GUESS])),
    "columns": (frame(np.eye(4)[TRUTH]), frame(np.eye(4)[GUESS] * 0.7 + 0.075)),
}


@pytest.mark.parametrize("form", LABELS)
@pytest.mark.parametrize(
    "name, theirs",
    {
        "accuracy": sk.accuracy_score,
        "balanced_accuracy": sk.balanced_accuracy_score,
        "macro_f1": lambda t, g: sk.f1_score(t, g, average="macro"),
        "micro_f1": lambda t, g: sk.f1_score(t, g, average="micro"),
        "macro_f2": lambda t, g: sk.fbeta_score(t, g, beta=2, average="macro"),
        "mcc": sk.matthews_corrcoef,
    }.items(),
)
def test_label_metrics_read_labels_and_columns_alike(name, theirs, form):
    assert METRICS[name](*LABELS[form]) == pytest.approx(theirs(TRUTH, GUESS))


@pytest.mark.parametrize("form", ["ints", "columns"])
def test_kappa_is_scikit_learns(form):
    assert METRICS["quadratic_weighted_kappa"](*LABELS[form]) == pytest.approx(
        sk.cohen_kappa_score(TRUTH, GUESS, weights="quadratic")
    )


def test_kappa_keeps_the_distance_over_a_grade_that_does_not_occur():
    truth, guess = frame([0, 0, 4, 4, 1]), frame([0, 4, 4, 0, 1])
    expected = sk.cohen_kappa_score(truth, guess, weights="quadratic", labels=[0, 1, 2, 3, 4])
    assert METRICS["quadratic_weighted_kappa"](truth, guess) == pytest.approx(expected)


def test_a_single_probability_is_cut_at_a_half():
    truth, guess = frame(CELLS[:, 0]), frame(CELL_PROBABILITIES[:, 0])
    assert METRICS["macro_f1"](truth, guess) == pytest.approx(
        sk.f1_score(CELLS[:, 0], CELL_PROBABILITIES[:, 0] >= 0.5, average="macro")
    )


def test_several_labels_per_row_are_cut_at_a_half():
    truth, guess = frame(CELLS), frame(CELL_PROBABILITIES)
    assert METRICS["macro_f1"](truth, guess) == pytest.approx(
        sk.f1_score(CELLS, CELL_PROBABILITIES >= 0.5, average="macro")
    )
    assert METRICS["accuracy"](truth, guess) == pytest.approx(
        sk.accuracy_score(CELLS, CELL_PROBABILITIES >= 0.5)
    )


def test_log_loss_and_roc_auc_are_scikit_learns():
    one_hot = frame(np.eye(4)[TRUTH])
    assert METRICS["log_loss"](one_hot, frame(PROBABILITIES)) == pytest.approx(
        sk.log_loss(TRUTH, PROBABILITIES)
    )
    assert METRICS["roc_auc"](one_hot, frame(PROBABILITIES)) == pytest.approx(
        sk.roc_auc_score(TRUTH, PROBABILITIES, multi_class="ovr")
    )
    binary = frame(CELLS[:, 0]), frame(CELL_PROBABILITIES[:, 0])
    assert METRICS["log_loss"](*binary) == pytest.approx(sk.log_loss(CELLS[:, 0], CELL_PROBABILITIES[:, 0]))
    assert METRICS["roc_auc"](*binary) == pytest.approx(
        sk.roc_auc_score(CELLS[:, 0], CELL_PROBABILITIES[:, 0])
    )
    assert METRICS["roc_auc"](frame(CELLS), frame(CELL_PROBABILITIES)) == pytest.approx(
        sk.roc_auc_score(CELLS, CELL_PROBABILITIES)
    )


@pytest.mark.parametrize(
    "name, theirs",
    {
        "accuracy": sk.accuracy_score,
        "macro_f1": lambda t, g: sk.f1_score(t, g, average="macro"),
        "mcc": sk.matthews_corrcoef,
        "balanced_accuracy": sk.balanced_accuracy_score,
    }.items(),
)
def test_a_task_of_one_label_is_read_so_where_pooled_rows_do_not_sum_to_one(name, theirs):
    pooled = frame(np.maximum(PROBABILITIES, PROBABILITIES[::-1]))  # as pool="max" makes them
    one_hot = frame(np.eye(4)[TRUTH])
    assert METRICS[name](one_hot, pooled, is_single=True) == pytest.approx(
        theirs(TRUTH, pooled.to_numpy().argmax(axis=1))
    )


def test_a_task_of_several_labels_is_read_so_where_each_row_happens_to_have_one():
    one_each, guess = np.eye(3)[TRUTH % 3], CELL_PROBABILITIES
    assert METRICS["log_loss"](frame(one_each), frame(guess), is_single=False) == pytest.approx(
        np.mean([sk.log_loss(t, g) for t, g in zip(one_each.T, guess.T)])
    )
    even = guess / guess.sum(axis=1, keepdims=True)
    assert METRICS["accuracy"](frame(one_each), frame(even), is_single=False) == pytest.approx(
        sk.accuracy_score(one_each, even >= 0.5)
    )


def test_a_class_that_no_row_has_does_not_count_in_balanced_accuracy():
    truth, guess = CELLS.copy(), CELL_PROBABILITIES
    truth[:, 0] = 0
    expected = sk.recall_score(truth[:, 1:], guess[:, 1:] >= 0.5, average="macro")
    assert METRICS["balanced_accuracy"](frame(truth), frame(guess)) == pytest.approx(expected)
    assert np.isnan(METRICS["balanced_accuracy"](frame(np.zeros((4, 2))), frame(np.ones((4, 2)))))


def test_a_column_of_positives_alone_has_a_probabilistic_f1_and_a_precision():
    truth, guess = frame(np.ones((4, 1))), frame([[0.5], [1.0], [0.5], [0.0]])
    assert METRICS["probabilistic_f1"](truth, guess) == pytest.approx(2 * 2 / (4 + 2))
    assert METRICS["average_precision"](truth, guess) == sk.average_precision_score(truth, guess) == 1
    assert np.isnan(METRICS["probabilistic_f1"](truth * 0, guess)), "nothing is to be found"


def test_a_column_of_one_class_has_no_area_and_is_left_out():
    truth, guess = CELLS.copy(), CELL_PROBABILITIES
    truth[:, 0] = 0
    assert METRICS["roc_auc"](frame(truth), frame(guess)) == pytest.approx(
        sk.roc_auc_score(truth[:, 1:], guess[:, 1:])
    )
    assert np.isnan(METRICS["roc_auc"](frame(truth[:, 0]), frame(guess[:, 0])))


def test_certain_and_wrong_costs_much_but_not_infinity():
    assert 30 < METRICS["log_loss"](frame([1, 1]), frame([0.0, 0.0])) < 40


def test_samples_f1_reads_joined_words_and_columns():
    words = METRICS["samples_f1"](frame(["a b", "a", "c"]), frame(["a", "a", "b c"]))
    assert words == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    cells = METRICS["samples_f1"](
        frame([[1, 1, 0], [1, 0, 0], [0, 0, 1]]), frame([[0.9, 0.1, 0], [0.8, 0, 0], [0, 0.5, 0.6]])
    )
    assert cells == pytest.approx(words)


def test_errors_are_means_over_columns():
    truth, guess = frame([[0.0, 0.0], [0.0, 0.0]]), frame([[3.0, 1.0], [3.0, 1.0]])
    assert METRICS["rmse"](truth, guess) == 2.0 and METRICS["mae"](truth, guess) == 2.0


def binary(truth, guess):
    return frame(np.array(truth, dtype=float)), frame(np.array(guess, dtype=float))


# Four true of six. By falling probability: 1 0 1 1 0 1.
RANKED = binary([1, 0, 1, 1, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.4, 0.2])
WORKED = {
    # precision at the true ones 1/1, 2/3, 3/4, 4/6
    "average_precision": (*RANKED, (1 + 2 / 3 + 3 / 4 + 4 / 6) / 4),
    # pairs in order: 0.9 before both negatives, 0.7 and 0.6 before one, 0.2 before none: 4 of 8
    "roc_auc": (*RANKED, 4 / 8),
    # above 80 % found the curve runs only at 100 % found, from 0.2 on, where every negative is taken too
    "partial_auc": (*RANKED, 0.0),
    # true ones sum to 2.4, false ones to 1.2: precision 2.4 / 3.6, recall 2.4 / 4, F1 = 2 * 2.4 / (3.6 + 4)
    "probabilistic_f1": (*RANKED, 4.8 / 7.6),
    # cut at a half: 3 hits, 1 false, 1 missed, 1 rightly left: (3 * 1 - 1 * 1) / sqrt(4 * 4 * 2 * 2)
    "mcc": (*RANKED, 2 / 8),
    # ranks 1 2 3 4 against 2 1 3 4: 1 - 6 * (1 + 1) / (4 * 15)
    "spearman": (*binary([10, 20, 30, 40], [2, 1, 3, 4]), 1 - 12 / 60),
    # the true word is first, third, nowhere; the second time a word is said it counts for nothing
    "map3": (frame(["a", "b", "c"]), frame(["a b c", "a a b", "a b d"]), (1 + 1 / 3 + 0) / 3),
    # two true words, found at places 1 and 3: (1/1 + 2/3) / 2; and none beyond the fifth place
    "map5": (frame(["a b", "f"]), frame(["a c b", "a b c d e f"]), (5 / 3 / 2 + 0) / 2),
    # class 0 second, class 3 fourth, class 1 first of four
    "top3": (
        frame(np.eye(4)[[0, 3, 1]]),
        frame([[0.3, 0.4, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.1, 0.6, 0.2, 0.1]]),
        2 / 3,
    ),
    # F2 is 5 hits / (4 true + said): of {a b}, said {a}, 5 / (8 + 1), of {a}, said {a c}, 5 / (4 + 2)
    "samples_f2": (frame(["a b", "a"]), frame(["a", "a c"]), (5 / 9 + 5 / 6) / 2),
    # of all cells 2 hits, 3 true, 3 said: 10 / (12 + 3)
    "micro_f2": (frame([[1, 1, 0], [1, 0, 0]]), frame([[0.9, 0.1, 0.1], [0.9, 0.2, 0.8]]), 10 / 15),
    # by class: 10 / (8 + 2), 0 / (4 + 0), 0 / (0 + 1)
    "macro_f2": (frame([[1, 1, 0], [1, 0, 0]]), frame([[0.9, 0.1, 0.1], [0.9, 0.2, 0.8]]), (1 + 0 + 0) / 3),
    "rmse": (frame([[1.0], [2.0]]), frame([[1.0], [4.0]]), 2**0.5),
    "mae": (frame([[1.0], [2.0]]), frame([[1.0], [4.0]]), 1.0),
    # squared distances 0, 1, 4 of 0 1 2 against 0 2 0, over those of all nine pairs (0 4 0 1 1 1 4 0 4) / 3 =
    # 5
    "quadratic_weighted_kappa": (frame([0, 1, 2]), frame([0, 2, 0]), 1 - 5 / 5),
}


@pytest.mark.parametrize("name", WORKED)
def test_a_value_worked_by_hand(name):
    truth, guess, expected = WORKED[name]
    assert METRICS[name](truth, guess) == pytest.approx(expected, abs=1e-9)


def test_partial_auc_is_the_area_above_eighty_per_cent_found():
    truth, guess = CELLS[:, 0], CELL_PROBABILITIES[:, 0] + RNG.normal(0, 0.2, 200)
    false, true, _ = sk.roc_curve(truth, guess)
    # the mean of 1 - FPR over the TPR, by a fine grid
    found = np.linspace(0.8, 1, 20001)
    assert METRICS["partial_auc"](frame(truth), frame(guess)) == pytest.approx(
        (1 - np.interp(found, true, false)).mean() * 0.2, abs=5e-4
    )
    assert METRICS["partial_auc"](frame(truth), frame(truth.astype(float))) == pytest.approx(0.2)


def test_columns_have_the_mean_of_scikit_learns_and_scipys_values():
    pair = frame(CELLS), frame(CELL_PROBABILITIES)
    assert METRICS["average_precision"](*pair) == pytest.approx(
        sk.average_precision_score(CELLS, CELL_PROBABILITIES)
    )
    assert METRICS["spearman"](*pair) == pytest.approx(
        np.mean([spearmanr(t, g)[0] for t, g in zip(CELLS.T, CELL_PROBABILITIES.T)])
    )
    assert METRICS["top3"](frame(np.eye(4)[TRUTH]), frame(PROBABILITIES)) == pytest.approx(
        sk.top_k_accuracy_score(TRUTH, PROBABILITIES, k=3)
    )


def example(name: str, seed: int, size: int = 40) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Truth, the perfect guess and a random one, in a form that the metric reads."""
    rng = np.random.default_rng(seed)
    truth = np.arange(size) % 4
    if name.startswith("map"):
        words = np.array(["a", "b", "c", "d"], dtype=object)
        return (
            frame(words[truth]),
            frame(words[truth]),
            frame([" ".join(rng.permutation(words)) for _ in range(size)]),
        )
    if name.startswith("top"):
        return frame(np.eye(8)[truth]), frame(np.eye(8)[truth]), frame(rng.dirichlet(np.ones(8), size))
    if name in (
        "quadratic_weighted_kappa",
        "mcc",
        "accuracy",
        "balanced_accuracy",
        "samples_f1",
        "samples_f2",
    ):
        return frame(truth), frame(truth), frame(rng.integers(0, 4, size))
    truth = np.stack([truth % 2, truth // 2], axis=1)
    return frame(truth), frame(truth.astype(float)), frame(rng.random((size, 2)))


@pytest.mark.parametrize("name", METRICS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_the_order_of_rows_tells_nothing_and_the_truth_is_never_beaten(name, seed):
    truth, perfect, guess = example(name, seed)
    score, best = METRICS[name](truth, guess), METRICS[name](truth, perfect)
    assert METRICS[name](
        truth.sample(frac=1, random_state=seed), guess.sample(frac=1, random_state=seed + 1)
    ) == pytest.approx(score, abs=1e-12)
    assert (score > best) if name in LOWER_IS_BETTER else (score < best)
    assert best == pytest.approx(
        {"partial_auc": 0.2}.get(name, 0.0 if name in LOWER_IS_BETTER else 1.0), abs=1e-9
    )


@pytest.mark.parametrize(
    "name, worst",
    {
        "accuracy": 0,
        "macro_f1": 0,
        "mcc": -1,
        "roc_auc": 0,
        "spearman": -1,
        "partial_auc": 0,
        "probabilistic_f1": 0,
        "quadratic_weighted_kappa": -1,
    }.items(),
)
def test_the_opposite_of_the_truth_is_the_worst(name, worst):
    truth = np.arange(40) % 2
    assert METRICS[name](frame(truth.astype(float)), frame(1.0 - truth)) == pytest.approx(worst, abs=1e-9)


def test_a_guess_that_is_always_the_same_has_no_order():
    truth, guess = frame(CELLS), frame(np.full((200, 3), 0.3))
    assert METRICS["spearman"](truth, guess) == 0 and METRICS["roc_auc"](truth, guess) == pytest.approx(0.5)


def test_kappa_asks_for_grades_that_are_numbers():
    with pytest.raises(ValueError, match="grades that are numbers"):
        METRICS["quadratic_weighted_kappa"](*LABELS["text"])


def test_a_metric_of_probabilities_refuses_labels():
    for name in PROBABILITY_METRICS:
        with pytest.raises(ValueError, match="reads numbers, the answer holds labels"):
            METRICS[name](*LABELS["text"])


def test_the_lists_name_metrics():
    assert set(METRICS) >= LOWER_IS_BETTER | PROBABILITY_METRICS
