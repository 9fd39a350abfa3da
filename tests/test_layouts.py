"""Real competitions in small: what is inferred from their files; perfect predictions get a perfect score by
the submission's way.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pandas as pd
import pytest

from src import competitions
from src.competition import answers, definition, scoring, tables
from src.competition.facts import Competition
from src.competition.inference import complete
from src.competition.tasks import TASKS
from src.run import predictions

MASK = "boostcamp-mask-wearing-status-classification"


def looked_at(
    tmp_path: Path, make, comp: str = "comp"
) -> tuple[Competition, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    make(tmp_path / comp)
    competition = competitions.load(comp, tmp_path)
    root = tmp_path / comp
    table, test, sample = (
        tables.make_train(root, competition),
        tables.make_test(root, competition),
        answers.sample(root, competition),
    )
    answers.check_sample(competition, test, sample)
    assert all((root / path).is_file() for path in [*table["path"], *test["path"]])
    assert table["id"].is_unique and table["id"].is_monotonic_increasing and test["id"].is_unique
    return competition, table, test, sample


def perfect(competition: Competition, table: pd.DataFrame) -> pd.DataFrame:
    """Predictions that know the truth, in another order than the table's."""
    truth = predictions.make(
        table["id"], TASKS[competition.task].encode(table, competition), competition.outputs
    )
    return truth.sample(frac=1, random_state=0)


def is_perfect(competition: Competition, table: pd.DataFrame) -> bool:
    return (
        abs(
            scoring.score(competition, table, perfect(competition, table))
            - (0 if competition.lower_is_better else 1)
        )
        < 1e-9
    )


