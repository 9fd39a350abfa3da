"""Files of a run: names, whole writes, hashes, taking over finished work, exit codes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.run import provenance, reuse
from src.run.files import atomic, file_sha, read_json, sha256, write_json, write_text
from src.run.paths import RunPaths, check_name

ROOT = Path(__file__).parents[2]
CODE = {"src/run/predictions.py": file_sha(ROOT / "src/run/predictions.py")}


def make_run(
    root: Path,
    name: str,
    *,
    comp: str = "demo",
    recipe: str = "abc",
    code: dict = CODE,
    split: dict | None = None,
) -> RunPaths:
    """A run with one finished fold and a split."""
    paths = RunPaths(root / name)
    write_json({"comp": comp}, paths.config)
    write_json(split or {"folds": 2}, paths.settings("split"))
    write_json({"name": name}, paths.competition)
    for file in (paths.folds, paths.fold(0).model, paths.fold(0).valid, paths.fold(0).log):
        write_text(f"{name} {file.name}", file)
    files = {
        file.name: file_sha(file) for file in (paths.fold(0).model, paths.fold(0).valid, paths.fold(0).log)
    }
    write_json({"recipe": recipe, "code": code, "score": 0.5, "files": files}, paths.fold(0).done)
    return paths


def new_run(root: Path, name: str = "new") -> RunPaths:
    paths = RunPaths(root / name)
    write_json({"comp": "demo"}, paths.config)
    write_json({"folds": 2}, paths.settings("split"))
    return paths


# ---- names and writing ----


@pytest.mark.parametrize(
    "name", ["demo-demo", "demo-head-lr=1e-3", "a", "trainable=blocks.5,blocks.6", "A_1"]
)
def test_a_name_for_files_is_taken(name):
    assert check_name(name, "RUN") == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..b", ".a", "-a", "a/b", "a b", "a\n", "$(id)", "a;b", "a:b", "ä", "a+b"]
)
def test_a_name_that_could_leave_the_folder_or_break_make_is_refused(name):
    with pytest.raises(ValueError, match="can't be a name"):
        check_name(name, "RUN")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep/file.txt"
    write_text("old", path)
    with pytest.raises(RuntimeError), atomic(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["file.txt"]
    with atomic(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(path.parent) == ["file.txt"]


def test_finished_folds_are_listed_by_number(tmp_path):
    paths = RunPaths(tmp_path)
    for k in (10, 2, 0):
        write_json({}, paths.fold(k).done)
    paths.fold(1).root.mkdir()
    assert paths.finished() == [0, 2, 10]


# ---- hashes ----


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_a_hash_does_not_depend_on_the_order_of_keys_nor_on_a_trip_through_json(content):
    turned = dict(reversed(content.items()))
    assert sha256(content) == sha256(turned) == sha256(json.loads(json.dumps(content)))
    assert len(sha256(content)) == 16 and sha256({**content, "more": 1}) != sha256({**content, "more": 2})


def test_tuples_and_lists_hash_alike_and_bytes_are_taken_as_they_are(tmp_path):
    assert sha256({"tta": ("a",)}) == sha256({"tta": ["a"]})
    (tmp_path / "file").write_bytes(b"content")
    assert file_sha(tmp_path / "file") == sha256(b"content")


def test_edited_and_removed_files_are_changed_code_and_new_ones_are_not():
    assert reuse.changed_code({"code": CODE}) == reuse.changed_code({}) == []
    assert reuse.changed_code({"code": {"src/run/predictions.py": "0", "src/gone.py": "1"}}) == [
        "src/gone.py (removed)",
        "src/run/predictions.py",
    ]


def test_the_commit_says_dirty_and_the_diff_holds_edits_and_new_files(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    write_text("one\n", tmp_path / "src/a.py")
    assert provenance.commit() == "no git" and provenance.diff() == ""
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    clean = provenance.commit()
    assert len(clean) >= 7 and "dirty" not in clean and provenance.diff() == ""
    write_text("two\n", tmp_path / "src/a.py")
    write_text("three\n", tmp_path / "src/b.py")
    assert provenance.commit() == clean + "-dirty"
    assert "-one\n+two" in provenance.diff() and "new file src/b.py\nthree" in provenance.diff()
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == "no git" and provenance.diff().startswith("") and provenance.diff() == ""


# ---- nothing finished is lost, nothing is done twice ----


def test_a_retired_fold_is_kept_beside_those_retired_before(tmp_path):
    places = [reuse.retire(make_run(tmp_path, "x").fold(0), "abc") for _ in range(3)]
    assert [place.relative_to(tmp_path).as_posix() for place in places] == [
        "x/old/abc/fold0",
        "x/old/abc-2/fold0",
        "x/old/abc-3/fold0",
    ]
    assert (
        all((place / "done.json").exists() for place in places)
        and not RunPaths(tmp_path / "x").fold(0).root.exists()
    )


def test_a_fold_of_the_same_recipe_is_taken_over_and_says_from_where(tmp_path):
    theirs, ours = make_run(tmp_path, "theirs").fold(0), new_run(tmp_path).fold(0)
    assert reuse.adopt_fold(new_run(tmp_path), 0, "abc", "demo") == "theirs"
    assert read_json(ours.done) == {**read_json(theirs.done), "from": "theirs"}
    assert sorted(os.listdir(ours.root)) == ["done.json", "log.jsonl", "model.safetensors", "valid.parquet"]
    assert ours.model.samefile(theirs.model) and not ours.log.samefile(theirs.log)
    write_text("trained again", ours.model)
    assert theirs.model.read_text() == "theirs model.safetensors"


def test_a_fold_is_copied_where_links_are_not_possible(tmp_path, monkeypatch):
    theirs, ours = make_run(tmp_path, "theirs").fold(0), new_run(tmp_path).fold(0)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    assert reuse.adopt_fold(new_run(tmp_path), 0, "abc", "demo") == "theirs"
    assert ours.model.read_bytes() == theirs.model.read_bytes() and not ours.model.samefile(theirs.model)


@pytest.mark.parametrize(
    "other", [{"comp": "mine"}, {"recipe": "def"}, {"code": {"src/run/predictions.py": "0"}}]
)
def test_a_fold_of_another_competition_recipe_or_code_is_not_taken_over(tmp_path, other):
    make_run(tmp_path, "theirs", **other)
    assert (
        reuse.adopt_fold(new_run(tmp_path), 0, "abc", "demo") == ""
        and not RunPaths(tmp_path / "new").fold(0).root.exists()
    )


def test_an_unfinished_fold_or_one_with_a_file_removed_is_not_taken_over(tmp_path):
    theirs = make_run(tmp_path, "theirs").fold(0)
    theirs.model.unlink()
    assert reuse.adopt_fold(new_run(tmp_path), 0, "abc", "demo") == ""
    assert reuse.adopt_fold(new_run(tmp_path), 1, "abc", "demo") == ""


def test_an_equal_split_is_taken_over_as_copies(tmp_path):
    theirs, ours = make_run(tmp_path, "theirs"), new_run(tmp_path)
    assert reuse.adopt_split(ours) == "theirs"
    assert (
        ours.folds.read_bytes() == theirs.folds.read_bytes()
        and ours.competition.exists()
        and not ours.folds.samefile(theirs.folds)
    )
    ours.folds.touch()
    make_run(tmp_path, "theirs", split={"folds": 3})
    assert reuse.adopt_split(new_run(tmp_path, "third")) == "new"
    shutil.rmtree(ours.root)
    assert reuse.adopt_split(new_run(tmp_path, "third")) == ""


def test_retire_moves_the_folds_whose_code_has_changed(tmp_path):
    paths = make_run(tmp_path, "x")
    write_json({"recipe": "abc", "code": {"src/run/predictions.py": "0"}}, paths.fold(1).done)
    done = subprocess.run(
        [sys.executable, "-m", "src", "retire", str(paths.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 0
        and "src/run/predictions.py changed; fold 1 is kept in" in done.stdout
        and "fold 0 was trained by this very code" in done.stdout
    )
    assert paths.finished() == [0] and (paths.old / "abc/fold1/done.json").exists()
