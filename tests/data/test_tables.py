"""csv files of any dialect, image files by name, and mistakes in them, each reported once and clearly."""
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from src.data import tables


def frame_of(path: Path, content: bytes) -> pd.DataFrame:
    path.write_bytes(content)
    return tables.read_csv(path)


def images(root: Path, *names: str) -> list[str]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / name)
    return [file for file in tables.list_files(root) if file.lower().endswith(tables.IMAGE_SUFFIXES)]


def ids(*values: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": values, **columns}, dtype=str)


@pytest.mark.parametrize("content", [
    b"id,label\n007,NA\n1e5,None\n",
    b"\xef\xbb\xbfid,label\r\n007,NA\r\n1e5,None\r\n",
    b"id;label\n007;NA\n1e5;None",
    b"id\tlabel\r007\tNA\r1e5\tNone\r",
    b"id,label,\n007,NA,\n1e5,None,\n",
    b"id,label\n007,NA,\n\n1e5,None,,\n,\n",
    b'"id","label"\n"007","NA"\n"1e5","None"\n',
])
def test_every_dialect_reads_as_the_same_text(content, tmp_path):
    frame = frame_of(tmp_path / "a.csv", content)
    assert frame.to_dict("list") == {"id": ["007", "1e5"], "label": ["NA", "None"]}


def test_latin_1_and_unicode_are_read(tmp_path):
    assert frame_of(tmp_path / "a.csv", "id,größe\nä,1\n".encode("latin-1")).columns.tolist() == ["id", "größe"]
    assert frame_of(tmp_path / "a.csv", "id,大きさ\nä,1\n".encode())["id"].tolist() == ["ä"]


def test_a_table_of_one_column_may_hold_anything(tmp_path):
    assert frame_of(tmp_path / "a.csv", b"image_id\na.jpg\nb.jpg\n")["image_id"].tolist() == ["a.jpg", "b.jpg"]


def test_a_column_without_a_name_stays_when_it_holds_something(tmp_path):
    assert frame_of(tmp_path / "a.csv", b",id\n0,a\n1,b\n").shape == (2, 2)


@pytest.mark.parametrize("content, message", [
    (b"id,label,label\na,1,2\n", "column label stands twice"),
    (b"id,label\na,1\nb,a, b\n", "more cells than the header has in line 3"),
    (b"", "a.csv is empty"),
    (b"id,label\n", "a header and no row"),
])
def test_a_broken_csv_says_what_is_wrong(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        frame_of(tmp_path / "a.csv", content)


def test_a_missing_csv_says_so(tmp_path):
    with pytest.raises(ValueError, match="b.csv does not exist"):
        tables.read_csv(tmp_path / "b.csv")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(cells=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_what_is_written_is_read_again(cells, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    written = pd.DataFrame(cells, columns=["id", "label"], dtype=str)
    written.to_csv(path, index=False)
    pd.testing.assert_frame_equal(tables.read_csv(path), written)


def test_classes_sort_as_numbers_only_when_all_are():
    assert tables.sorted_classes(pd.Series(["10", "9", "-1", "1e2"])) == ("-1", "9", "10", "1e2")
    assert tables.sorted_classes(pd.Series(["10", "9", "nan"])) == ("10", "9", "nan")


def test_files_are_listed_through_links_but_never_twice(tmp_path):
    images(tmp_path / "real", "train/a.jpg", "train/.hidden.jpg", "__MACOSX/b.jpg", ".ipynb_checkpoints/c.jpg")
    os.symlink(tmp_path / "real", tmp_path / "real/train/loop")
    os.symlink(tmp_path / "real", tmp_path / "link")
    assert tables.list_files(tmp_path / "link") == ["train/a.jpg"]


def test_ids_find_their_images_with_any_suffix_in_any_case(tmp_path):
    files = images(tmp_path, "photos/a.JPG", "photos/b.png", "photos/c.c.jpeg", "photos/7.webp")
    frame = ids("a", "b", "c.c", "7")
    assert tables.find_images(frame, files, "train_images") == "photos/{id}.*"
    found = tables.match("photos/{id}.*", frame, files, tmp_path)
    assert found == [["photos/a.JPG"], ["photos/b.png"], ["photos/c.c.jpeg"], ["photos/7.webp"]]


def test_the_only_file_of_a_stem_is_found_in_any_folder(tmp_path):
    files = images(tmp_path, "train/x/a.jpg", "train/y/b.jpg", "test/a.jpg")
    assert tables.find_images(ids("a", "b"), files, "train_images") == "train/**/{id}.jpg"
    assert tables.match("train/**/{id}.jpg", ids("a", "b"), files, tmp_path) == [["train/x/a.jpg"], ["train/y/b.jpg"]]


def test_a_stem_in_two_folders_is_a_tie(tmp_path):
    files = images(tmp_path, "train/x/a.jpg", "train/y/b.jpg", "train/y/a.jpg", "train/z/c.jpg")
    with pytest.raises(ValueError, match=r"train/x/\{id\}, train/y/\{id\}: state train_images"):
        tables.find_images(ids("a", "b", "c"), files, "train_images")


def test_a_complete_folder_beside_an_incomplete_one_is_no_tie(tmp_path):
    files = images(tmp_path, "train_large/a.jpg", "train_large/b.jpg", "train_small/a.jpg")
    assert tables.find_images(ids("a", "b"), files, "train_images") == "train_large/{id}.jpg"


def test_a_path_column_is_taken_where_ids_name_nothing(tmp_path):
    files = images(tmp_path, "jpg/scan a.jpg", "jpg/scan b.jpg")
    frame = ids("1", "2", file=["./jpg/scan a.jpg", "jpg\\scan b.jpg"])
    assert tables.find_images(frame, files, "train_images") == "{file}"
    assert tables.match("{file}", frame, files, tmp_path) == [["jpg/scan a.jpg"], ["jpg/scan b.jpg"]]


def test_two_path_columns_are_a_tie(tmp_path):
    files = images(tmp_path, "a.jpg", "b.jpg", "ma.jpg", "mb.jpg")
    frame = ids("1", "2", image=["a.jpg", "b.jpg"], mask=["ma.jpg", "mb.jpg"])
    with pytest.raises(ValueError, match=r"found as \{image\}, \{mask\}: state train_images"):
        tables.find_images(frame, files, "train_images")


def test_test_ids_are_never_looked_for_among_the_training_images(tmp_path):
    files = images(tmp_path, "train/1.jpg", "train/2.jpg")
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match="none of 2 test ids .* 0 lie in a folder named test. Is it empty"):
        tables.find_images(ids("1", "2"), files, "test_images")


def test_a_pattern_may_name_one_file_for_all(tmp_path):
    (tmp_path / "train-image.hdf5").write_bytes(b"")
    assert tables.match("train-image.hdf5", ids("a", "b"), [], tmp_path) == [["train-image.hdf5"]] * 2
    assert tables.match("../{id}", ids("a"), [], tmp_path) == [[]]


def test_a_pattern_with_an_unknown_column_lists_the_columns():
    with pytest.raises(ValueError, match="no column idd; choose from id"):
        tables.fill("train/{idd}.jpg", ids("a"))


def test_a_folder_per_class_in_two_places_is_a_tie(tmp_path):
    files = images(tmp_path, *[f"{part}/{label}/1.jpg" for part in ("small", "large") for label in "ab"])
    with pytest.raises(ValueError, match=r'in each of large, small: state train_images, such as "large/\{label\}/\*"'):
        tables.find_class_folders(files)


def test_a_validation_folder_beside_train_is_no_tie(tmp_path):
    files = images(tmp_path, *[f"data/{part}/{label}/1.jpg" for part in ("train", "val", "test") for label in "ab"])
    assert tables.find_class_folders(files) == "data/train/{label}/*"


def test_names_are_read_off_paths(tmp_path):
    images(tmp_path, "train/cat.0.jpg", "train/dog.12.JPG", "train/readme.png")
    frame = tables.from_names(tmp_path, "train/{label}.{number}.*")
    assert frame.to_dict("list") == {"label": ["cat", "dog"], "number": ["0", "12"], "path": ["train/cat.0.jpg", "train/dog.12.JPG"],
                                     "id": ["cat.0.jpg", "dog.12.JPG"]}
    with pytest.raises(ValueError, match="none of 3 images"):
        tables.from_names(tmp_path, "test/{label}/*")


@pytest.mark.parametrize("values, expected", [
    (["a", "b", "a b", "c"], True),                                                    # combinations of words that occur alone
    (["clear primary", "clear water", "clear", "primary road water", "clear road", "primary clear water road", "clear primary road",
      "water primary", "road"], True),                                                 # some words never alone, but few of them
    (["golden retriever", "labrador retriever", "poodle"], False),
    (["t shirt", "long sleeve", "hat", "long hat"], False),
    (["dark red", "dark blue", "light red", "light blue", "red", "blue"], False),
    (["a", "b", ""], False),
])
def test_words_are_told_from_names_with_a_space(values, expected):
    assert tables.are_words(pd.Series(values)) is expected


def test_a_group_is_suspected_by_name_or_by_values_that_return():
    train = pd.DataFrame({"patient_id": [f"p{n // 3}" for n in range(60)], "who": [f"w{n % 15}" for n in range(60)], "sex": ["m", "f"] * 30,
                          "user": [f"u{n}" for n in range(60)], "width": [str(n) for n in range(60)], "Subject Focus": ["0", "1"] * 30})
    assert tables.find_suspects(train) == ("patient_id", "who")
