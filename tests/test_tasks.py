"""Each kind of competition goes from files to a checked submission through the same stages."""

import layouts
import numpy as np
import pandas as pd
import pytest
from conftest import FAST, fast, open_run
from sklearn.metrics import roc_auc_score

from src import competitions
from src.competition import tables
from src.competition.facts import Competition
from src.competition.metrics import METRICS
from src.extras import verify
from src.run import predictions
from src.run.files import read_json


def relabel(root, make_label, sample_value, columns=("id", "label")):
    """The same pictures with other labels; make_label(i) for the i-th picture."""
    train, sample = pd.read_csv(root / "train.csv"), pd.read_csv(root / "sample_submission.csv")
    rows = [make_label(i) for i in range(len(train))]
    frame = pd.DataFrame(
        {"id": train["id"], **{c: [row[k] for row in rows] for k, c in enumerate(columns[1:])}}
    )
    frame.to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": sample["id"], **dict.fromkeys(columns[1:], sample_value)}).to_csv(
        root / "sample_submission.csv", index=False
    )
    return frame


def test_binary_with_a_probability_wanted(bench, monkeypatch):
    relabel(bench.inputs, lambda i: [int(i % 3 == 2)], 0.5)
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(metric="roc_auc"))
    paths = bench.run()
    answer, score = pd.read_csv("submissions/tiny-run.csv"), read_json(paths.score)
    assert answer["label"].between(0, 1).all() and answer["label"].nunique() > 2
    folds, oof = tables.read_folds(paths.folds), predictions.read(paths.oof)
    assert score["oof"] == pytest.approx(roc_auc_score(folds["label"].astype(int), oof.loc[folds["id"], "1"]))


def test_multilabel_with_words(bench):
    words = ["blue", "green", "red", "blue red", "green red", "blue green"]
    relabel(bench.inputs, lambda i: [words[i % 6]], "blue")
    paths = bench.run(fast("epochs=1"))
    assert list(predictions.read(paths.oof).columns) == ["blue", "green", "red"]
    assert set(pd.read_csv("submissions/tiny-run.csv")["label"].str.split().explode()) <= {
        "blue",
        "green",
        "red",
    }


def test_multilabel_with_a_probability_per_column(bench):
    relabel(bench.inputs, lambda i: [int(i % 3 == 0), int(i % 2 == 0), 1], 0.5, columns=("id", "a", "b", "c"))
    bench.run(fast("epochs=1"))
    answer = pd.read_csv("submissions/tiny-run.csv")
    assert (
        list(answer) == ["id", "a", "b", "c"]
        and answer[["a", "b", "c"]].to_numpy().min() >= 0
        and answer[["a", "b", "c"]].to_numpy().max() <= 1
    )


def test_regression(bench):
    relabel(bench.inputs, lambda i: [10.5 + (i % 3)], 1.5)
    paths = bench.run(fast("epochs=1"))
    score = read_json(paths.score)
    assert score["metric"] == "rmse" and score["lower_is_better"] and set(score["also"]) == {"rmse", "mae"}
    assert np.isfinite(pd.read_csv("submissions/tiny-run.csv")["label"]).all()


def state(monkeypatch, **facts) -> None:
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(**facts))


def test_targets_far_from_zero_are_learned_as_fast_as_others_and_kept_in_the_hosts_units(bench):
    relabel(bench.inputs, lambda i: [[995, 1000, 1005][i % 3] + i / 1000], 1000.5)
    paths = bench.run(fast("trainable=head epochs=20 lr=0.1 tta=hflip"))
    score, oof, test = (
        read_json(paths.score),
        predictions.read(paths.oof)["label"],
        pd.read_csv("submissions/tiny-run.csv")["label"],
    )
    assert score["oof"] < 3 and 990 < oof.min() < 998 and 1002 < oof.max() < 1010, (
        "answering the mean would cost 4.1"
    )
    assert np.abs(test - np.array([995, 1000, 1005] * 3)).mean() < 2.5, (
        "what is fitted on a fold's training part comes with its model"
    )


def test_bounded_numbers_never_leave_their_range(bench, monkeypatch):
    relabel(bench.inputs, lambda i: [[1, 60, 100][i % 3]], 50)
    state(monkeypatch, task="bounded", bounds=(0, 100))
    paths = bench.run(fast("trainable=head epochs=20 lr=0.1"))
    score, oof, answer = (
        read_json(paths.score),
        predictions.read(paths.oof)["label"],
        pd.read_csv("submissions/tiny-run.csv")["label"],
    )
    assert (
        score["metric"] == "rmse"
        and score["oof"] < 30
        and oof.between(0, 100).all()
        and answer.between(0, 100).all()
        and answer.max() > 50
    )
    assert read_json(paths.competition)["facts"]["bounds"] == [0, 100]


