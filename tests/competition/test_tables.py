"""csv files of any dialect, image files by name, and mistakes in them, each reported once and clearly."""

import os
from pathlib import Path

import layouts
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.competition import host_tables, tables
from src.competition.facts import Competition


def frame_of(path: Path, content: bytes) -> pd.DataFrame:
    path.write_bytes(content)
    return tables.read_csv(path)


def images(root: Path, *names: str) -> list[str]:
    layouts.pictures(root, list(names))
    return tables.only_images(tables.list_files(root))


def ids(*values: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": values, **columns}, dtype=str)


@pytest.mark.parametrize(
    "content",
    [
        b"id,label\n007,NA\n1e5,None\n",
        b"\xef\xbb\xbfid,label\r\n007,NA\r\n1e5,None\r\n",
        b"id;label\n007;NA\n1e5;None",
        b"id\tlabel\r007\tNA\r1e5\tNone\r",
        b"id,label,\n007,NA,\n1e5,None,\n",
        b"id,label\n007,NA,\n\n1e5,None,,\n,\n",
        b'"id","label"\n"007","NA"\n"1e5","None"\n',
        "id,label\n007,NA\n1e5,None\n".encode("utf-16"),
    ],
)
def test_every_dialect_reads_as_the_same_text(content, tmp_path):
    frame = frame_of(tmp_path / "a.csv", content)
    assert frame.to_dict("list") == {"id": ["007", "1e5"], "label": ["NA", "None"]}


def test_a_class_whose_name_begins_like_a_part_is_named_when_it_is_left_out(tmp_path, capsys):
    images(tmp_path, "beaker/1.jpg", "flask/2.jpg", "test_tube/3.jpg", "test/4.jpg")
    table = host_tables.read_part(tmp_path, Competition(train_images="{label}/*"), "train")
    assert table["label"].tolist() == ["beaker", "flask"]
    assert capsys.readouterr().err.splitlines() == [
        "warning: the images in test_tube/ are taken for no class, by its name: else state a make_table in "
        "src/competitions.py"
    ]


def test_latin_1_and_unicode_are_read(tmp_path, capsys):
    assert frame_of(tmp_path / "latin.csv", "id,größe\nä,1\n".encode("latin-1")).columns.tolist() == [
        "id",
        "größe",
    ]
    tables.read_csv(tmp_path / "latin.csv")
    assert capsys.readouterr().err.count("latin.csv is not UTF-8 and is read as latin-1") == 1
    assert frame_of(tmp_path / "a.csv", "id,大きさ\nä,1\n".encode())["id"].tolist() == ["ä"]


def test_a_line_end_within_quotes_is_part_of_the_cell(tmp_path):
    frame = frame_of(tmp_path / "a.csv", b'id,note,label\r\n1,"two\nlines, ""quoted""",cat\r\n2,,dog\r\n')
    assert frame.to_numpy().tolist() == [["1", 'two\nlines, "quoted"', "cat"], ["2", "", "dog"]]


def test_a_table_of_one_column_may_hold_anything(tmp_path):
    assert frame_of(tmp_path / "a.csv", b"image_id\na.jpg\nb.jpg\n")["image_id"].tolist() == [
        "a.jpg",
        "b.jpg",
    ]


def test_a_column_without_a_name_stays_when_it_holds_something(tmp_path):
    assert frame_of(tmp_path / "a.csv", b",id\n0,a\n1,b\n").shape == (2, 2)


@pytest.mark.parametrize(
    "content, header",
    [
        (b"id, label\n007, NA\n1e5, None\n", ["id", " label"]),
        (b'"id", "label"\r\n"007", "NA"\r\n"1e5", "None"', ["id", "label"]),
        (b"\xef\xbb\xbf id ;label \r007;NA\r1e5;None", [" id ", "label "]),
    ],
)
def test_spaces_after_each_separator_are_no_part_of_a_cell_and_a_header_stays_as_it_is(
    content, header, tmp_path
):
    frame = frame_of(tmp_path / "a.csv", content)
    assert list(frame) == header and frame.to_numpy().tolist() == [["007", "NA"], ["1e5", "None"]]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"id,label,label\na,1,2\n", "column label stands twice"),
        (b"id,label\na,1\nb,a, b\n", "more cells than the header has in line 3"),
        (b"", "a.csv is empty"),
        (b"id,label\n", "a header and no row"),
    ],
)
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


def test_files_are_listed_through_links_but_never_twice(tmp_path):
    images(
        tmp_path / "real", "train/a.jpg", "train/.hidden.jpg", "__MACOSX/b.jpg", ".ipynb_checkpoints/c.jpg"
    )
    os.symlink(tmp_path / "real", tmp_path / "real/train/loop")
    os.symlink(tmp_path / "real", tmp_path / "link")
    assert tables.list_files(tmp_path / "link") == ["train/a.jpg"]


def test_a_pattern_may_name_one_file_for_all_but_none_outside():
    assert tables.match("train-image.hdf5", ids("a", "b"), ["train-image.hdf5"]) == [["train-image.hdf5"]] * 2
    assert tables.match("../{id}", ids("a"), ["a"]) == [[]]


def test_a_path_of_the_hosts_machine_is_cut_and_the_suffix_may_be_in_capitals(tmp_path):
    files = images(tmp_path, "train/a.JPG", "other/a.jpg")
    assert tables.match("{path}", ids("1", path=["/kaggle/input/x/train/a.jpg"]), files) == [["train/a.JPG"]]
    assert tables.match("wrong/train/{id}", ids("a.jpg"), files) == [[]], (
        "a pattern that is stated says what it means"
    )


def test_a_pattern_with_an_unknown_column_lists_the_columns():
    with pytest.raises(ValueError, match="no column idd; choose from id"):
        tables.fill("train/{idd}.jpg", ids("a"))


def test_names_are_read_off_paths(tmp_path):
    images(tmp_path, "train/cat.0.jpg", "train/dog.12.JPG", "train/readme.png")
    frame = tables.from_names(tmp_path, "train/{label}.{number}.*")
    assert frame.to_dict("list") == {
        "label": ["cat", "dog"],
        "number": ["0", "12"],
        "path": ["train/cat.0.jpg", "train/dog.12.JPG"],
        "id": ["cat.0.jpg", "dog.12.JPG"],
    }
    with pytest.raises(ValueError, match="none of 3 images"):
        tables.from_names(tmp_path, "test/{label}/*")