def submitted(competition: Competition, test: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
    """The submission when each test image is given the last class, or ascending values."""
    values = np.zeros((len(test), len(competition.outputs))) + (
        np.arange(len(test))[:, None] if competition.task == "regression" else 0
    )
    values[:, -1] += 1
    by_row = predictions.pool(
        predictions.make(test["id"], values, competition.outputs),
        test.set_index("id")["row"],
        competition.pool,
    )
    answer = answers.answer_rows(competition, by_row, sample)
    assert list(answer) == list(sample) and answer[competition.header[0]].equals(
        sample[competition.header[0]]
    )
    assert not any(
        answers.invalid_cells(competition, answer[name].astype(str)) for name in competition.header[1:]
    )
    return answer


def said(competition: Competition) -> tuple:
    return competition.id, competition.labels, competition.classes, competition.task, competition.answer


def test_digit_recognizer_takes_train_ids_from_train_and_test_ids_from_test(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.digits)
    assert said(competition) == ("ImageId", ("label",), tuple("0123456789"), "multiclass", "label")
    assert (competition.train_images, competition.test_images, competition.flips) == (
        "train/{id}.*",
        "test/{id}.*",
        "",
    )
    assert (len(table), len(test)) == (30, 5)
    assert (
        table.loc[table["id"] == "12", "path"].item() == "train/12.png"
        and test.loc[test["id"] == "5", "path"].item() == "test/5.png"
    )
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["Label"].tolist() == [9] * 5


def test_cassava_has_ids_with_their_extension(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.cassava)
    assert said(competition) == ("image_id", ("label",), tuple("01234"), "multiclass", "label")
    assert (len(table), len(test)) == (15, 1)
    assert table["path"][0] == "train_images/1000000.jpg" and test["path"].tolist() == [
        "test_images/2216849948.jpg"
    ]
    assert competition.flips == "h" and competition.metric == "macro_f1"
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["label"].tolist() == [4]


def test_plant_pathology_2020_has_one_hot_columns_and_wants_probabilities(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.plant_pathology_2020)
    classes = ("healthy", "multiple_diseases", "rust", "scab")
    assert said(competition) == ("image_id", classes, classes, "multiclass", "probabilities")
    assert competition.targets == ("label",) and table["label"].tolist()[:3] == [
        "healthy",
        "multiple_diseases",
        "rust",
    ]
    assert (len(table), len(test)) == (12, 4)
    assert table["path"][0] == "images/Train_0.jpg" and test["path"][3] == "images/Test_3.jpg"
    assert is_perfect(competition, table)
    assert scoring.score(replace(competition, metric="roc_auc"), table, perfect(competition, table)) == 1.0
    assert submitted(competition, test, sample)["scab"].tolist() == [1.0] * 4


def test_plant_pathology_2021_has_words(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.plant_pathology_2021)
    assert said(competition) == (
        "image",
        ("labels",),
        ("complex", "healthy", "rust", "scab"),
        "multilabel",
        "words",
    )
    assert competition.targets == competition.classes and table.loc[
        3, list(competition.classes)
    ].tolist() == ["0", "0", "1", "1"]
    assert (len(table), len(test)) == (14, 2)
    assert table["path"][0] == "train_images/8000.jpg" and test["path"][0] == "test_images/85f8.jpg"
    assert is_perfect(competition, table)
    assert scoring.score(replace(competition, metric="samples_f1"), table, perfect(competition, table)) == 1.0
    assert submitted(competition, test, sample)["labels"].tolist() == ["scab", "scab"]


def test_aptos_has_grades(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.aptos)
    assert said(competition) == ("id_code", ("diagnosis",), tuple("01234"), "multiclass", "label")
    assert (len(table), len(test)) == (15, 4)
    assert table["path"][1] == "train_images/001a.png" and test["path"][0] == "test_images/000b.png"
    assert is_perfect(competition, table)
    assert (
        scoring.score(
            replace(competition, metric="quadratic_weighted_kappa"), table, perfect(competition, table)
        )
        == 1.0
    )
    assert submitted(competition, test, sample)["diagnosis"].tolist() == [4] * 4


def test_melanoma_asks_whether_patients_are_groups_and_does_not_group_by_itself(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.melanoma)
    assert said(competition) == ("image_name", ("target",), ("0", "1"), "binary", "probability")
    assert (len(table), len(test)) == (24, 4)
    assert table["path"][0] == "jpeg/train/ISIC_000.jpg" and test["path"][0] == "jpeg/test/ISIC_90.jpg"
    assert [
        warning
        for warning in competition.warnings
        if "'patient_id' looks like a group" in warning and "state group='patient_id'" in warning
    ]
    assert (table["group"] == table["row"]).all()
    # the site is the same for all
    assert "not used: patient_id, sex, age_approx;" in competition.warnings[1]
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["target"].tolist() == [1.0] * 4


def test_melanoma_by_definition_groups_and_reads_probabilities_though_its_sample_holds_integers(tmp_path):
    comp = "siim-isic-melanoma-classification"
    competition, table, _, _ = looked_at(tmp_path, lambda root: layouts.melanoma(root, wanted="0"), comp)
    assert said(competition) == ("image_name", ("target",), ("0", "1"), "binary", "probability")
    assert table["group"].tolist()[:5] == ["IP_000"] * 4 + ["IP_001"] and "group=" not in str(
        competition.warnings
    )
    assert is_perfect(competition, table)


def test_rsna_mammography_joins_the_images_of_a_row(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.rsna, "rsna-breast-cancer-detection")
    assert said(competition) == ("image_id", ("cancer",), ("0", "1"), "binary", "probability")
    assert (len(table), len(test), len(sample)) == (24, 8, 4)
    assert table["path"][0] == "train_images/10/500.png" and test["path"][7] == "test_images/91/907.png"
    assert table["row"].tolist()[:3] == ["10_L", "10_L", "10_R"] and test["row"].tolist()[-1] == "91_R"
    assert table["group"].nunique() == 6
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["prediction_id"].tolist() == ["90_L", "90_R", "91_L", "91_R"]


def test_rsna_mammography_without_a_definition_finds_what_the_rows_are_made_of(tmp_path):
    """test.csv shows it: prediction_id is {patient_id}_{laterality}. It was a question until contents were
    looked at.
    """
    competition, table, test, sample = looked_at(tmp_path, layouts.rsna)
    assert competition.row == "{patient_id}_{laterality}" and table["row"].tolist()[:3] == [
        "10_L",
        "10_L",
        "10_R",
    ]
    assert submitted(competition, test, sample)["prediction_id"].tolist() == ["90_L", "90_R", "91_L", "91_R"]


def test_pawpularity_is_a_regression(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.pawpularity)
    assert said(competition) == ("Id", ("Pawpularity",), (), "regression", "value")
    assert (len(table), len(test)) == (20, 3)
    assert table["path"][0] == "train/0000f.jpg" and test["path"][2] == "test/0002e.jpg"
    assert [warning.split(";")[0] for warning in competition.warnings] == ["not used: Subject Focus, Eyes"]
    assert (competition.metric, competition.lower_is_better) == ("rmse", True)
    assert scoring.score(competition, table, perfect(competition, table)) == 0.0
    assert submitted(competition, test, sample)["Pawpularity"].tolist() == [1.0, 2.0, 3.0]


def test_ubc_has_two_folders_of_the_same_names_and_asks_which(tmp_path, monkeypatch):
    layouts.ubc(tmp_path / "comp")
    with pytest.raises(
        ValueError,
        match=r"train_images/\{id\}.*train_thumbnails/\{id\}.*state train_images in src/competitions.py",
    ):
        competitions.load("comp", tmp_path)
    stated = Competition(train_images="train_thumbnails/{id}.png", test_images="test_thumbnails/{id}.png")
    monkeypatch.setitem(competitions.COMPETITIONS, "comp", lambda: stated)
    competition, table, test, sample = looked_at(tmp_path, layouts.ubc)
    assert said(competition) == (
        "image_id",
        ("label",),
        ("CC", "EC", "HGSC", "LGSC", "MC"),
        "multiclass",
        "label",
    )
    assert (len(table), len(test)) == (15, 1)
    assert table["path"][0] == "train_thumbnails/10.png" and test["path"][0] == "test_thumbnails/41.png"
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["label"].tolist() == ["MC"]


def test_dogs_vs_cats_reads_labels_from_names(tmp_path):
    competition, table, test, sample = looked_at(
        tmp_path, layouts.dogs_vs_cats, "dogs-vs-cats-redux-kernels-edition"
    )
    assert said(competition) == ("id", ("label",), ("cat", "dog"), "binary", "probability")
    assert (len(table), len(test)) == (12, 4)
    assert (
        table.loc[0, ["id", "path"]].tolist() == ["cat.0.jpg", "train/cat.0.jpg"]
        and test["path"][0] == "test/1.jpg"
    )
    assert scoring.score(competition, table, perfect(competition, table)) < 1e-6
    assert submitted(competition, test, sample)["label"].tolist() == [1.0] * 4


def test_dog_breed_wants_a_column_per_value(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.dog_breed)
    assert said(competition) == (
        "id",
        ("breed",),
        ("afghan_hound", "beagle", "pug"),
        "multiclass",
        "probabilities",
    )
    assert (competition.train_csv, len(table), len(test)) == ("labels.csv", 9, 3)
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["pug"].tolist() == [1.0] * 3


def test_a_folder_per_class_needs_no_csv(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.folder_per_class)
    assert said(competition) == (
        "id",
        ("label",),
        ("Black-grass", "Charlock", "Maize"),
        "multiclass",
        "label",
    )
    assert competition.train_images == "train/{label}/*" and competition.test_images == "test/{id}.*"
    assert (len(table), len(test)) == (15, 4)
    assert (
        table.loc[0, ["id", "path"]].tolist() == ["Black-grass/0.jpg", "train/Black-grass/0.jpg"]
        and test["path"][1] == "test/t1.jpg"
    )
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["species"].tolist() == ["Maize"] * 4


def test_a_folder_per_class_is_found_one_level_deeper_and_the_sample_is_made(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.folder_per_class_deeper)
    assert said(competition) == ("id", ("label",), ("2", "10"), "binary", "label")
    assert (len(table), len(test)) == (16, 2)
    assert table.loc[0, ["id", "path"]].tolist() == ["10/0.PNG", "comp/train/10/0.PNG"]
    assert sample.to_dict("list") == {"id": ["a.PNG", "b.jpg"], "label": ["2", "2"]}
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample)["label"].tolist() == [10, 10]


