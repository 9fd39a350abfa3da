"""An archive is a stranger's: nothing of it lands outside its folder, and it lands whole or not at all."""
import io
import tarfile
import zipfile

import pytest

from src.fetch import unpack, unpack_all


def make_zip(path, members, links=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return path


def test_a_zip_and_a_tar_are_unpacked(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", {"train.csv": "id", "train/1.png": "x"}), tmp_path / "inputs" / "a")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("train/1.png")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    unpack(tmp_path / "b.tar.gz", tmp_path / "inputs" / "b")
    assert sorted(p.relative_to(tmp_path / "inputs").as_posix() for p in (tmp_path / "inputs").rglob("*.*")) == ["a/train.csv", "a/train/1.png", "b/train/1.png"]


def test_archives_in_an_archive_or_in_the_folder_are_unpacked_beside_it_once(tmp_path):
    inner = make_zip(tmp_path / "train.zip", {"train/1.png": "x"}).read_bytes(), make_zip(tmp_path / "test.zip", {"2.png": "y"}).read_bytes()
    table = make_zip(tmp_path / "table.zip", {"train.csv": "id"}).read_bytes()
    unpack(make_zip(tmp_path / "a.zip", {"train.zip": inner[0], "test.zip": inner[1], "train.csv.zip": table}), tmp_path / "inputs" / "a")
    folder = tmp_path / "inputs" / "a"
    assert (folder / "train/1.png").read_text() == "x" and (folder / "test/2.png").read_text() == "y" and (folder / "train.csv").read_text() == "id"
    (folder / "train.csv").write_text("mine")
    unpack_all(folder)
    assert (folder / "train.csv").read_text() == "mine" and len(list(folder.iterdir())) == 6


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/podium-evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="lead out of the folder"):
        unpack(make_zip(tmp_path / "a.zip", {"train.csv": "id", name: "x"}), tmp_path / "inputs" / "a")
    assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "inputs" / "a").exists() and not list(tmp_path.rglob("*.part"))


def test_links_bombs_and_damage_are_refused(tmp_path):
    with pytest.raises(ValueError, match="links"):
        unpack(make_zip(tmp_path / "l.zip", {"a": "x"}, links=["train.csv"]), tmp_path / "l")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(info)
    with pytest.raises(ValueError, match="links"):
        unpack(tmp_path / "t.tar", tmp_path / "t")
    with pytest.raises(ValueError, match="room for"):
        unpack(make_zip(tmp_path / "bomb.zip", {"zeros": b"\0" * 10_000_000}), tmp_path / "b", most_bytes=1_000_000)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "l.zip").read_bytes()[:40])
    with pytest.raises(ValueError, match="neither a zip|damaged"):
        unpack(tmp_path / "cut.zip", tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.zip", "cut.zip", "l.zip", "t.tar"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        unpack(make_zip(tmp_path / "a.zip", {"x": "y"}), tmp_path / "a")