def test_ordered_grades_with_fitted_cut_points(bench, monkeypatch, capsys):
    relabel(bench.inputs, lambda i: [[0, 1, 2][i % 3]], 0)
    state(monkeypatch, task="ordinal")
    paths = bench.run(fast("trainable=head epochs=20 lr=0.1 decode=cut_points"))
    score, oof, answer = (
        read_json(paths.score),
        predictions.read(paths.oof),
        pd.read_csv("submissions/tiny-run.csv")["label"],
    )
    assert (
        score["metric"] == "quadratic_weighted_kappa"
        and score["oof"] > 0.5
        and list(oof) == ["label"]
        and oof["label"].nunique() > 3
    )
    assert set(answer) <= {0, 1, 2} and (answer == [0, 1, 2] * 3).mean() > 0.5
    note = read_json(bench.folder / "submissions/tiny-run.json")
    assert (
        set(note["decode"]) == {"name", "parameters", "plain", "in_sample", "nested", "error_95", "is_sure"}
        and note["decode"]["plain"] == score["oof"]
    )
    assert "cut_points" in capsys.readouterr().out


def test_thresholds_change_the_words_that_are_said_and_the_ledger_gets_the_nested_estimate(
    bench, monkeypatch, capsys
):
    words = ["blue", "green", "red", "blue red", "green red", "blue green"]
    # predicted with so little training: none above a half
    relabel(bench.inputs, lambda i: [words[i % 3]], "blue red")
    state(monkeypatch, task="multilabel", metric="samples_f2")
    plain = bench.run(fast("epochs=1 fold_seed=1"), "plain")
    paths = bench.run(fast("epochs=1 fold_seed=1 decode=thresholds"))
    printed = capsys.readouterr().out
    assert "taken over" in printed and "each fold by the others" in printed
    note, score = read_json(bench.folder / "submissions/tiny-run.json"), read_json(plain.score)
    assert note["decode"]["plain"] == score["oof"] < note["decode"]["nested"] <= note["decode"]["in_sample"]
    assert note["oof"] == note["decode"]["nested"] and set(note["decode"]["parameters"]) == {
        "blue",
        "green",
        "red",
    }
    assert note["mean"] == pytest.approx(np.mean(list(note["folds"].values())))
    said, before = (pd.read_csv(f"submissions/{name}.csv")["label"] for name in ("tiny-run", "plain"))
    assert set(said.str.split().explode()) <= {"blue", "green", "red"} and not said.equals(before)
    assert pd.read_csv("submissions/ledger.csv")["oof"].round(4).tolist() == [
        round(score["oof"], 4),
        round(note["oof"], 4),
    ]
    verify.verify(open_run(paths))


def test_a_decoder_waits_for_all_folds_and_is_refused_before_training_where_it_does_not_fit(bench, capsys):
    paths = bench.configure(fast("epochs=1 decode=offsets"))
    (
        bench.stage("split", paths),
        bench.stage("train", paths, only=[0]),
        bench.stage("predict", paths, only=0),
        bench.stage("submit", paths, fold=0),
    )
    assert "decode=offsets takes all folds" in capsys.readouterr().out
    wrong = bench.configure(fast("decode=thresholds"), "wrong")
    bench.stage("split", wrong)
    with pytest.raises(ValueError, match="decode=thresholds is for several labels per row"):
        bench.stage("train", wrong)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_auxiliary_targets_learn_and_are_not_scored(bench, monkeypatch, task):
    scale = 1 if task == "multilabel" else 7.5
    relabel(
        bench.inputs,
        lambda i: [int(i % 3 == 0) * scale, int(i % 3 == 1 or i % 5 == 0) * scale],
        0.5,
        columns=("id", "main", "beside"),
    )
    sample = pd.read_csv(bench.inputs / "sample_submission.csv").drop(columns="beside")
    sample.to_csv(bench.inputs / "sample_submission.csv", index=False)
    state(
        monkeypatch,
        task=task,
        labels=("main", "beside"),
        metric={"multilabel": "roc_auc", "regression": "rmse"}[task],
    )
    paths = bench.run(fast("epochs=4"))
    oof, truth = (
        predictions.read(paths.oof),
        tables.read_folds(paths.folds).set_index("id")[["main", "beside"]].astype(float),
    )
    assert list(oof) == ["main", "beside"] and list(pd.read_csv("submissions/tiny-run.csv")) == ["id", "main"]
    assert np.corrcoef(oof["beside"], truth["beside"].loc[oof.index])[0, 1] > 0.5, "it learns"
    alone = METRICS[read_json(paths.score)["metric"]](truth[["main"]].loc[oof.index], oof[["main"]])
    assert read_json(paths.score)["oof"] == pytest.approx(alone), "it is not scored"


