"""Files under attack: several writers at once, kills, cut files, flipped bits, files where folders should be. Nothing is lost, mixed, or used unseen."""
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from src import runs
from src.data import images
from src.data.arrays import Array, make_array


def together(code: str, *words: str, number: int = 4) -> list[str]:
    """What as many processes print that run this code at once; sys.argv[1] tells them apart."""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(one), *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                 for one in range(number)]
    said = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes), said
    return said


def flips(content: bytes, step: int = 1):
    """The content with one bit of every step-th byte turned."""
    for place in range(0, len(content), step):
        yield content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1:]


# ---- writing ----


def test_writers_of_one_file_at_once_neither_mix_nor_fail(tmp_path):
    code = """
import sys
from pathlib import Path
from src import runs
path, mine = Path(sys.argv[2]), sys.argv[1] * 100_000
for _ in range(60):
    with runs.atomic(path) as part:
        for start in range(0, len(mine), 10_000):
            with part.open("a") as file:
                file.write(mine[start:start + 10_000])
    content = path.read_text()
    assert len(content) == 100_000 and len(set(content)) == 1, (len(content), set(content))
"""
    together(code, str(tmp_path / "file.txt"))
    assert os.listdir(tmp_path) == ["file.txt"]


def test_what_a_killed_writer_left_is_removed_by_the_next_one_and_a_living_ones_stays(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    dead, alive = tmp_path / f"a.csv.{runs.HOST}-{killed.pid}-0123ab.part", tmp_path / f"a.csv.{runs.HOST}-{os.getpid()}-0123ab.part"
    elsewhere, old = tmp_path / "a.csv.zzzz-1-0123ab.part", tmp_path / f"a.csv.{'0000' if runs.HOST != '0000' else '1111'}-1-0123ab.part"
    for file in (dead, alive, elsewhere, old):
        file.touch()
    os.utime(old, (0, 0))
    runs.write_text("whole", tmp_path / "b.csv")
    assert sorted(os.listdir(tmp_path)) == sorted([alive.name, elsewhere.name, "b.csv"])


@pytest.mark.parametrize("there", ["runs", "runs/x", "runs/x/fold0"])
def test_a_file_where_a_folder_should_be_is_named_in_one_line(tmp_path, there):
    runs.write_text("I am a file", tmp_path / there)
    path = tmp_path / "runs/x/fold0/done.json"
    for write in (lambda: runs.write_json({}, path), lambda: runs.make_folder(path.parent), lambda: runs.lock(path).__enter__(),
                  lambda: make_array(path, (1,), "uint8", lambda values: None)):
        with pytest.raises(ValueError, match=f"{there} is a file, and a folder must be there: move it away$"):
            write()


# ---- json ----


def test_a_cut_or_flipped_json_says_its_name_and_what_to_type_or_reads_the_same(tmp_path):
    path, content = tmp_path / "runs/x/fold0/done.json", {"recipe": "abc", "score": 0.5, "files": {"model.safetensors": "0f"}, "code": {}, "ä": None}
    runs.write_json(content, path)
    whole, damaged = path.read_bytes(), 0
    for wrong in [*flips(whole), *(whole[:size] for size in range(len(whole) - 2))]:
        path.write_bytes(wrong)
        try:
            again = runs.read_json(path)
            again.pop(next(iter(again.keys() - content.keys()), ""), None)       # the word "checksum" itself
            assert again == content, wrong
        except ValueError as error:
            damaged += 1
            assert str(error).startswith(f"{path} is damaged (") and f"remove the folder {path.parent}, and make train RUN=x FORCE=1" in str(error)
    assert damaged > 1.8 * len(whole)


def test_a_json_reads_as_it_was_written_by_this_code_and_by_earlier_code(tmp_path):
    path = tmp_path / "a.json"
    for content in ({"10": 1, "9": [1.5, None, True], "ä": {"b": "\u2028"}}, {}, [1, 2], "text", 0.1):
        runs.write_json(content, path)
        assert runs.read_json(path) == content
        runs.write_json(runs.read_json(path), path)
        assert runs.read_json(path) == content
        path.write_text(json.dumps(content))
        assert runs.read_json(path) == content
    runs.write_json({10: 1, 9: 2}, path)
    assert runs.read_json(path) == {"10": 1, "9": 2}


# ---- the memory of hashes ----


def test_two_that_hash_at_once_lose_nothing_of_each_other(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.png").write_text(str(number))
    code = """
import sys
from pathlib import Path
from src.data import images
folder = Path(sys.argv[2])
for number in range(int(sys.argv[1]) * 10, int(sys.argv[1]) * 10 + 10):
    images.content_hashes([folder / f"{number}.png"], folder / "hashes.json")
"""
    together(code, str(tmp_path))
    assert len(runs.read_json(tmp_path / "hashes.json")) == 40
    assert not [name for name in os.listdir(tmp_path) if not name.endswith((".png", "hashes.json"))]


@pytest.mark.parametrize("content", ["", '{"a": [1, 2', "[]x", '{"checksum": "0123456789abcdef"}'])
def test_a_broken_memory_of_hashes_is_made_anew(tmp_path, capsys, content):
    (tmp_path / "a.png").write_text("a")
    memory = tmp_path / "hashes.json"
    expected = images.content_hashes([tmp_path / "a.png"], memory)
    memory.write_text(content)
    assert images.content_hashes([tmp_path / "a.png"], memory) == expected and f"{memory} is damaged" in capsys.readouterr().err
    assert len(runs.read_json(memory)) == 1


def test_a_full_disk_at_the_memory_of_hashes_is_a_warning(tmp_path, capsys, monkeypatch):
    def write_text(self, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a.png").write_text("a")
    monkeypatch.setattr(Path, "write_text", write_text)
    assert len(images.content_hashes([tmp_path / "a.png"], tmp_path / "hashes.json")) == 1
    assert "hashes.json can't be written: [Errno 28] No space left on device" in capsys.readouterr().err


# ---- cached arrays ----


def test_a_cached_array_that_is_not_as_it_was_made_is_named_and_made_again(tmp_path):
    path, values = tmp_path / "images.npy", np.arange(60, dtype=np.float32).reshape(20, 3)

    def make() -> Array:
        return make_array(path, values.shape, "float32", lambda out: out.__setitem__(slice(None), values))

    assert np.array_equal(make().values, values) and len(make()) == 20
    whole, damaged = path.read_bytes(), 0
    for wrong in [*flips(whole), *(whole[:size] for size in range(len(whole)))]:
        path.write_bytes(wrong)
        try:
            assert np.array_equal(make().values, values) and len(make()) == 20
        except ValueError as error:
            damaged += 1
            assert str(error) == f"{path} is damaged: the same command makes it again" and not path.exists()
            assert np.array_equal(make().values, values)
    assert damaged > 1.8 * (len(whole) - 34)


def test_an_array_of_earlier_code_without_a_checksum_is_read(tmp_path):
    np.save(tmp_path / "old.npy", np.ones(5))
    assert Array(tmp_path / "old.npy").values.sum() == 5


def test_a_decoded_array_without_its_list_of_unreadable_images_is_made_again(tmp_path):
    rows = [{"id": "a", "path": "a", "file": "a"}]

    def decode():
        return images.decode(rows, 8, tmp_path / "x.npy", read_image=lambda record: np.zeros((8, 8, 3), np.uint8), max_pixels=99, workers=1)[0]

    decode()
    for name in os.listdir(tmp_path):
        if name.endswith(".json"):
            (tmp_path / name).unlink()
    assert decode().values.shape == (1, 8, 8, 3)
