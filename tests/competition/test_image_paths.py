"""The images of a folder, by the pattern of their paths."""

import os
from pathlib import Path

import layouts
import pandas as pd
import pytest

from src.competition import host_tables
from src.competition.facts import Competition
from src.competition.image_paths import fill, from_names, match
from src.competition.listing import list_files, only_images


def images(root: Path, *names: str) -> list[str]:
    layouts.pictures(root, list(names))
    return only_images(list_files(root))


def ids(*values: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": values, **columns}, dtype=str)


def test_files_are_listed_through_links_but_never_twice(tmp_path):
    images(
        tmp_path / "real", "train/a.jpg", "train/.hidden.jpg", "__MACOSX/b.jpg", ".ipynb_checkpoints/c.jpg"
    )
    os.symlink(tmp_path / "real", tmp_path / "real/train/loop")
    os.symlink(tmp_path / "real", tmp_path / "link")
    assert list_files(tmp_path / "link") == ["train/a.jpg"]


def test_a_pattern_may_name_one_file_for_all_but_none_outside():
    assert match("train-image.hdf5", ids("a", "b"), ["train-image.hdf5"]) == [["train-image.hdf5"]] * 2
    assert match("../{id}", ids("a"), ["a"]) == [[]]


def test_a_path_of_the_hosts_machine_is_cut_and_the_suffix_may_be_in_capitals(tmp_path):
    files = images(tmp_path, "train/a.JPG", "other/a.jpg")
    assert match("{path}", ids("1", path=["/kaggle/input/x/train/a.jpg"]), files) == [["train/a.JPG"]]
    assert match("wrong/train/{id}", ids("a.jpg"), files) == [[]], (
        "a pattern that is stated says what it means"
    )


def test_a_pattern_with_an_unknown_column_lists_the_columns():
    with pytest.raises(ValueError, match="no column idd; choose from id"):
        fill("train/{idd}.jpg", ids("a"))


def test_names_are_read_off_paths(tmp_path):
    images(tmp_path, "train/cat.0.jpg", "train/dog.12.JPG", "train/readme.png")
    frame = from_names(tmp_path, "train/{label}.{number}.*")
    assert frame.to_dict("list") == {
        "label": ["cat", "dog"],
        "number": ["0", "12"],
        "path": ["train/cat.0.jpg", "train/dog.12.JPG"],
        "id": ["cat.0.jpg", "dog.12.JPG"],
    }
    with pytest.raises(ValueError, match="none of 3 images"):
        from_names(tmp_path, "test/{label}/*")


def test_a_class_whose_name_begins_like_a_part_is_named_when_it_is_left_out(tmp_path, capsys):
    images(tmp_path, "beaker/1.jpg", "flask/2.jpg", "test_tube/3.jpg", "test/4.jpg")
    table = host_tables.read_part(tmp_path, Competition(train_images="{label}/*"), "train")
    assert table["label"].tolist() == ["beaker", "flask"]
    assert capsys.readouterr().err.splitlines() == [
        "warning: the images in test_tube/ are taken for no class, by its name: else state a make_table in "
        "src/competitions.py"
    ]