def test_mask_by_definition(tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.mask, MASK)
    assert competition.classes == tuple(str(k) for k in range(18))
    assert (competition.id, competition.labels, competition.task, competition.answer) == (
        "id",
        ("label",),
        "multiclass",
        "label",
    )
    assert (len(table), len(test)) == (42, 2)
    labels = table.set_index("path")["label"]
    assert labels["train/images/000001_male_Asian_29/mask1.jpg"] == "0"
    assert labels["train/images/000002_female_Asian_30/mask5.png"] == "4"
    assert labels["train/images/000003_male_Asian_59/incorrect_mask.jpeg"] == "7"
    assert labels["train/images/000004_female_Asian_60/normal.jpg"] == "17"
    assert test["path"].tolist() == ["eval/images/0e72.jpg", "eval/images/cbc5.jpg"]
    assert table["group"].nunique() == 6 and (table["group"] == table["id"].str[:6]).all()
    assert is_perfect(competition, table)
    assert submitted(competition, test, sample).to_dict("list") == {
        "ImageID": ["cbc5.jpg", "0e72.jpg"],
        "ans": [17, 17],
    }


@pytest.mark.parametrize("mess", layouts.MESSY)
def test_messy_files_are_understood(mess, tmp_path):
    competition, table, test, sample = looked_at(tmp_path, layouts.MESSY[mess])
    found = {
        "classes 0 to 10": [str(n) for n in range(11)],
        "a class called train": ["bus", "car", "train"],
        "grades written as floats": ["1", "2", "3"],
        "a class with test in its name, and no sample": ["colon", "intestine", "stomach"],
        "classes called valid and invalid": ["invalid", "valid", "void"],
    }
    assert list(competition.classes) == found.get(mess, ["cat", "dog", "owl"])
    assert (competition.task, competition.answer, len(table), len(test)) == ("multiclass", "label", 12, 3)
    assert (table["group"] == table["id"]).all() and all(
        Path(path).stem[0] in "a0" for path in table["path"]
    ), mess
    assert is_perfect(competition, table)
    assert (
        submitted(competition, test, sample)[competition.header[1]].astype(str).tolist()
        == [competition.classes[-1]] * 3
    )


