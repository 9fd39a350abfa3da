"""What is said of a score: which number is which, and what flatters."""

import pytest

from src.evaluate import score_lines

SCORE = {
    "metric": "roc_auc",
    "oof": 0.834,
    "mean": 0.856,
    "spread": 0.01,
    "folds": {"0": 0.85, "1": 0.862},
    "also": {"accuracy": 0.8},
    "epochs": {"mean": [0.8, 0.86, 0.856], "joint_best": 2, "joint_gain": 0.004, "per_fold_optimism": 0.006},
}


def test_the_gain_of_the_best_epoch_comes_with_the_caution_that_noise_has_one_too():
    assert (
        "2 would be best for all folds together (+0.0040 over the last; the best of several, so on noise too"
        in score_lines(SCORE)
    )
    last = SCORE | {"epochs": SCORE["epochs"] | {"joint_best": 3, "joint_gain": 0.0}}
    assert "epochs: the last of 3 is the best for all folds together; picking" in score_lines(last)


@pytest.mark.parametrize(
    "metric, is_said",
    [("roc_auc", True), ("average_precision", True), ("macro_f1", False), ("log_loss", False)],
)
def test_a_score_that_ranks_all_folds_in_one_list_says_so(metric, is_said):
    text = score_lines(SCORE | {"metric": metric})
    assert (f"the OOF {metric} ranks the images of all folds in one list" in text) is is_said