def test_ranked_words_best_first(bench, monkeypatch):
    sample = pd.read_csv(bench.inputs / "sample_submission.csv").assign(colour="red blue green")
    sample.to_csv(bench.inputs / "sample_submission.csv", index=False)
    paths = bench.run(fast("epochs=1"))
    score, oof = read_json(paths.score), predictions.read(paths.oof)
    place = oof.rank(axis=1, ascending=False).to_numpy()[
        oof.columns.get_indexer(tables.read_folds(paths.folds).set_index("id")["colour"].loc[oof.index])[
            :, None
        ]
        == np.arange(3)
    ]
    assert score["metric"] == "map3" and score["oof"] == pytest.approx((1 / place).mean())
    said, test = pd.read_csv("submissions/tiny-run.csv")["colour"].str.split(), predictions.read(paths.test)
    assert [words[0] for words in said] == test.idxmax(axis=1).tolist() and all(
        sorted(words) == ["blue", "green", "red"] for words in said
    )


def test_probabilities_by_class_column_and_auxiliary_targets(bench, monkeypatch):
    colours = ["blue", "green", "red"]
    relabel(
        bench.inputs,
        lambda i: [int(i % 3 == 0), int(i % 3 == 1), int(i % 3 == 2)],
        0.3,
        columns=("id", *colours),
    )
    paths = bench.run(fast("epochs=1"))
    answer = pd.read_csv("submissions/tiny-run.csv")
    assert list(answer) == ["id", *colours] and np.allclose(answer[colours].sum(axis=1), 1, atol=1e-4)
    assert read_json(paths.competition)["facts"]["task"] == "multiclass"


def test_several_images_per_row_are_pooled_and_kept_together(bench, monkeypatch):
    """As in RSNA mammography: a patient's pictures make one row; the out-of-fold score is by row, through the
    same door.
    """
    root = bench.inputs
    train = pd.read_csv(root / "train.csv")
    # two pictures of one colour each
    train["patient"] = [f"p{i // 6 * 3 + i % 3}" for i in range(len(train))]
    train["cancer"] = (train["colour"] == "red").astype(int)
    train.drop(columns="colour").to_csv(root / "train.csv", index=False)
    test = pd.DataFrame({"id": pd.read_csv(root / "sample_submission.csv")["id"]})
    test["patient"] = [f"q{i % 3}" for i in range(len(test))]
    test.to_csv(root / "test.csv", index=False)
    pd.DataFrame({"patient": ["q0", "q1", "q2"], "cancer": 0.5}).to_csv(
        root / "sample_submission.csv", index=False
    )
    monkeypatch.setitem(
        competitions.COMPETITIONS,
        "tiny",
        lambda: Competition(
            id="id", row="patient", group="patient", labels=("cancer",), metric="roc_auc", pool="max"
        ),
    )
    paths = bench.run()
    answer, folds = pd.read_csv("submissions/tiny-run.csv"), tables.read_folds(paths.folds)
    assert answer["patient"].tolist() == ["q0", "q1", "q2"]
    assert (folds.groupby("group")["fold"].nunique() == 1).all()
    test_predictions = predictions.read(paths.test)["1"]
    assert answer.set_index("patient").loc["q2", "cancer"] == pytest.approx(
        test_predictions[test.set_index("id")["patient"] == "q2"].max(), abs=1e-6
    )


def test_extra_columns_reach_the_head(bench, monkeypatch):
    root = bench.inputs
    train, sample = pd.read_csv(root / "train.csv"), pd.read_csv(root / "sample_submission.csv")
    codes = {"blue": "1.0", "green": "2.0", "red": "3.0"}
    train.assign(age=train["colour"].map(codes), site=["x", "y"] * (len(train) // 2)).to_csv(
        root / "train.csv", index=False
    )
    sample[["id"]].assign(age=[list(codes.values())[i % 3] for i in range(len(sample))], site="x").to_csv(
        root / "test.csv", index=False
    )
    monkeypatch.setitem(
        competitions.COMPETITIONS, "tiny", lambda: Competition(labels=("colour",), features=("age", "site"))
    )
    paths = bench.run(fast("trainable=head epochs=20 lr=0.1"))
    assert read_json(paths.score)["also"]["accuracy"] > 0.9  # the column tells the label


def test_a_metric_pasted_from_the_host_is_used_unchanged(bench, monkeypatch):
    def score(solution: pd.DataFrame, submission: pd.DataFrame, row_id_column_name: str) -> float:
        merged = solution.merge(submission, on=row_id_column_name, suffixes=("_true", "_pred"))
        return float((merged["colour_true"] == merged["colour_pred"]).mean())

    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(metric=score))
    paths = bench.run(FAST)
    result = read_json(paths.score)
    assert result["metric"] == "score" and result["oof"] == pytest.approx(result["also"]["accuracy"])


def test_class_weights_for_numbers_are_refused_before_an_image_is_decoded(bench):
    layouts.pawpularity(bench.folder / "inputs" / "paws")
    paths = bench.configure(fast("folds=2 class_weights=sqrt"), comp="paws")
    bench.stage("split", paths)
    with pytest.raises(ValueError, match="class_weights=sqrt weighs classes.*set class_weights=none"):
        bench.stage("train", paths)
    assert not list((bench.folder / "runs/.cache").rglob("*.npy"))