@pytest.mark.parametrize("mark", [" ", "|", ";", "; "])
def test_words_that_are_columns_of_the_sample_are_several_labels(mark, tmp_path):
    csv = {
        "train.csv": ("id,label", f"{{id}},{{abc}}{mark}c"),
        "sample_submission.csv": ("id,a,b,c", "{id},0,0,0"),
    }
    competition, table, test, sample = looked_at(tmp_path, lambda root: layouts.plain(root, csv))
    assert (competition.task, competition.answer, competition.classes) == (
        "multilabel",
        "probabilities",
        ("a", "b", "c"),
    )
    assert table["c"].tolist() == ["1"] * 12 and is_perfect(competition, table)
    assert submitted(competition, test, sample)["c"].tolist() == [1.0] * 3


DOUBTS = {
    "codes in two columns": (
        {
            "train.csv": ("id,root,vowel", "{id},{n},1"),
            "sample_submission.csv": ("id,root,vowel", "{id},0,0"),
        },
        "whole numbers of root, vowel are learned as amounts; are they codes of classes?",
    ),
    "grades that the sample writes as floats": (
        {"train.csv": ("id,grade", "{id},{label}"), "sample_submission.csv": ("id,grade", "{id},0.0")},
        'whole numbers of grade are learned as amounts; are they classes? Then state task="multiclass", or',
    ),
    "several words where one label fits": (
        {"train.csv": ("id,label", "{id},{label}"), "sample_submission.csv": ("id,label", "{id},1 0.5")},
        "a cell of sample_submission.csv such as '1 0.5' holds several words, one label is submitted",
    ),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_a_doubt_is_said_aloud(case, tmp_path):
    csv, message = DOUBTS[case]
    competition, *_ = looked_at(tmp_path, lambda root: layouts.plain(root, csv, classes="0 1 2"))
    assert [warning for warning in competition.warnings if message in warning], competition.warnings
    certain = complete.infer(
        Competition(name="comp", task=competition.task, answer=competition.answer), tmp_path / "comp"
    )
    assert not [warning for warning in certain.warnings if message in warning]


def test_ages_taken_for_classes_are_doubted(tmp_path):
    layouts.write(tmp_path / "comp/train.csv", "id,age", [f"a{n},{20 + n // 3}" for n in range(60)])
    layouts.write(tmp_path / "comp/sample_submission.csv", "id,age", ["b0,30"])
    layouts.pictures(tmp_path / "comp", [f"train/a{n}.jpg" for n in range(60)] + ["test/b0.jpg"])
    competition = competitions.load("comp", tmp_path)
    assert competition.task == "multiclass"
    assert [
        said
        for said in competition.warnings
        if "20 whole numbers of age, 20 to 39, are taken for classes; are they amounts" in said
    ]


def test_code_columns_are_no_one_hot_columns(tmp_path, monkeypatch):
    monkeypatch.setitem(
        competitions.COMPETITIONS,
        "comp",
        lambda: Competition(task="multiclass", classes=("root", "vowel"), answer="probabilities"),
    )
    with pytest.raises(
        ValueError, match="root, vowel are others: state a make_table that joins them into one label"
    ):
        looked_at(tmp_path, lambda root: layouts.plain(root, DOUBTS["codes in two columns"][0]))


@pytest.mark.parametrize("mess", layouts.UNCLEAR)
def test_files_that_do_not_tell_end_in_one_message_with_what_to_state(mess, tmp_path):
    make, message = layouts.UNCLEAR[mess]
    with pytest.raises(ValueError, match=message) as refused:
        looked_at(tmp_path, make)
    message, *lines = str(refused.value).splitlines()
    assert all(
        line.startswith(("Tried, and it works", "  def competition(): return Competition(")) for line in lines
    ), lines


def test_one_hot_columns_with_spaces_beside_their_images(tmp_path, monkeypatch):
    layouts.write(
        tmp_path / "comp/train/_classes.csv",
        "filename, cat, dog",
        [f"{n}.jpg, {n % 2}, {1 - n % 2}" for n in range(6)],
    )
    layouts.pictures(tmp_path / "comp", [f"train/{n}.jpg" for n in range(6)] + ["test/t.jpg"])
    stated = Competition(
        train_csv="train/_classes.csv", labels=("cat", "dog"), answer="label", header=("filename", "label")
    )
    monkeypatch.setitem(competitions.COMPETITIONS, "comp", lambda: stated)
    competition, table, test, sample = looked_at(tmp_path, lambda root: None)
    assert table["label"].tolist() == ["dog", "cat"] * 3 and is_perfect(competition, table)
    assert submitted(competition, test, sample).to_dict("list") == {"filename": ["t.jpg"], "label": ["dog"]}


ALL = {
    "digits": layouts.digits,
    "cassava": layouts.cassava,
    "plant_pathology_2020": layouts.plant_pathology_2020,
    "plant_pathology_2021": layouts.plant_pathology_2021,
    "aptos": layouts.aptos,
    "melanoma": layouts.melanoma,
    "rsna-breast-cancer-detection": layouts.rsna,
    "pawpularity": layouts.pawpularity,
    "dog_breed": layouts.dog_breed,
    "dogs-vs-cats-redux-kernels-edition": layouts.dogs_vs_cats,
    "folders": layouts.folder_per_class,
    "deeper": layouts.folder_per_class_deeper,
    MASK: layouts.mask,
}


@pytest.mark.parametrize("comp", ALL)
def test_the_printed_definition_pasted_gives_the_same_competition(comp, tmp_path, monkeypatch):
    ALL[comp](tmp_path / comp)
    inferred = competitions.load(comp, tmp_path)
    scope = dict(vars(competitions))
    exec(definition.as_python(inferred), scope)
    function = scope[definition.as_python(inferred).split("(")[0].removeprefix("def ")]
    monkeypatch.setitem(competitions.COMPETITIONS, comp, function)
    assert competitions.load(comp, tmp_path) == inferred
    assert function() == inferred


# -- what is printed


def load(root: Path) -> Competition:
    return competitions.load(root.name, root.parent)


def test_images_in_no_table_are_counted(tmp_path):
    """A train.csv that a download has cut at a line's end: 21 of 48 images were used, and not a word was
    said.
    """
    layouts.write(tmp_path / "comp/train.csv", "id,label", [f"a{n},{'xyz'[n % 3]}" for n in range(21)])
    layouts.write(tmp_path / "comp/sample_submission.csv", "id,label", ["b0,x", "b1,x"])
    layouts.pictures(
        tmp_path / "comp", [f"train/a{n}.jpg" for n in range(48)] + ["test/b0.jpg", "test/b1.jpg"]
    )
    assert load(tmp_path / "comp").warnings == ("not used: 27 of 48 images in train/ are in no table",)


@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_table_without_a_header_loses_no_image_and_a_sample_without_one_is_answered_without_one(
    mark, tmp_path
):
    """Ids without a suffix: the first line was taken for the header, the first image was lost."""
    root = tmp_path / "comp"
    layouts.write(root / "train.csv", f"a0{mark}x", [f"a{n}{mark}{'xyz'[n % 3]}" for n in range(1, 12)])
    layouts.write(root / "sample_submit.tsv", f"b0{mark}x", [f"b{n}{mark}x" for n in range(1, 4)])
    layouts.pictures(root, [f"train/a{n}.jpg" for n in range(12)] + [f"test/b{n}.jpg" for n in range(4)])
    competition, table, test, sample = looked_at(tmp_path, lambda root: None)
    assert (len(table), len(test), len(sample)) == (12, 4, 4) and table["column 2"].tolist()[:2] == ["x", "y"]
    answers.write(competition, submitted(competition, test, sample), root / "out.tsv")
    assert (root / "out.tsv").read_text().splitlines() == [f"b{n}\tz" for n in range(4)]


def test_twenty_thousand_classes_are_no_line_of_half_a_megabyte(tmp_path):
    layouts.plain(tmp_path / "comp", layouts.TRAIN | layouts.SAMPLE)
    many = replace(load(tmp_path / "comp"), classes=tuple(f"class number {n}" for n in range(20_000)))
    assert len(
        definition.as_python(many)
    ) < 1000 and "# classes: 20000, as the files have them" in definition.as_python(many)


def test_an_ordinary_competition_is_told_in_a_few_lines(tmp_path):
    for name, make in ALL.items():
        make(tmp_path / name)
        competition = load(tmp_path / name)
        lines = [
            *definition.as_python(competition).splitlines(),
            *competition.warnings,
            *filter(None, [competition.assumed]),
        ]
        assert len(lines) <= 12 and max(map(len, lines)) < 400, lines


def test_the_metric_and_mirrors_are_said_to_be_assumed_until_they_are_stated(tmp_path):
    layouts.dog_breed(tmp_path / "comp")
    competition = load(tmp_path / "comp")
    assert competition.metric == "log_loss" and competition.lower_is_better, (
        "a probability per class: log loss is the usual one"
    )
    assert competition.assumed == (
        "assumed, since no file tells it: metric='log_loss', flips='h' (a mirror image keeps its label); to state another, such as "
        "metric='roc_auc', write into comp/competition.py beside the data: def competition(): return Competition(metric='roc_auc')"
    )
    (tmp_path / "comp/competition.py").write_text(
        "def competition(): return Competition(metric='accuracy', flips='')"
    )
    assert load(tmp_path / "comp").assumed == ""
    layouts.pawpularity(tmp_path / "paw")
    assert "metric='rmse'" in load(tmp_path / "paw").assumed


def test_pixels_in_a_csv_are_one_question_whose_line_works(tmp_path):
    """Digit Recognizer as Kaggle has it ended in "no class with enough groups" after every advice."""
    root, header = tmp_path / "comp", ",".join(f"pixel{n}" for n in range(16))
    layouts.write(
        root / "train.csv",
        "label," + header,
        [f"{n % 3}," + ",".join(str((n * p) % 256) for p in range(16)) for n in range(12)],
    )
    layouts.write(
        root / "test.csv", header, [",".join(str((n * p) % 256) for p in range(16)) for n in range(5)]
    )
    layouts.write(root / "sample_submission.csv", "ImageId,Label", [f"{n},0" for n in range(1, 6)])
    with pytest.raises(ValueError, match="no image in") as refused:
        load(root)
    line = str(refused.value).splitlines()[-1].partition("    #")[0].strip()
    (root / "competition.py").write_text(line)
    competition, table, test, sample = looked_at(tmp_path, lambda root: None)
    assert (
        table.set_index("id")["label"][["0", "1", "2", "11"]].tolist() == ["0", "1", "2", "2"]
        and test["row"].tolist() == ["1", "2", "3", "4", "5"]
        and len(sample) == 5
    )
    assert competition.read_image({"file": str(root / "train.csv"), "id": "2"}).tolist()[0] == [0, 2, 4, 6]
    submitted(competition, test, sample)


def test_validation_images_in_folders_of_their_own_can_be_learned_from_by_the_line_that_is_said(tmp_path):
    root = tmp_path / "comp"
    parts = {"train": 12, "val": 4, "test": 4}
    names = [
        f"xray/{part}/{'ab'[n % 2]}/{part}{n}.jpg" for part, count in parts.items() for n in range(count)
    ]
    layouts.pictures(root, [name.replace("test/a", "test").replace("test/b", "test") for name in names])
    [line] = [
        one for one in load(root).warnings if one.startswith("not used: 4 images in xray/val/; to learn")
    ]
    fact = line.partition(" too state ")[2].removesuffix(" in src/competitions.py")
    (root / "competition.py").write_text(f"def competition(): return Competition({fact})")
    competition = load(root)
    table, test = tables.make_train(root, competition), tables.make_test(root, competition)
    assert table["label"].value_counts().to_dict() == {"a": 8, "b": 8} and len(test) == 4
    assert {path.split("/")[1] for path in table["path"]} == {"train", "val"} and not competition.warnings


def test_what_cannot_read_an_archive_per_image_is_not_proposed(tmp_path):
    """reshape.npy reads a .npy; it was said to work for a .npz, and the training ended in an AttributeError."""
    root = tmp_path / "comp"
    layouts.write(root / "train.csv", "id,label", [f"a{n},{'xyz'[n % 3]}" for n in range(12)])
    layouts.write(root / "sample_submission.csv", "id,label", ["b0,x", "b1,x"])
    for name in [f"train/a{n}" for n in range(12)] + ["test/b0", "test/b1"]:
        (root / name).parent.mkdir(exist_ok=True)
        np.savez(root / f"{name}.npz", image=np.zeros((8, 8)))
    with pytest.raises(ValueError, match="no image in") as refused:
        load(root)
    assert "reshape.npy" not in str(refused.value)


def pixels_of(num: int, before: str = "") -> list[str]:
    """Lines of a table of 16 pixels; before: cells with the line's number in place of {n}."""
    return [before.format(n=n) + ",".join(str((n * p) % 256) for p in range(16)) for n in range(num)]


def test_of_several_tables_of_pixels_the_one_with_more_images_stands_first(tmp_path):
    """Kannada MNIST: a second labelled set, Dig-MNIST.csv, stands before train.csv and was the only proposal."""
    root, header = tmp_path / "comp", ",".join(f"pixel{n}" for n in range(16))
    layouts.write(root / "Dig-MNIST.csv", "label," + header, pixels_of(6, "{n},"))
    layouts.write(
        root / "train.csv", "label," + header, [f"{n % 3}," + one for n, one in enumerate(pixels_of(12))]
    )
    layouts.write(root / "test.csv", "id," + header, pixels_of(5, "{n},"))
    layouts.write(root / "sample_submission.csv", "id,label", [f"{n},0" for n in range(5)])
    with pytest.raises(ValueError, match="no image in") as refused:
        load(root)
    proposed = [line for line in str(refused.value).splitlines() if "def competition" in line]
    assert "'train.csv'" in proposed[0] and proposed[0].endswith("# 3 classes, 12 images; test 5")
    assert "'Dig-MNIST.csv'" in proposed[1]


def test_training_and_test_images_in_one_table_of_pixels_are_taken_apart(tmp_path):
    """The faces of FER2013, as their host gives them."""
    root = tmp_path / "comp"
    usage = ["Training"] * 12 + ["PublicTest"] * 3 + ["PrivateTest"] * 3
    faces = [
        f"{n % 3},{use},{one.replace(',', ' ')}" for n, (use, one) in enumerate(zip(usage, pixels_of(18)))
    ]
    layouts.write(root / "icml_face_data.csv", "emotion,Usage,pixels", faces)
    with pytest.raises(ValueError, match="no image in") as refused:
        load(root)
    [line] = [line for line in str(refused.value).splitlines() if "def competition" in line]
    (root / "competition.py").write_text(line.partition("    #")[0].strip())
    competition = load(root)
    table, test = tables.make_train(root, competition), tables.make_test(root, competition)
    assert {*table["id"]} == {str(n) for n in range(12)} and {*test["id"]} == {str(n) for n in range(12, 18)}
    read = competition.read_image({"file": str(root / "icml_face_data.csv"), "id": "17"})
    assert read.flatten().tolist() == [(17 * p) % 256 for p in range(16)]


@pytest.mark.parametrize(
    "name, rows, message",
    [
        ("outlines", ["1 3 10 5 200 7 3000 4 {n}"], "as outlines, boxes or keypoints have"),
        ("boxes", ["[{n}, 20, 3{n}, 4]"], "as outlines, boxes or keypoints have"),
    ],
)
def test_segmentation_and_boxes_are_not_taken_for_classes(name, rows, message, tmp_path):
    root = tmp_path / "comp"
    layouts.write(root / "train.csv", "id;rle", [f"a{n};{rows[0].format(n=n)}" for n in range(60)])
    layouts.write(root / "sample_submission.csv", "id;rle", ["b0;1 1", "b1;1 1"])
    layouts.pictures(root, [f"train/a{n}.jpg" for n in range(60)] + ["test/b0.jpg", "test/b1.jpg"])
    with pytest.raises(ValueError, match=message):
        load(root)


def test_two_tables_that_disagree_are_a_question_with_counts(tmp_path):
    layouts.plain(
        tmp_path / "comp",
        layouts.SAMPLE
        | {"train.csv": ("id,label", "{id},{label}"), "train_fixed.csv": ("id,label", "{id},cat")},
    )
    with pytest.raises(
        ValueError, match="which train_csv.*both have 'label' of the same 12 images, and 8 differ"
    ):
        load(tmp_path / "comp")


def test_a_sample_that_cannot_be_read_is_no_reason_to_make_one_up(tmp_path):
    layouts.plain(tmp_path / "comp", layouts.TRAIN)
    (tmp_path / "comp/sample_submission.csv").write_text("id,label\n")
    with pytest.raises(
        ValueError,
        match="sample_submission.csv is empty: a header and no row; it looks like the sample submission",
    ):
        load(tmp_path / "comp")


def test_links_to_nothing_are_told(tmp_path):
    layouts.plain(tmp_path / "comp", layouts.TRAIN | layouts.SAMPLE)
    for file in (tmp_path / "comp/test").iterdir():
        file.unlink()
        file.symlink_to("/nowhere/at/all.jpg")
    with pytest.raises(ValueError, match="3 links lead to nothing, such as test/b0.jpg"):
        load(tmp_path / "comp")


def test_archives_that_are_still_packed_are_named(tmp_path):
    layouts.plain(tmp_path / "comp", layouts.TRAIN | layouts.SAMPLE)
    shutil.rmtree(tmp_path / "comp/test")
    (tmp_path / "comp/test.7z").write_bytes(b"x")
    with pytest.raises(ValueError, match="still packed: test.7z"):
        load(tmp_path / "comp")
