"""An archive is a stranger's: nothing of it lands outside its folder, and it lands whole or not at all."""

import io
import random
import shutil
import struct
import tarfile
import zipfile

import pytest

from src.run import archives
from src.run.archives import unpack, unpack_all


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
    assert sorted(
        p.relative_to(tmp_path / "inputs").as_posix() for p in (tmp_path / "inputs").rglob("*.*")
    ) == ["a/train.csv", "a/train/1.png", "b/train/1.png"]


def test_archives_in_an_archive_or_in_the_folder_are_unpacked_beside_it_once(tmp_path):
    inner = (
        make_zip(tmp_path / "train.zip", {"train/1.png": "x"}).read_bytes(),
        make_zip(tmp_path / "test.zip", {"2.png": "y"}).read_bytes(),
    )
    table = make_zip(tmp_path / "table.zip", {"train.csv": "id"}).read_bytes()
    unpack(
        make_zip(tmp_path / "a.zip", {"train.zip": inner[0], "test.zip": inner[1], "train.csv.zip": table}),
        tmp_path / "inputs" / "a",
    )
    folder = tmp_path / "inputs" / "a"
    assert (
        (folder / "train/1.png").read_text() == "x"
        and (folder / "test/2.png").read_text() == "y"
        and (folder / "train.csv").read_text() == "id"
    )
    (folder / "train.csv").write_text("mine")
    unpack_all(folder)
    assert (folder / "train.csv").read_text() == "mine" and len(list(folder.iterdir())) == 6


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/tmp/podium-evil.txt", "..\\evil.txt", "C:/evil.txt"]
)
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="leads out of the folder"):
        unpack(make_zip(tmp_path / "a.zip", {"train.csv": "id", name: "x"}), tmp_path / "inputs" / "a")
    assert (
        not list(tmp_path.rglob("*evil*"))
        and not (tmp_path / "inputs" / "a").exists()
        and not list(tmp_path.rglob("*.part"))
    )


def test_links_and_damage_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a link"):
        unpack(make_zip(tmp_path / "l.zip", {"a": "x"}, links=["train.csv"]), tmp_path / "l")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(info)
    with pytest.raises(ValueError, match="is a link"):
        unpack(tmp_path / "t.tar", tmp_path / "t")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "l.zip").read_bytes()[:40])
    with pytest.raises(ValueError, match="neither a zip|damaged"):
        unpack(tmp_path / "cut.zip", tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.zip", "l.zip", "t.tar"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        unpack(make_zip(tmp_path / "a.zip", {"x": "y"}), tmp_path / "a")


# -- room: counted while it is written, for an archive and those inside it together


@pytest.fixture
def small_disk(monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)
    )


def lie(path, pattern, offset, new):
    """Overwrite bytes at an offset from each of a zip's headers."""
    data = bytearray(path.read_bytes())
    start = data.find(pattern)
    while start >= 0:
        data[start + offset : start + offset + len(new)] = new
        start = data.find(pattern, start + 1)
    path.write_bytes(data)
    return path


def nested(folder, zeros, copies, levels):
    """The path of a zip with as many zips inside, ..., the innermost with as many zeros."""
    path = make_zip(folder / "0.zip", {"zeros": b"\0" * zeros})
    for level in range(1, levels + 1):
        content = path.read_bytes()
        path = make_zip(folder / f"{level}.zip", {f"{copy}.zip": content for copy in range(copies)})
    return path


@pytest.mark.parametrize(
    ("zeros", "copies", "levels"), [(2_000_000, 1, 0), (200_000, 10, 1), (50_000, 5, 2), (20_000, 4, 3)]
)
def test_one_limit_holds_for_all_levels_together(tmp_path, small_disk, zeros, copies, levels):
    bomb = nested(tmp_path, zeros, copies, levels)
    with pytest.raises(
        ValueError,
        match="is not unpacked: with the archives inside it needs more than the 0.0 GB there is room for",
    ):
        unpack(bomb, tmp_path / "inputs" / "a")
    assert not any((tmp_path / "inputs").iterdir())


