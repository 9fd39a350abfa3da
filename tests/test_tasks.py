"""Each kind of competition goes from files to a checked submission through the same stages."""
import numpy as np
import pandas as pd
import pytest
from conftest import FAST, fast
from sklearn.metrics import roc_auc_score

from src import competitions, predictions, runs
from src.competitions import Competition
from src.data import tables


def relabel(root, make_label, sample_value, columns=("id", "label")):
    """The same pictures with other labels; make_label(i) for the i-th picture."""
    train, sample = pd.read_csv(root / "train.csv"), pd.read_csv(root / "sample_submission.csv")
    rows = [make_label(i) for i in range(len(train))]
    frame = pd.DataFrame({"id": train["id"], **{c: [row[k] for row in rows] for k, c in enumerate(columns[1:])}})
    frame.to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": sample["id"], **dict.fromkeys(columns[1:], sample_value)}).to_csv(root / "sample_submission.csv", index=False)
    return frame


def test_binary_with_a_probability_wanted(bench, monkeypatch):
    relabel(bench.inputs, lambda i: [int(i % 3 == 2)], 0.5)
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(metric="roc_auc"))
    paths = bench.run()
    answer, score = pd.read_csv("submissions/tiny-run.csv"), runs.read_json(paths.score)
    assert answer["label"].between(0, 1).all() and answer["label"].nunique() > 2
    folds, oof = tables.read_folds(paths.folds), predictions.read(paths.oof)
    assert score["oof"] == pytest.approx(roc_auc_score(folds["label"].astype(int), oof.loc[folds["id"], "1"]))


def test_multilabel_with_words(bench):
    words = ["blue", "green", "red", "blue red", "green red", "blue green"]
    relabel(bench.inputs, lambda i: [words[i % 6]], "blue")
    paths = bench.run(fast("epochs=1"))
    assert list(predictions.read(paths.oof).columns) == ["blue", "green", "red"]
    assert set(pd.read_csv("submissions/tiny-run.csv")["label"].str.split().explode()) <= {"blue", "green", "red"}


def test_multilabel_with_a_probability_per_column(bench):
    relabel(bench.inputs, lambda i: [int(i % 3 == 0), int(i % 2 == 0), 1], 0.5, columns=("id", "a", "b", "c"))
    bench.run(fast("epochs=1"))
    answer = pd.read_csv("submissions/tiny-run.csv")
    assert list(answer) == ["id", "a", "b", "c"] and answer[["a", "b", "c"]].to_numpy().min() >= 0 and answer[["a", "b", "c"]].to_numpy().max() <= 1


def test_regression(bench):
    relabel(bench.inputs, lambda i: [10.5 + (i % 3)], 1.5)
    paths = bench.run(fast("epochs=1"))
    score = runs.read_json(paths.score)
    assert score["metric"] == "rmse" and score["lower_is_better"] and set(score["also"]) == {"rmse", "mae"}
    assert np.isfinite(pd.read_csv("submissions/tiny-run.csv")["label"]).all()


def test_probabilities_by_class_column_and_auxiliary_targets(bench, monkeypatch):
    colours = ["blue", "green", "red"]
    relabel(bench.inputs, lambda i: [int(i % 3 == 0), int(i % 3 == 1), int(i % 3 == 2)], 0.3, columns=("id", *colours))
    paths = bench.run(fast("epochs=1"))
    answer = pd.read_csv("submissions/tiny-run.csv")
    assert list(answer) == ["id", *colours] and np.allclose(answer[colours].sum(axis=1), 1, atol=1e-4)
    assert runs.read_json(paths.competition)["facts"]["task"] == "multiclass"


def test_several_images_per_row_are_pooled_and_kept_together(bench, monkeypatch):
    """As in RSNA mammography: a patient's pictures make one row; the out-of-fold score is by row, through the same door."""
    root = bench.inputs
    train = pd.read_csv(root / "train.csv")
    train["patient"] = [f"p{i // 6 * 3 + i % 3}" for i in range(len(train))]                 # two pictures of one colour each
    train["cancer"] = (train["colour"] == "red").astype(int)
    train.drop(columns="colour").to_csv(root / "train.csv", index=False)
    test = pd.DataFrame({"id": pd.read_csv(root / "sample_submission.csv")["id"]})
    test["patient"] = [f"q{i % 3}" for i in range(len(test))]
    test.to_csv(root / "test.csv", index=False)
    pd.DataFrame({"patient": ["q0", "q1", "q2"], "cancer": 0.5}).to_csv(root / "sample_submission.csv", index=False)
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(id="id", row="patient", group="patient", labels=("cancer",), metric="roc_auc", pool="max"))
    paths = bench.run()
    answer, folds = pd.read_csv("submissions/tiny-run.csv"), tables.read_folds(paths.folds)
    assert answer["patient"].tolist() == ["q0", "q1", "q2"]
    assert (folds.groupby("group")["fold"].nunique() == 1).all()
    test_predictions = predictions.read(paths.test)["1"]
    assert answer.set_index("patient").loc["q2", "cancer"] == pytest.approx(test_predictions[test.set_index("id")["patient"] == "q2"].max(), abs=1e-6)


def test_extra_columns_reach_the_head(bench, monkeypatch):
    root = bench.inputs
    train, sample = pd.read_csv(root / "train.csv"), pd.read_csv(root / "sample_submission.csv")
    codes = {"blue": "1.0", "green": "2.0", "red": "3.0"}
    train.assign(age=train["colour"].map(codes), site=["x", "y"] * (len(train) // 2)).to_csv(root / "train.csv", index=False)
    sample[["id"]].assign(age=[list(codes.values())[i % 3] for i in range(len(sample))], site="x").to_csv(root / "test.csv", index=False)
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(labels=("colour",), features=("age", "site")))
    paths = bench.run(fast("trainable=head epochs=20 lr=0.1"))
    assert runs.read_json(paths.score)["also"]["accuracy"] > 0.9       # the column tells the label


def test_a_metric_pasted_from_the_host_is_used_unchanged(bench, monkeypatch):
    def score(solution: pd.DataFrame, submission: pd.DataFrame, row_id_column_name: str) -> float:
        merged = solution.merge(submission, on=row_id_column_name, suffixes=("_true", "_pred"))
        return float((merged["colour_true"] == merged["colour_pred"]).mean())

    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(metric=score))
    paths = bench.run(FAST)
    result = runs.read_json(paths.score)
    assert result["metric"] == "score" and result["oof"] == pytest.approx(result["also"]["accuracy"])
