"""The audit as it is called, what it hands to the split, and competitions of other forms than the tiny one.
The faults it finds: test_audit_faults.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import layouts
import numpy as np
import pandas as pd
import pytest
from conftest import fast, open_run
from PIL import Image

from src.__main__ import run_commands
from src.competition import tables
from src.data.looks import SIDE, looks
from src.extras.audit.command import FULL, examine
from src.extras.audit.dataset import Dataset
from src.extras.audit.label_noise import confident
from src.run.errors import CheckFailed

ROOT = Path(__file__).resolve().parents[2]


def ready(bench, settings: str = "", name: str = "tiny-run"):
    paths = bench.configure(fast(settings), name)
    bench.stage("split", paths)
    return paths


def audit(paths) -> dict:
    return {finding.check: finding for finding in examine(Dataset(open_run(paths)), FULL)}


def call(*words: str) -> None:
    run_commands(["audit", "runs/tiny-run", *words])


def copied(bench) -> None:
    """Three copies of one image, and one copy of another."""
    for source, target in ((0, 3), (0, 6), (1, 4)):
        (bench.inputs / "train" / f"tr{target:03}.png").write_bytes(
            (bench.inputs / "train" / f"tr{source:03}.png").read_bytes()
        )


def test_json_is_all_that_goes_to_stdout(bench, monkeypatch, capsys):
    ready(bench)
    capsys.readouterr()
    call("--json")
    assert {finding["check"] for finding in json.loads(capsys.readouterr().out)} == set(FULL)


def test_a_failed_check_is_told_with_what_to_change(bench, monkeypatch, capsys):
    ready(bench)
    (bench.inputs / "train" / "tr004.png").write_bytes(b"")
    with pytest.raises(CheckFailed, match="CHECKS=0"):  # exit code 1
        call()
    assert "FAIL  zero-size" in (told := capsys.readouterr().out) and "bad_images=drop" in told


def test_the_quick_checks_know_what_an_audit_has_opened_and_write_nothing(bench, monkeypatch, capsys):
    ready(bench)
    call("--quick")
    assert "0 of 45 images are known" in capsys.readouterr().out
    call()
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    call("--quick")
    assert "45 of 45 images are known" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}


def test_a_second_audit_needs_neither_the_images_nor_the_network(bench, monkeypatch):
    ready(bench)
    call()
    code = "import sys; from src.__main__ import run_commands; run_commands(['audit', 'runs/tiny-run']); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.splitlines()[-1] == "False" and "opening" not in done.stderr, done.stderr


def test_the_split_keeps_together_what_the_audit_found(bench):
    copied(bench)
    first = ready(bench, "dedupe=none")
    assert audit(first)["copies-folds"].level == "FAIL"
    groups = tables.read_csv(first.root / "groups.csv")
    assert groups.to_dict("list") == {
        "id": ["tr000", "tr001", "tr003", "tr004", "tr006"],
        "group": ["tr000", "tr001", "tr000", "tr001", "tr000"],
    }
    # it finds the other run's groups.csv, and keeps a copy
    second = ready(bench, "dedupe=group", "grouped")
    fold = tables.read_folds(second.folds).set_index("id")["fold"]
    assert fold[["tr000", "tr003", "tr006"]].nunique() == 1 and fold[["tr001", "tr004"]].nunique() == 1
    assert "copies-folds" not in audit(second) and (second.root / "groups.csv").exists()


def test_a_groups_csv_beside_the_competition_links_the_groups_that_are_there(bench, capsys):
    table = pd.read_csv("inputs/tiny/train.csv", dtype=str).assign(patient=[f"p{n // 2}" for n in range(36)])
    table.to_csv("inputs/tiny/train.csv", index=False)
    pd.DataFrame(
        {"id": ["tr001", "tr002", "tr005", "tr030", "elsewhere"], "group": ["a", "a", "b", "b", "b"]}
    ).to_csv("inputs/tiny/groups.csv", index=False)
    paths = ready(bench, "dedupe=group")
    fold = tables.read_folds(paths.folds).set_index("id")
    assert (
        fold.loc[["tr001", "tr002"], "fold"].nunique() == 1
        and fold.loc[["tr005", "tr030"], "fold"].nunique() == 1
    )
    assert fold.loc[["tr001", "tr002"], "group"].nunique() == 1, (
        "the groups are in folds.csv, so that its promise is checked"
    )
    assert "joins 2 images" in capsys.readouterr().out
    (Path("inputs/tiny") / "groups.csv").write_text("id,group\ntr001,a\ntr001,b\n")
    with pytest.raises(ValueError, match="tr001 twice"):
        ready(bench, "dedupe=group")


def test_grouping_without_a_groups_csv_says_who_writes_one(bench, capsys):
    ready(bench, "dedupe=group")
    assert "`make audit` writes one" in capsys.readouterr().err


def test_lost_weights_are_told_once_and_stop_no_other_check(bench):
    paths = ready(bench, "pretrained=true")
    findings = list(examine(Dataset(open_run(paths)), FULL))
    assert len([finding for finding in findings if finding.seen.startswith("not checked")]) == 1
    assert {"classes", "copies", "images", "order", "drift"} <= {finding.check for finding in findings}


def test_a_network_that_can_not_be_cut_is_looked_through_as_a_whole(bench, monkeypatch):
    from src.model import classifier

    def refuse(*args, **how):
        raise classifier.CannotCut("not traceable")

    monkeypatch.setattr(classifier, "cut", refuse)
    assert "linear probe of 36 images" in audit(ready(bench))["learning-curve"].seen


@pytest.mark.parametrize(
    "layout, comp",
    [
        (layouts.plant_pathology_2021, "plants"),
        (layouts.rsna, "rsna-breast-cancer-detection"),
        (layouts.plant_pathology_2020, "leaves"),
        (layouts.melanoma, "siim-isic-melanoma-classification"),
        (layouts.pawpularity, "paws"),
        (layouts.folder_per_class, "folders"),
        (layouts.dog_breed, "dogs"),
    ],
)
def test_a_competition_of_another_form_fails_no_check(bench, layout, comp):
    """Several labels, several images per row, a column per class, a number, groups, labels in the images'
    names.
    """
    layout(bench.folder / "inputs" / comp)
    paths = bench.configure(fast("folds=2"), "other", comp=comp)
    bench.stage("split", paths)
    found = audit(paths)
    assert {finding.check for finding in found.values() if finding.level == "FAIL"} == set()
    classes = {"rare"} if comp == "paws" else set()  # a number has no classes
    assert set(FULL) - classes <= set(found) and not [
        finding for finding in found.values() if finding.seen.startswith("not checked")
    ]


def test_a_hash_of_looks_forgets_brightness_and_size_and_tells_pictures_apart():
    def code(image: Image.Image) -> np.ndarray:
        grey = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=float)
        return np.unpackbits(np.frombuffer(bytes.fromhex(looks(grey)), np.uint8))

    one, other = (
        Image.fromarray(np.random.default_rng(seed).integers(0, 200, (16, 16), dtype=np.uint8)).resize(
            (200, 200)
        )
        for seed in (0, 1)
    )
    assert (code(one) != code(one.point(lambda value: value + 40))).sum() < 8
    assert (code(one) != code(one.resize((90, 90)))).sum() < 20 and (code(one) != code(other)).sum() > 80


def test_a_label_is_doubted_where_another_class_is_as_sure_as_its_own_images_are():
    probability = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.45, 0.55]])
    # the third is wrong; the last is unsure, and not doubted
    label = np.array([0, 0, 0, 1, 0])
    found = confident(probability, label)
    assert found["row"].tolist() == [2] and found["suggested"].tolist() == [1]
