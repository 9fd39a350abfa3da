"""Tables in any encoding and format are read as text, once."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.competition import formats, messages, reshape


@pytest.mark.parametrize(
    "encoding, text",
    [
        ("cp949", "파일,라벨\na.jpg,고양이\nb.jpg,강아지\n"),
        ("gb18030", "图片,类别\na.jpg,猫的图片\nb.jpg,狗的照片\n"),
        ("cp932", "ファイル,ラベル\na.jpg,犬の写真\nb.jpg,猫\n"),
        ("big5", "檔名,類別\na.jpg,蝴蝶蘭花\nb.jpg,石斛蘭花\n"),
        ("latin-1", "id,größe\na,weiß\nb,café élégant\n"),
        ("cp1252", "id,name\na,Müller’s\nb,Île d’Yeu\n"),
        ("utf-16", "id,label\na,고양이\n"),
        ("utf-8-sig", "id,label\na,猫\n"),
    ],
)
def test_an_encoding_is_told_by_the_letters_that_it_gives(encoding, text, tmp_path, capsys):
    """Korean read as latin-1 went into the submission as °í¾çÀÌ."""
    messages.say_once.cache_clear()
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    frame = formats.read_csv(tmp_path / "a.csv")
    assert [",".join(line) for line in [list(frame), *frame.to_numpy().tolist()]] == text.splitlines()
    told = capsys.readouterr().err
    assert (encoding in ("utf-16", "utf-8-sig")) == (told == "") and (
        f"read as {encoding.upper()}" in told or encoding not in ("cp949", "gb18030", "cp932", "big5")
    )


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.json", [{"image": "1.jpg", "label": "cat"}, {"image": "2.jpg", "label": "dog"}]),
        ("a.json", {"1.jpg": "cat", "2.jpg": "dog"}),
        ("a.json", {"1.jpg": {"label": "cat"}, "2.jpg": {"label": "dog"}}),
        (
            "a.json",
            {"info": 1, "data": [{"image": "1.jpg", "label": "cat"}, {"image": "2.jpg", "label": "dog"}]},
        ),
        ("a.json", {"labels": [["1.jpg", "cat"], ["2.jpg", "dog"]]}["labels"]),
    ],
)
def test_json_of_several_shapes_is_a_table(name, content, tmp_path):
    (tmp_path / name).write_text(json.dumps(content))
    assert formats.read_table(tmp_path / name).to_dict("list") == {
        "image": ["1.jpg", "2.jpg"],
        "label": ["cat", "dog"],
    }


def test_lines_of_json_lists_and_gaps_are_text(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"id": 1, "tags": ["a b", "c"], "n": 2.0}\n{"id": 2, "tags": [], "n": null}\n'
    )
    assert formats.read_table(tmp_path / "a.jsonl").to_dict("list") == {
        "id": ["1", "2"],
        "tags": ["a_b c", ""],
        "n": ["2", ""],
    }


def test_coco_is_a_row_per_image_and_category_without_its_boxes(tmp_path):
    (tmp_path / "a.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "x/1.jpg"}, {"id": 8, "file_name": "x/2.jpg"}],
                "categories": [{"id": 3, "name": "owl"}],
                "annotations": [
                    {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1]},
                    {"id": 2, "image_id": 7, "category_id": 3, "bbox": [2, 2, 1, 1]},
                ],
            }
        )
    )
    frame = formats.read_table(tmp_path / "a.json")
    assert frame.to_dict("list") == {
        "image_id": ["7", "8"],
        "file_name": ["x/1.jpg", "x/2.jpg"],
        "category_id": ["3", ""],
        "category": ["owl", ""],
    }


def test_parquet_is_a_table_and_its_pictures_are_left_out(tmp_path):
    pd.DataFrame({"id": ["a", "b"], "n": [1, 2], "picture": [b"x", b"y"]}).to_parquet(tmp_path / "a.parquet")
    assert formats.read_table(tmp_path / "a.parquet").to_dict("list") == {"id": ["a", "b"], "n": ["1", "2"]}


def test_what_is_no_table_says_so(tmp_path):
    for name, content in (("a.json", "[1, 2"), ("b.json", "[1, 2]"), ("c.parquet", "x"), ("d.xlsx", "x")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"{name[0]}.{name[2:]} "):
            formats.read_table(tmp_path / name)


def test_a_few_lines_with_a_comma_in_their_last_text_are_mended_and_many_are_refused(tmp_path, capsys):
    lines = [f"{n},Men,Shirt {n}" for n in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["id,gender,name", *lines[:99], "99,Men,Shirt, blue, 99"]))
    assert (
        formats.read_csv(tmp_path / "a.csv")["name"].iloc[-1] == "Shirt, blue, 99"
        and "1 lines have more cells than the header" in capsys.readouterr().err
    )
    (tmp_path / "a.csv").write_text("\n".join(["id,gender,name", *(f"{line}, blue" for line in lines)]))
    with pytest.raises(ValueError, match="more cells than the header has in line"):
        formats.read_csv(tmp_path / "a.csv")


def test_a_table_that_changes_is_read_again(tmp_path):
    path = Path(tmp_path / "a.csv")
    path.write_text("id\na\n")
    first = formats.read_table(path)
    first["id"] = "changed by its reader"
    assert formats.read_table(path)["id"].tolist() == ["a"]
    path.write_text("id\nbb\n")
    assert formats.read_table(path)["id"].tolist() == ["bb"]


def test_pixels_of_a_table_are_images(tmp_path):
    (tmp_path / "train.csv").write_text(
        "label," + ",".join(f"pixel{n}" for n in range(4)) + "\n3,0,1,2,255\n5,4,5,6,7\n"
    )
    (tmp_path / "faces.csv").write_text("emotion,pixels,Usage\n1,0 1 2 255,Training\n")
    frame = reshape.pixels(tmp_path, "train.csv", ImageId=1)
    assert frame.to_dict("list") == {
        "label": ["3", "5"],
        "id": ["0", "1"],
        "path": ["train.csv"] * 2,
        "ImageId": ["1", "2"],
    }
    assert reshape.read_pixels({"file": str(tmp_path / "train.csv"), "id": "0"}).tolist() == [
        [0, 1],
        [2, 255],
    ]
    assert reshape.read_pixels({"file": str(tmp_path / "faces.csv"), "id": "0"}).tolist() == [
        [0, 1],
        [2, 255],
    ]


def frame_of(path: Path, content: bytes) -> pd.DataFrame:
    path.write_bytes(content)
    return formats.read_csv(path)


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


def test_latin_1_and_unicode_are_read(tmp_path, capsys):
    assert frame_of(tmp_path / "latin.csv", "id,größe\nä,1\n".encode("latin-1")).columns.tolist() == [
        "id",
        "größe",
    ]
    formats.read_csv(tmp_path / "latin.csv")
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
        formats.read_csv(tmp_path / "b.csv")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(cells=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_what_is_written_is_read_again(cells, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    written = pd.DataFrame(cells, columns=["id", "label"], dtype=str)
    written.to_csv(path, index=False)
    pd.testing.assert_frame_equal(formats.read_csv(path), written)