def test_a_small_file_that_grows_a_thousandfold_is_refused_on_a_large_disk_too(tmp_path, monkeypatch):
    """4.6 kB that became 432 MB; here with a small factor in the place of a GB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**13, 0, 10**13))
    monkeypatch.setattr(archives, "LEAST", 10**6)
    with pytest.raises(ValueError, match="room for"):
        unpack(nested(tmp_path, 1_000_000, 10, 1), tmp_path / "a")


def test_sizes_are_counted_and_not_believed(tmp_path, small_disk):
    bomb = make_zip(tmp_path / "a.zip", {"zeros": b"\0" * 3_000_000})
    lie(lie(bomb, b"PK\1\2", 24, struct.pack("<L", 10)), b"PK\3\4", 22, struct.pack("<L", 10))
    # what is beyond the size that it states is never written
    with pytest.raises(ValueError, match="damaged|room for"):
        unpack(bomb, tmp_path / "a")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("x")
        info.size = 3_000_000
        tar.addfile(info, io.BytesIO(b"\0" * info.size))
    with pytest.raises(ValueError, match="room for"):
        unpack(tmp_path / "b.tar.gz", tmp_path / "b")


def test_more_files_than_any_competition_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 100)
    inner = make_zip(tmp_path / "inner.zip", {str(number): "" for number in range(40)}).read_bytes()
    with pytest.raises(ValueError, match="more than the 100 files"):
        unpack(make_zip(tmp_path / "a.zip", {"x.zip": inner, "y.zip": inner, "z.zip": inner}), tmp_path / "a")


def test_archives_in_archives_end_somewhere(tmp_path):
    with pytest.raises(ValueError, match="inside more than 3 archives"):
        unpack(nested(tmp_path, 10, 1, 40), tmp_path / "a")


def test_a_name_of_many_megabytes_is_not_read_into_memory(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 50_000_000
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("first"))
        tar.fileobj.write(header.tobuf() + b"a" * header.size)
    with pytest.raises(ValueError, match="damaged .a header of 50,000,000 bytes"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")


# -- what can't be unpacked says why, in one line


def empty(folder):
    return make_zip(folder / "a.zip", {})


def only_folders(folder):
    return make_zip(folder / "a.zip", {"train/": ""})


def encrypted(folder):
    path = make_zip(folder / "a.zip", {"x": "y"})
    return lie(lie(path, b"PK\1\2", 8, b"\1"), b"PK\3\4", 6, b"\1")


def deflate64(folder):
    path = make_zip(folder / "a.zip", {"x": "y"})
    return lie(lie(path, b"PK\1\2", 10, b"\t"), b"PK\3\4", 8, b"\t")


def damaged(kind):
    def make(folder):
        path = folder / f"a.tar.{kind}"
        with tarfile.open(path, f"w:{kind}") as tar:
            info = tarfile.TarInfo("x")
            info.size = 2_000_000
            tar.addfile(info, io.BytesIO(random.Random(0).randbytes(info.size)))
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 20] = b"\xff" * 20
        path.write_bytes(data)
        return path

    return make


def plain_tar(change):
    def make(folder):
        path = folder / "a.tar"
        with tarfile.open(path, "w") as tar:
            for name in "xyz":
                info = tarfile.TarInfo(name)
                info.size = 512
                tar.addfile(info, io.BytesIO(bytes(512)))
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def file_and_folder_of_one_name(folder):
    return make_zip(folder / "a.zip", {"x": "y", "x/z": "y"})


def long_name(folder):
    return make_zip(folder / "a.zip", {"x" * 300: "y"})


def nothing(folder):
    return folder / "a.zip"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "holds no file"),
        (only_folders, "holds no file"),
        (encrypted, "can't be unpacked here .*encrypted.*7z x a.zip"),
        (deflate64, "can't be unpacked here .*compression.*7z x a.zip"),
        (damaged("xz"), "is damaged .*download it again"),
        (damaged("gz"), "is damaged"),
        (damaged("bz2"), "is damaged|is the download whole"),
        (plain_tar(lambda data: data[:2048]), "is damaged .empty header at byte 2,048"),
        (plain_tar(lambda data: data[:2300]), "is damaged .truncated header"),
        (
            plain_tar(lambda data: data[:1024] + b"?" * 512 + data[1536:]),
            "is damaged .invalid header at byte 1,024",
        ),
        (file_and_folder_of_one_name, "can't be unpacked: .*a.part/x"),
        (long_name, "can't be unpacked: .*too long"),
        (nothing, "does not exist"),
    ],
)
def test_what_can_not_be_unpacked_says_why_in_one_line(tmp_path, make, message):
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message) as caught:
        unpack(path, tmp_path / "inputs" / "a")
    assert caught.traceback[-1].path.name == "archives.py", "else the stage would print a traceback"
    assert [file for file in sorted(tmp_path.rglob("*")) if file.name != "inputs"] == before
    assert "\n" not in str(caught.value)


def test_windows_paths_become_folders(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", {"train\\1.png": "x"}), tmp_path / "a")
    assert (tmp_path / "a/train/1.png").read_text() == "x"


@pytest.mark.parametrize("name", ["competition.py", "Competition.PY", "inner/competition.py"])
def test_code_that_an_archive_brings_is_not_put_where_it_would_be_run(tmp_path, capsys, name):
    packed = make_zip(tmp_path / "x.zip", {"competition.py": "raise SystemExit(7)"}).read_bytes()
    unpack(
        make_zip(
            tmp_path / "a.zip", {"train.csv": "id", name: "raise SystemExit(7)", "competition.py.zip": packed}
        ),
        tmp_path / "inputs" / "a",
    )
    assert not [path for path in (tmp_path / "inputs").rglob("*") if path.name.lower() == "competition.py"]
    assert (tmp_path / "inputs" / "a" / f"{name}.from-archive").exists()
    assert "which would be run: read it, and rename it if it is yours" in capsys.readouterr().err
