"""One stated fact replaces one inferred fact; mistakes in the files are told at once, by name; what goes in
by id comes out by id.
"""

import json
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src import competitions
from src.competition import answers, definition, scoring, tables
from src.competition.facts import Competition
from src.competition.inference import check, complete
from src.competition.tasks import TASKS
from src.run import predictions


@pytest.fixture
def comp(tmp_path) -> Path:
    """A plain competition of three classes; tests break one thing of it."""
    root = tmp_path / "comp"
    layouts.write(root / "train.csv", "id,label", [f"{n},{'abc'[n % 3]}" for n in range(9)])
    layouts.write(root / "sample_submission.csv", "id,label", [f"t{n},a" for n in range(4)])
    layouts.pictures(root / "train", [f"{n}.jpg" for n in range(9)])
    layouts.pictures(root / "test", [f"t{n}.jpg" for n in range(4)])
    return root


def load(root: Path, **stated) -> Competition:
    return complete.infer(Competition(name=root.name, **stated), root)


def refusal(root: Path, **stated) -> str:
    """What a competitor reads, whichever step refuses."""
    with pytest.raises(ValueError) as refused:
        competition = load(root, **stated)
        tables.make_train(root, competition)
        answers.check_sample(
            competition, tables.make_test(root, competition), answers.sample(root, competition)
        )
    return str(refused.value)


def truth_of(competition: Competition, table: pd.DataFrame) -> pd.DataFrame:
    return predictions.make(
        table["id"], TASKS[competition.task].encode(table, competition), competition.outputs
    )


# -- one fact, one place


def test_a_stated_fact_is_kept_and_the_others_are_inferred(comp):
    stated = load(comp, metric="accuracy", flips="hv")
    assert (stated.metric, stated.flips, stated.id, stated.classes) == (
        "accuracy",
        "hv",
        "id",
        ("a", "b", "c"),
    )


def test_the_metric_log_loss_alone_asks_for_a_probability(comp):
    layouts.write(comp / "train.csv", "id,label", [f"{n},{n % 2}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},0" for n in range(4)])
    assert load(comp).answer == "label"
    assert (
        load(comp, metric="log_loss").answer == "probability"
        and load(comp, metric="log_loss").lower_is_better
    )


def test_a_table_made_by_a_function_stands_in_for_the_csv(comp):
    def make_table(root):
        return pd.DataFrame(
            {"id": range(9), "kind": list("xyzxyzxyz"), "who": [1, 1, 2, 2, 3, 3, 4, 4, None]}
        )

    table = tables.make_train(comp, load(comp, make_table=make_table, labels=("kind",), group="who"))
    assert table["kind"].tolist() == list("xyzxyzxyz") and table["path"][0] == "train/0.jpg"
    # nobody is not a person
    assert table["group"].tolist() == ["1.0", "1.0", "2.0", "2.0", "3.0", "3.0", "4.0", "4.0", "8"]


def test_a_test_set_made_by_a_function_stands_in_for_the_csv(comp):
    def make_test(root):
        return pd.DataFrame({"id": ["t1", "t0"], "path": ["test/t1.jpg", "test/t0.jpg"]})

    layouts.write(comp / "sample_submission.csv", "id,label", ["t0,a", "t1,a"])
    assert tables.make_test(comp, load(comp, make_test=make_test))["path"].tolist() == [
        "test/t0.jpg",
        "test/t1.jpg",
    ]


def test_extra_columns_are_features_only_when_stated(comp):
    layouts.write(comp / "train.csv", "id,age,label", [f"{n},0{n},{'abc'[n % 3]}" for n in range(9)])
    layouts.write(comp / "test.csv", "id,age", [f"t{n},0{n}" for n in range(4)])
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},a" for n in range(4)])
    assert "age" not in tables.make_train(comp, load(comp)) and load(comp).warnings[0].startswith(
        "not used: age; features=(...)"
    )
    competition = load(comp, features=("age",))
    assert (
        tables.make_train(comp, competition)["age"][3] == "03"
        and tables.make_test(comp, competition)["age"][3] == "03"
    )
    assert competition.warnings == () and definition.model_facts(competition)["features"] == ("age",)


