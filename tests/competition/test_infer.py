"""One fact from files: images by name, folders per class, words and groups; a tie is asked back."""

from pathlib import Path

import layouts
import pandas as pd
import pytest

from src.competition import tables
from src.competition.inference import cells, folders, infer, places, problem
from src.competition.inference.evidence import Evidence, part_of
from src.competition.inference.table_roles import Roles


def images(root: Path, *names: str) -> list[str]:
    layouts.pictures(root, list(names))
    return tables.only_images(tables.list_files(root))


def ids(*values: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": values, **columns}, dtype=str)


def pattern_of(root: Path, frame: pd.DataFrame, part: str) -> str:
    evidence = Evidence(root)
    table = infer.as_table(frame, evidence)
    return places.only_pattern(
        places.find_images(table, evidence, part, "id", frozenset(), []), table, evidence, part, ""
    )


def class_folders(root: Path, *names: str) -> str:
    images(root, *names)
    return folders.class_folders(Evidence(root), Roles(), [])


def test_classes_sort_as_numbers_only_when_all_are():
    def classes(*labels: str) -> tuple[str, ...]:
        return problem.find_classes(pd.DataFrame({"label": labels}), ("label",), "multiclass")

    assert classes("10", "9", "-1", "1e2", "9", "") == ("-1", "9", "10", "1e2")
    assert classes("10", "9", "nan") == ("10", "9", "nan")


def test_ids_find_their_images_with_any_suffix_in_any_case(tmp_path):
    files = images(tmp_path, "photos/a.JPG", "photos/b.png", "photos/c.c.jpeg", "photos/7.webp")
    frame = ids("a", "b", "c.c", "7")
    assert pattern_of(tmp_path, frame, "train") == "photos/{id}.*"
    found = tables.match("photos/{id}.*", frame, files)
    assert found == [["photos/a.JPG"], ["photos/b.png"], ["photos/c.c.jpeg"], ["photos/7.webp"]]


def test_the_only_file_of_a_stem_is_found_in_any_folder(tmp_path):
    files = images(tmp_path, "train/x/a.jpg", "train/y/b.jpg", "test/a.jpg")
    assert pattern_of(tmp_path, ids("a", "b"), "train") == "train/**/{id}.*"
    assert tables.match("train/**/{id}.*", ids("a", "b"), files) == [["train/x/a.jpg"], ["train/y/b.jpg"]]


def test_a_stem_in_two_folders_is_not_guessed(tmp_path):
    files = images(tmp_path, "train/x/a.jpg", "train/y/b.jpg", "train/y/a.jpg", "train/z/c.jpg")
    assert pattern_of(tmp_path, ids("a", "b", "c"), "train") == "train/**/{id}.*"
    assert len(tables.match("train/**/{id}.*", ids("a"), files)[0]) == 2, "make_train refuses this"


def test_a_complete_folder_beside_an_incomplete_one_is_no_tie(tmp_path):
    images(tmp_path, "train_large/a.jpg", "train_large/b.jpg", "train_small/a.jpg")
    assert pattern_of(tmp_path, ids("a", "b"), "train") == "train_large/{id}.*"


def test_a_path_column_is_taken_where_ids_name_nothing(tmp_path):
    files = images(tmp_path, "jpg/scan a.jpg", "jpg/scan b.jpg")
    frame = ids("1", "2", file=["./jpg/scan a.jpg", "jpg\\scan b.jpg"])
    assert pattern_of(tmp_path, frame, "train") == "{file}"
    assert tables.match("{file}", frame, files) == [["jpg/scan a.jpg"], ["jpg/scan b.jpg"]]


def test_two_path_columns_are_a_tie(tmp_path):
    images(tmp_path, "a.jpg", "b.jpg", "ma.jpg", "mb.jpg")
    frame = ids("1", "2", image=["a.jpg", "b.jpg"], mask=["ma.jpg", "mb.jpg"])
    with pytest.raises(ValueError, match=r"found as \{image\}, \{mask\}: state train_images"):
        pattern_of(tmp_path, frame, "train")


def test_test_ids_are_never_looked_for_among_the_training_images(tmp_path):
    images(tmp_path, "train/1.jpg", "train/2.jpg")
    (tmp_path / "test").mkdir()
    evidence = Evidence(tmp_path)
    table = infer.as_table(ids("1", "2"), evidence)
    trained = infer.trained(table, evidence)
    with pytest.raises(ValueError, match="none of 2 test ids .* 0 lie in a folder named test. Is it empty"):
        places.find_images(table, evidence, "test", "id", trained, [])


@pytest.mark.parametrize(
    "names, pattern",
    [
        (
            ["data/train/a/1.jpg", "data/train/b/1.jpg", "data/val/a/1.jpg", "data/test/a/1.jpg"],
            "data/train/{label}/*",
        ),
        (["a/1.jpg", "b/1.jpg", "test/1.jpg"], "{label}/*"),
        (["train/a/images/1.jpg", "train/b/images/1.jpg", "logo.png"], "train/{label}/images/*"),
        (["train/bus/1.jpg", "train/train/1.jpg", "train/cover.jpg"], "train/{label}/*"),
    ],
)
def test_a_folder_per_class_is_found_where_it_lies(names, pattern, tmp_path):
    assert class_folders(tmp_path, *names) == pattern


@pytest.mark.parametrize(
    "names, message",
    [
        (
            ["small/a/1.jpg", "small/b/1.jpg", "large/a/1.jpg", "large/b/1.jpg"],
            r'class in large/a, .*: state .*"\{label\}/\*\*/\*" or "\*/\{label\}/\*"',
        ),
        (["train/a/1.jpg", "train/a/more/2.jpg", "train/b/1.jpg"], r'"train/\{label\}/\*\*/\*"'),
        (["train/1.jpg", "test/1.jpg"], r"no train.csv and no folder per class .* \(there are x.csv\)"),
    ],
)
def test_a_folder_per_class_that_is_none_or_two_is_asked_back(names, message, tmp_path):
    (tmp_path / "x.csv").write_text("name,size\nx,1\n")
    with pytest.raises(ValueError, match=message):
        class_folders(tmp_path, *names)


@pytest.mark.parametrize(
    "folder, part",
    [
        ("train_images", "train"),
        ("comp/test1", "test"),
        ("train/test", "test"),
        ("seg_train/seg_train/cat", "train"),
        ("Validation", "valid"),
        ("valid", "valid"),
        ("eval", "test"),
        ("medieval", ""),
        ("interval", ""),
        ("images", ""),
        ("contest", ""),
        ("train/intestine", "train"),
        ("PetsTest", "test"),
        ("invalid", ""),
        ("strain_a", ""),
    ],
)
def test_folders_say_which_part_they_hold(folder, part):
    assert part_of(folder) == part


@pytest.mark.parametrize(
    "values, expected",
    [
        # combinations of words that occur alone
        (["a", "b", "a b", "c"], True),
        (
            [
                "clear primary",
                "clear water",
                "clear",
                "primary road water",
                "clear road",
                "primary clear water road",
                "clear primary road",
                # some words never alone, but few of them
                "water primary",
                "road",
            ],
            True,
        ),
        (["golden retriever", "labrador retriever", "poodle"], False),
        (["t shirt", "long sleeve", "hat", "long hat"], False),
        (["dark red", "dark blue", "light red", "light blue", "red", "blue"], False),
        (["a", "b", ""], False),
    ],
)
def test_words_are_told_from_names_with_a_space(values, expected):
    assert cells.are_words(pd.Series(values)) is expected


def test_a_group_is_suspected_by_name_or_by_values_that_return():
    train = pd.DataFrame(
        {
            "patient_id": [f"p{n // 3}" for n in range(60)],
            "who": [f"w{n % 15}" for n in range(60)],
            "sex": ["m", "f"] * 30,
            "user": [f"u{n}" for n in range(60)],
            "width": [str(n * 2) for n in range(60)],
            "Subject Focus": ["0", "1"] * 30,
        }
    )
    assert cells.find_suspects(train) == ("patient_id", "who")


@pytest.mark.parametrize(
    "values, idle",
    [("0123", True), ("1234", True), ("aaaa", True), ("1243", False), ("0101", False), (["00", "01"], False)],
)
def test_a_constant_and_the_number_of_the_line_tell_nothing(values, idle):
    assert cells.is_idle(pd.Series(list(values))) is idle