@pytest.mark.parametrize("header", ["id,prob_a,prob_c,prob_b", "id,a_score,c_score,b_score"])
def test_columns_named_after_classes_with_something_before_or_after_are_filled(comp, header):
    layouts.write(comp / "train.csv", "id,label", [f"{n},{'abc'[n % 3]}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", header, [f"t{n},0.3,0.3,0.4" for n in range(4)])
    competition = load(comp)
    by_row = pd.DataFrame({"a": 0.5, "b": 0.3, "c": 0.2}, index=[f"t{n}" for n in range(4)])
    answer = answers.answer_rows(competition, by_row, answers.sample(comp, competition))
    assert list(answer) == header.split(",") and answer.iloc[0, 1:].tolist() == [0.5, 0.2, 0.3]


def test_images_without_a_file_or_a_label_are_left_out_when_asked(comp, capsys):
    layouts.write(comp / "train.csv", "id,label", [f"{n},{'ab '[n % 3].strip()}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},a" for n in range(4)])
    (comp / "train/1.jpg").unlink()
    with pytest.raises(
        ValueError,
        match="(?s)1 of 9 train images are missing.*: 1\n3 of 9 .* have no label.*: 2, 5, 8\n.*bad_images=drop",
    ):
        tables.make_train(comp, load(comp))
    assert tables.make_train(comp, load(comp), tolerant=True)["id"].tolist() == ["0", "3", "4", "6", "7"]
    assert capsys.readouterr().err.count("warning: left out, ") == 2


def test_whole_numbers_that_hardly_return_are_no_classes(comp):
    layouts.write(comp / "train.csv", "id,age", [f"{n},{20 + n * n}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,age", [f"t{n},0" for n in range(4)])
    assert load(comp).task == "regression"


def test_auxiliary_numbers_learn_but_are_not_submitted(comp):
    layouts.write(comp / "train.csv", "id,weight,height", [f"{n},{n}.5,{n * 2}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,weight", [f"t{n},1.5" for n in range(4)])
    competition = load(comp, labels=("weight", "height"))
    assert (competition.task, competition.outputs, competition.scored) == (
        "regression",
        ("weight", "height"),
        ("weight",),
    )
    table, sample = tables.make_train(comp, competition), answers.sample(comp, competition)
    wrong_height = truth_of(competition, table).assign(height=0.0)
    assert scoring.score(competition, table, wrong_height) == 0.0 and scoring.usual_scores(
        competition, table, wrong_height
    ) == {
        "rmse": 0.0,
        "mae": 0.0,
    }
    answer = answers.answer_rows(
        competition, predictions.make(sample["id"], np.ones((4, 2)), competition.outputs), sample
    )
    assert list(answer) == ["id", "weight"]


def test_several_yes_and_no_columns_are_multilabel(comp):
    layouts.write(comp / "train.csv", "id,any,blood", [f"{n},{int(n > 3)},{int(n > 5)}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,any,blood", [f"t{n},0.5,0.5" for n in range(4)])
    competition = load(comp)
    table = tables.make_train(comp, competition)
    assert (competition.task, competition.targets, competition.answer) == (
        "multilabel",
        ("any", "blood"),
        "probabilities",
    )
    assert (
        table["blood"].tolist() == list("000000111")
        and scoring.score(competition, table, truth_of(competition, table)) < 1e-9
    )


def test_images_of_a_row_are_pooled_before_the_metric(comp):
    layouts.write(comp / "train.csv", "id,case,label", [f"{n},c{n // 3},{n // 3 % 2}" for n in range(9)])
    layouts.write(comp / "test.csv", "id,case", [f"t{n},d{n // 2}" for n in range(4)])
    layouts.write(comp / "sample_submission.csv", "case,label", ["d1,0.5", "d0,0.5"])
    competition = load(comp, pool="max", metric="macro_f1")
    assert (competition.id, competition.row, competition.answer) == ("id", "case", "probability")
    table, test, sample = (
        tables.make_train(comp, competition),
        tables.make_test(comp, competition),
        answers.sample(comp, competition),
    )
    one_image_knows = predictions.make(
        table["id"], [[1.0, 0.0]] * 3 + [[0.1, 0.9]] + [[1.0, 0.0]] * 5, competition.outputs
    )
    assert scoring.score(competition, table, one_image_knows) == 1.0
    images = predictions.make(test["id"], [[1, 0], [0.7, 0.3], [1, 0], [0.5, 0.5]], competition.outputs)
    by_row = predictions.pool(images, test.set_index("id")["row"], "max")
    answer = answers.answer_rows(competition, by_row, sample)
    assert answer["case"].tolist() == ["d1", "d0"] and answer["label"].tolist() == pytest.approx([0.5, 0.3])


def test_one_scorer_of_many_frames_knows_when_the_rows_change(comp):
    competition = load(comp)
    table = tables.make_train(comp, competition)
    truth, score = truth_of(competition, table), scoring.score_of(competition, table)
    wrong = predictions.make(truth.index, np.roll(truth.to_numpy(), 1, axis=1), competition.outputs)
    frames = [truth, wrong, truth.sample(frac=1, random_state=0), truth.iloc[:4], wrong.iloc[2:], truth]
    assert [score(frame) for frame in frames] == [
        scoring.score(competition, table, frame) for frame in frames
    ]
    assert score(truth) == 1.0 > score(wrong)


def test_images_of_a_row_with_differing_labels_need_a_word(comp):
    layouts.write(comp / "train.csv", "id,case,label", [f"{n},c{n // 3},{n % 2}" for n in range(9)])
    competition = load(comp, row="case", labels=("label",), id="id")
    table = tables.make_train(comp, competition)
    with pytest.raises(
        ValueError, match="images of one row differ in label: c0, c1, c2: state make_solution"
    ):
        scoring.score(competition, table, truth_of(competition, table))


def test_the_hosts_metric_is_pasted_unchanged(comp):
    def kaggle(
        solution: pd.DataFrame, submission: pd.DataFrame, row_id_column_name: str, weight: float = 1.0
    ) -> float:
        del solution[row_id_column_name]
        del submission[row_id_column_name]
        return weight * float((solution["label"] == submission["label"]).mean())

    def plain(solution, submission):
        assert solution.index.name == "id" and solution.index.equals(submission.index)
        return (solution["label"] == submission["label"]).mean()

    for metric in (kaggle, plain):
        competition = load(comp, metric=metric)
        table = tables.make_train(comp, competition)
        assert (
            scoring.score(competition, table, truth_of(competition, table).sample(frac=1, random_state=3))
            == 1.0
        )
        assert (
            competition.metric_name == metric.__name__
            and f"metric={metric.__name__}," in definition.as_python(competition)
        )


def test_an_answer_and_a_solution_of_the_hosts_own(comp):
    def answer(by_row, sample):
        return sample.assign(label=[f"class {name}" for name in by_row.idxmax(axis=1)])

    def solution(table, competition):
        return pd.DataFrame({"row": table["row"], "label": "class " + table["label"], "usage": "Public"})

    def metric(solution, submission):
        assert list(solution) == ["label", "usage"]
        return (solution["label"] == submission["label"]).mean()

    competition = load(comp, answer=answer, make_solution=solution, metric=metric)
    table = tables.make_train(comp, competition)
    assert scoring.score(competition, table, truth_of(competition, table)) == 1.0
    # the truth takes the same way
    assert scoring.score(load(comp, answer=answer), table, truth_of(competition, table)) == 1.0


def test_a_part_of_the_table_is_scored_alone(comp):
    competition = load(comp)
    table = tables.make_train(comp, competition)
    oof = truth_of(competition, table)
    assert (
        scoring.score(competition, table, oof.iloc[:3]) == 1.0
        and scoring.usual_scores(competition, table, oof.iloc[:3])["accuracy"] == 1.0
    )


def test_a_submission_read_back_is_scored_as_the_truth_is(comp):
    layouts.write(comp / "train.csv", "id,label", [f"{n},{n % 3}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},0" for n in range(4)])
    competition = load(comp)
    private = pd.DataFrame({"id": ["t3", "t2", "t1", "t0"], "label": ["2", "1", "0", "0"]})
    by_row = predictions.make(["t0", "t1", "t2", "t3"], np.eye(3)[[0, 0, 1, 2]], competition.outputs)
    answer = answers.answer_rows(competition, by_row, answers.sample(comp, competition))
    assert (
        answer["label"].tolist() == [0, 0, 1, 2] and scoring.metric_value(competition, private, answer) == 1.0
    )


def test_what_cannot_be_an_answer_is_named(comp):
    competition = load(comp)
    assert answers.invalid_cells(competition, pd.Series(["a", "b", "d", ""])) == ["", "d"]
    words = load(comp, task="multilabel", answer="words")
    assert answers.invalid_cells(words, pd.Series(["a b", "a e"])) == ["e"] and answers.invalid_cells(
        words, pd.Series([""])
    ) == [""]
    assert answers.invalid_cells(load(comp, answer="probability"), pd.Series(["0.5", "1.5", "x"])) == [
        "1.5",
        "x",
    ]


def test_facts_are_plain_and_hold_no_path_and_no_metric(comp):
    facts = json.dumps(definition.model_facts(load(comp)))
    assert "train" not in facts and "f1" not in facts and '"outputs": ["a", "b", "c"]' in facts


# -- ids

WIDE = [
    "007",
    "7",
    "1e5",
    "NA",
    "None",
    "nan",
    "true",
    "1_000",
    "ünï",
    "画像",
    "a b",
    "a,b",
    "x.y",
    "-1",
    "a;b",
    "a{id}b",
]


def test_wide_ids_go_in_and_come_out_as_they_are(tmp_path):
    root = tmp_path / "comp"
    for part in ("train", "test"):
        layouts.pictures(root / part, [f"{name}.png" for name in WIDE])
    pd.DataFrame({"id": WIDE, "label": ["NA", "007"] * 8}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": WIDE[::-1], "label": "NA"}).to_csv(root / "sample_submission.csv", index=False)
    competition = load(root)
    table, test, sample = (
        tables.make_train(root, competition),
        tables.make_test(root, competition),
        answers.sample(root, competition),
    )
    assert sorted(WIDE) == table["id"].tolist() == test["id"].tolist()
    assert dict(zip(table["id"], table["path"]))["1e5"] == "train/1e5.png" and competition.classes == (
        "007",
        "NA",
    )
    by_row = predictions.make(WIDE, np.eye(2)[[0, 1] * 8], competition.outputs)
    answers.answer_rows(competition, by_row, sample).to_csv(tmp_path / "out.csv", index=False)
    written = tables.read_csv(tmp_path / "out.csv")
    assert written["id"].tolist() == WIDE[::-1] and written["label"].tolist() == ["NA", "007"] * 8
    assert not answers.invalid_cells(competition, written["label"])


ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)
THREE = Competition(
    task="multiclass",
    classes=("a", "b", "c"),
    labels=("label",),
    header=("id", "label"),
    answer="label",
    metric="accuracy",
)


@given(ids=st.lists(ANY, min_size=1, max_size=8, unique=True), seed=st.integers(0, 99))
def test_answers_are_joined_by_id_whatever_the_id_and_the_order(ids, seed):
    table = pd.DataFrame({"id": ids, "row": ids, "label": [THREE.classes[len(name) % 3] for name in ids]})
    shuffled = truth_of(THREE, table).sample(frac=1, random_state=seed)
    assert (
        answers.answer_rows(THREE, shuffled, answers.blank(THREE, ids))["label"].tolist()
        == table["label"].tolist()
    )
    assert scoring.score(THREE, table, shuffled) == 1.0


def test_a_row_without_a_prediction_is_named():
    with pytest.raises(ValueError, match="1 rows of the sample have no prediction: y"):
        answers.answer_rows(
            THREE, predictions.make(["x"], [[1, 0, 0]], THREE.classes), answers.blank(THREE, ["x", "y"])
        )


# -- mistakes: one clear message each


def test_no_folder(tmp_path):
    with pytest.raises(
        ValueError, match="no folder .*comp: unpack the competition's files there .* or link them"
    ):
        competitions.load("comp", tmp_path)


def test_no_train_csv_and_no_class_folders(comp):
    (comp / "train.csv").unlink()
    assert "no train.csv and no folder per class" in refusal(
        comp
    ) and "state train_csv in src/competitions.py" in refusal(comp)


def test_missing_labels_are_counted_and_named(comp):
    layouts.write(comp / "train.csv", "id,label", [f"{n},{'abc'[n % 3] if n < 5 else ''}" for n in range(9)])
    assert (
        refusal(comp)
        == '4 of 9 training images have no label, label is empty: 5, 6, 7, 8\nSET="bad_images=drop" leaves them out'
    )


def test_a_repeated_id_is_named(comp):
    layouts.write(comp / "train.csv", "id,label", ["0,a", "1,b", "0,b"])
    assert refusal(comp).startswith("1 train ids stand twice: 0; their lines differ: remove one of each, or")


def test_missing_images_are_counted_and_the_first_ten_are_named(comp):
    layouts.write(comp / "train.csv", "id,label", [f"{n},{'abc'[n % 3]}" for n in range(30)])
    assert refusal(comp) == (
        "21 of 30 train images are missing, looked for as 'train/{id}.*': "
        '9, 10, 11, 12, 13, 14, 15, 16, 17, 18 and 11 more\nSET="bad_images=drop" leaves them out'
    )


def test_all_mistakes_of_a_table_come_at_once(comp):
    layouts.write(comp / "train.csv", "id,label", ["0,a", "1,", "0,b", "2,c", "99,c"])
    message = refusal(comp)
    assert (
        "ids stand twice: 0" in message
        and "no label" in message
        and "missing" in message
        and len(message.splitlines()) == 4
    )


def test_an_empty_test_folder(comp):
    for image in (comp / "test").iterdir():
        image.unlink()
    assert (
        "none of 4 test ids (t0, t1, t2 ...) names an image; of 9 images (train/0.jpg ...) 0 lie in a folder named test. Is it empty"
        in refusal(comp)
    )


def test_neither_sample_nor_test_images(comp):
    (comp / "sample_submission.csv").unlink()
    (comp / "test").rename(comp / "other")
    assert "no sample_submission.csv, no test.csv and no image in a folder named test" in refusal(comp)


def test_a_sample_with_rows_that_have_no_image(comp):
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},a" for n in range(6)])
    assert refusal(comp) == (
        "2 of 6 test images are missing, looked for as 'test/{id}.*': t4, t5: state missing_test=True in src/competitions.py, "
        "and they get an average answer"
    )
    assert tables.make_test(comp, load(comp, missing_test=True))["path"].tolist()[3:] == [
        "test/t3.jpg",
        "missing/t4",
        "missing/t5",
    ]


def test_a_sample_with_rows_that_the_test_csv_lacks(comp):
    layouts.write(comp / "test.csv", "id", ["t0", "t1"])
    assert refusal(comp) == "2 of 4 rows of sample_submission.csv have no test image (test.csv): t2, t3"


def test_a_sample_with_a_repeated_row(comp):
    layouts.write(comp / "test.csv", "id", [f"t{n}" for n in range(4)])
    layouts.write(comp / "sample_submission.csv", "id,label", ["t0,a", "t0,a"])
    assert refusal(comp) == "1 rows stand twice in sample_submission.csv: t0"


def test_a_sample_whose_header_has_changed_since(comp):
    competition = load(comp)
    layouts.write(comp / "sample_submission.csv", "id,kind", ["t0,a"])
    with pytest.raises(ValueError, match="has the columns id, kind, not id, label"):
        answers.check_sample(
            competition, tables.make_test(comp, competition), answers.sample(comp, competition)
        )


def test_a_sample_without_a_column_to_fill(comp):
    layouts.write(comp / "sample_submission.csv", "id", ["t0"])
    assert (
        "sample_submission.csv: label of a, b, c can't fill the columns (none); state sample_csv"
        in refusal(comp)
    )


def test_a_sample_with_columns_that_nothing_fills(comp):
    layouts.write(comp / "train.csv", "id,a,b", [f"{n},{n % 2},{n % 3 % 2}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,a,b,d", ["t0,0.5,0.5,0.5"])
    assert (
        "probabilities of a, b can't fill the columns d; state sample_csv, labels, scored, answer or header"
        in refusal(comp)
    )


def test_columns_that_are_no_class_by_name_are_never_filled_with_zeros(comp):
    layouts.write(comp / "sample_submission.csv", "id,p_0,p_1,p_2", ["t0,0.3,0.3,0.3"])
    assert "probabilities of a, b, c can't fill the columns p_0, p_1, p_2" in refusal(comp)
    layouts.write(comp / "sample_submission.csv", "id,c,d,b,a", [f"t{n},0.3,0.3,0.2,0.2" for n in range(4)])
    competition = load(comp)
    assert competition.warnings == ("no training image is of the class d: 0 is submitted",)
    answer = answers.answer_rows(
        competition,
        truth_of(competition, tables.make_train(comp, competition)).set_axis(["t0", *map(str, range(8))]),
        answers.sample(comp, competition).iloc[:1],
    )
    assert list(answer) == ["id", "c", "d", "b", "a"] and answer.iloc[0, 1:].tolist() == [0, 0, 0, 1]


def test_numbers_are_submitted_by_name_whatever_the_order_of_the_labels(comp):
    layouts.write(comp / "train.csv", "id,x,y", [f"{n},{n}.5,{n}0" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,y,x", ["t0,0.5,1"])
    competition = load(comp, labels=("x", "y"))
    answer = answers.answer_rows(
        competition, predictions.make(["t0"], [[1, 2]], ("x", "y")), answers.sample(comp, competition)
    )
    assert answer.to_dict("list") == {"id": ["t0"], "y": [2], "x": [1]}


def test_a_sample_that_holds_no_label_may_want_other_names_or_codes(comp):
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},{n % 2}" for n in range(4)])
    assert load(comp).warnings == (
        "sample_submission.csv holds 0, 1, none of the labels a, b, c: if the host wants other names or codes, "
        "state make_table or answer in src/competitions.py",
    )


@pytest.mark.parametrize(
    "column, labels, positive, warned",
    [
        ("target", "01", "1", False),
        ("abnormal", ["abnormal", "normal"], "abnormal", False),
        ("p", ["cat", "dog"], "dog", True),
    ],
)
def test_one_probability_is_that_of_the_class_its_column_is_called_after(
    column, labels, positive, warned, comp
):
    layouts.write(comp / "train.csv", "id,label", [f"{n},{labels[n % 2]}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", f"id,{column}", [f"t{n},0.5" for n in range(4)])
    competition = load(comp)
    assert (competition.answer, competition.positive, bool(competition.warnings)) == (
        "probability",
        positive,
        warned,
    )
    if warned:
        assert (
            f"taken for the probability of {positive!r}" in competition.warnings[0]
            and load(comp, classes=("dog", "cat")).positive == "cat"
        )


def test_a_metric_that_reads_probabilities_does_not_go_with_labels(comp):
    assert "metric='log_loss' reads probabilities, the submission holds a label; state metric" in refusal(
        comp, metric="log_loss"
    )


def test_classes_that_differ_in_case_alone_are_named(comp):
    layouts.write(
        comp / "train.csv", "id,label", [f"{n},{['a', 'A', 'b ', 'b', 'c'][n % 5]}" for n in range(9)]
    )
    assert load(comp).warnings == ("classes that differ in case alone: A, a",)


def test_an_expert_states_the_metric_and_the_group_alone(comp):
    def kaggle(solution, submission, row_id_column_name):
        return (solution["label"] == submission["label"]).mean()

    layouts.write(
        comp / "train.csv", "id,width,scan,label", [f"{n},{n}7,s{n // 3},{'abc'[n % 3]}" for n in range(9)]
    )
    layouts.write(comp / "test.csv", "id,width", [f"t{n},7" for n in range(4)])
    competition = load(comp, metric=kaggle, group="scan")
    table = tables.make_train(comp, competition)
    assert (competition.labels, competition.metric_name) == (("label",), "kaggle") and table[
        "group"
    ].tolist() == ["s0"] * 3 + ["s1"] * 3 + ["s2"] * 3
    assert scoring.score(competition, table, truth_of(competition, table)) == 1.0
    assert [warning.split(";")[0] for warning in competition.warnings] == ["not used: width"]


def test_stated_names_with_a_label_in_them_stand_in_for_a_csv_that_is_something_else(comp):
    layouts.pictures(comp, [f"train/{label}/{n}.jpg" for label in "xy" for n in range(3)])
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},x" for n in range(4)])
    competition = load(comp, train_images="train/{label}/*")
    assert (competition.train_csv, competition.classes, len(tables.make_train(comp, competition))) == (
        "",
        ("x", "y"),
        6,
    )


def test_several_columns_that_may_be_the_label(comp):
    layouts.write(
        comp / "train.csv", "id,shape,colour", [f"{n},{'abc'[n % 3]},{'xyz'[n % 3]}" for n in range(9)]
    )
    assert load(comp).labels == ("shape",), "the sample holds an a"
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},?" for n in range(4)])
    message, _, *lines = refusal(comp).splitlines()
    assert (
        message
        == 'which column is the label? Candidates: shape, colour: state labels=("column",) in src/competitions.py'
    )
    assert lines == [
        f"  def competition(): return Competition(labels=('{name}',))    # 3 classes, 9 images; test 4"
        for name in ("shape", "colour")
    ]
    assert load(comp, labels=("colour",)).classes == ("x", "y", "z")


def test_several_samples(comp):
    layouts.write(comp / "sample_submission_stage2.csv", "id,label", ["t0,a"])
    assert load(comp).sample_csv == "sample_submission.csv", "it names all test images"
    layouts.write(comp / "sample_submission_stage2.csv", "id,label", [f"t{n},b" for n in range(4)])
    assert (
        "which sample_csv? There are sample_submission.csv, sample_submission_stage2.csv: state sample_csv"
        in refusal(comp)
    )
    assert (
        answers.sample(comp, load(comp, sample_csv="sample_submission_stage2.csv"))["label"].tolist()
        == ["b"] * 4
    )


def test_an_id_that_train_does_not_have(comp):
    layouts.write(comp / "train.csv", "name,number,label", [f"x{n},y{n},{'abc'[n % 3]}" for n in range(9)])
    assert refusal(comp) == (
        "which column names an image? Not the sample's 'id'; there are name, number, label: "
        "state id, or train_images with a {label} where no csv tells it, in src/competitions.py"
    )


def test_a_label_with_a_single_value(comp):
    layouts.write(comp / "train.csv", "id,label", [f"{n},a" for n in range(9)])
    assert "label column 'label' holds a and no second value" in refusal(comp)


def test_one_number_wanted_of_many_classes(comp):
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},0.5" for n in range(4)])
    assert "the sample wants one number, but 'label' has 3 classes: state task or answer" in refusal(comp)


@pytest.mark.parametrize(
    "stated, message",
    [
        ({"metric": "f1"}, "metric='f1' is unknown; choose from accuracy"),
        ({"task": "classification"}, "task='classification' is unknown"),
        ({"group": "patient"}, "the train table has no column patient, only id, label"),
        ({"features": ("age",)}, "no column age"),
        ({"labels": ("kind",)}, "no column kind"),
        ({"classes": ("a", "b")}, "3 labels of column label are none of the classes a, b: 2, 5, 8"),
        ({"train_images": "train/{idd}.jpg"}, "no column idd"),
        ({"train_images": "images/{id}.jpg"}, "9 of 9 train images are missing"),
        ({"id": "name"}, "the train table has no column name, only id, label"),
        ({"sample_csv": "sample.csv"}, "sample.csv does not exist"),
        ({"task": "regression"}, "9 labels of column label are no numbers"),
        ({"pool": "median"}, "choose from mean, max"),
    ],
)
def test_a_wrongly_stated_fact_says_what_there_is(stated, message, comp):
    assert message in refusal(comp, **stated)


def test_an_image_without_a_label_is_true_to_no_class(comp):
    """Stated labels and a sample of one column: such images were the first class in the truth, and saying it
    for all scored 1.0.
    """
    layouts.write(comp / "train.csv", "id,a,b", [f"{n},0,0" if n < 6 else f"{n},1,0" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,tags", [f"t{n},a b" for n in range(4)])
    competition = load(comp, labels=("a", "b"), answer="words")
    table = tables.make_train(comp, competition)
    always_a = predictions.make(table["id"], [[0.9, 0.1]] * 9, competition.outputs)
    assert (
        answers.answer_rows(
            competition, scoring.truth(competition, table), answers.blank(competition, table["row"])
        )["tags"].tolist()
        == [""] * 6 + ["a"] * 3
    )
    assert (
        scoring.score(competition, table, always_a) < 0.5
        and scoring.score(replace(competition, metric="samples_f1"), table, always_a) < 0.5
    )


# -- a definition beside the data


def test_a_competition_py_beside_the_data_states_facts_and_comes_first(comp, monkeypatch):
    monkeypatch.setitem(competitions.COMPETITIONS, "comp", lambda: Competition(metric="accuracy"))
    assert competitions.load("comp", comp.parent).metric == "accuracy"
    (comp / "competition.py").write_text(
        "def competition(): return Competition(metric='mcc', make_table=lambda root: tables.read_table(root / 'train.csv'))\n"
    )
    competition = competitions.load("comp", comp.parent)
    assert (competition.metric, competition.labels, len(tables.make_train(comp, competition))) == (
        "mcc",
        ("label",),
        9,
    )


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "def competition(): return Competition(metrik='mcc')",
            "TypeError: .*unexpected keyword argument 'metrik'",
        ),
        ("x = (", "SyntaxError"),
        ("def comp(): pass", "no attribute 'competition'; it needs a function `def competition"),
        ("def competition(): return 3", "gives int, not a Competition"),
    ],
)
def test_a_mistake_in_a_competition_py_names_the_file(comp, text, message):
    (comp / "competition.py").write_text(text)
    with pytest.raises(ValueError, match=f"competition.py: .*{message}"):
        competitions.load("comp", comp.parent)


@pytest.mark.parametrize("name", [*competitions.EXAMPLES, "mask", "demo"])
def test_a_folder_called_like_an_example_of_the_kit_may_hold_anything(name, tmp_path):
    """The examples apply only where their files are: an ordinary layout under such a name failed, and no
    message named the example.
    """
    layouts.plain(tmp_path / name, layouts.TRAIN | layouts.SAMPLE)
    competition = competitions.load(name, tmp_path)
    assert (
        competition.classes == ("cat", "dog", "owl")
        and len(tables.make_train(tmp_path / name, competition)) == 12
    )


# -- what files don't tell: ordered grades, a known range, words best first


def numbers(comp: Path, values: list, cell: str = "0") -> None:
    layouts.write(comp / "train.csv", "id,label", [f"{n},{values[n % len(values)]}" for n in range(9)])
    layouts.write(comp / "sample_submission.csv", "id,label", [f"t{n},{cell}" for n in range(4)])


def test_ordered_grades_are_one_number_and_answered_by_the_nearest(comp):
    numbers(comp, ["10", "2", "0"])
    competition = load(comp, task="ordinal")
    assert (competition.classes, competition.outputs, competition.metric) == (
        ("0", "2", "10"),
        ("label",),
        "quadratic_weighted_kappa",
    )
    table = tables.make_train(comp, competition)
    assert (
        truth_of(competition, table)["label"].tolist()[:3] == [2, 1, 0]
        and scoring.score(competition, table, truth_of(competition, table)) == 1
    )
    by_row = pd.DataFrame({"label": [-3.0, 0.4, 1.2, 7.0]}, index=[f"t{n}" for n in range(4)])
    assert answers.answer_rows(competition, by_row, answers.sample(comp, competition))["label"].tolist() == [
        0,
        0,
        2,
        10,
    ]
    assert definition.model_facts(competition)["classes"] == (
        "0",
        "2",
        "10",
    ) and "classes" not in definition.model_facts(load(comp))


def test_grades_in_words_have_the_stated_order_and_no_kappa(comp):
    numbers(comp, ["mild", "none", "severe"], "mild")
    competition = load(comp, task="ordinal", classes=("none", "mild", "severe"))
    assert (
        truth_of(competition, tables.make_train(comp, competition))["label"].tolist()[:3] == [1, 0, 2]
        and competition.metric == "macro_f1"
    )


def test_a_range_is_that_of_the_labels_or_the_stated_one(comp):
    numbers(comp, ["3.5", "7", "20"], "1.5")
    assert load(comp, task="bounded").bounds == (3.5, 20) and load(
        comp, task="bounded", bounds=(0, 100)
    ).bounds == (0, 100)
    assert "bounds" in definition.model_facts(
        load(comp, task="bounded")
    ) and "bounds" not in definition.model_facts(load(comp)), "or finished runs would lose their recipe"
    assert "3 labels of column label are not within bounds=(0, 10): 2, 5, 8" in refusal(
        comp, task="bounded", bounds=(0, 10)
    )
    assert "bounds=(5, 5): state the smallest and the largest value" in refusal(
        comp, task="bounded", bounds=(5, 5)
    )


def test_several_words_where_an_image_has_one_label_are_ranked(comp):
    numbers(comp, list("abc"), "b a c")
    competition = load(comp)
    assert (competition.task, competition.answer, competition.metric) == ("multiclass", "ranked", "map3")
    by_row = pd.DataFrame({"a": 0.2, "b": 0.7, "c": 0.1}, index=[f"t{n}" for n in range(4)])
    assert answers.answer_rows(competition, by_row, answers.sample(comp, competition))[
        "label"
    ].unique().tolist() == ["b a c"]
    table = tables.make_train(comp, competition)
    assert scoring.score(competition, table, truth_of(competition, table)) == 1
    assert answers.invalid_cells(competition, pd.Series(["b a", "b d"])) == ["d"]


def test_metrics_and_answers_that_do_not_go_together_are_refused(comp):
    assert load(comp, metric="map5").answer == "ranked"
    for stated in ({"metric": "map5", "answer": "label"}, {"metric": "accuracy", "answer": "ranked"}):
        assert "don't go together" in refusal(comp, **stated)
    numbers(comp, ["3.5", "7", "20"], "1.5")
    assert load(comp, metric="spearman").answer == "value"
    assert "reads probabilities" in refusal(comp, metric="roc_auc")


@pytest.mark.parametrize("metric", ["quadratic_weighted_kappa", "accuracy", "macro_f1"])
def test_a_metric_of_labels_is_refused_for_numbers_that_are_not_rounded(metric):
    raw = Competition(
        labels=("label",), task="regression", header=("id", "label"), answer="value", metric=metric, flips="h"
    )
    with pytest.raises(
        ValueError,
        match=f"metric='{metric}' reads labels, the submission holds numbers that are not rounded: state task='ordinal'",
    ):
        check.check(raw)
    check.check(replace(raw, task="ordinal", answer="label", classes=("0", "1", "2")))
    check.check(replace(raw, metric="rmse"))
