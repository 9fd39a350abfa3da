"""make push-code, by Kaggle's real client against a server on this machine: see kaggle_server.py."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from kaggle_server import SLUG, signed_in

pytest.importorskip("kaggle")

from src.extras.kaggle.command import main

DATASET, KERNEL = "podium-squares-models", "podium-squares-submit"


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    with signed_in(tmp_path, monkeypatch) as state:
        yield state


@pytest.fixture
def bundle(kaggle) -> Path:
    """The files that make bundle writes, as far as Kaggle reads them."""
    folder = Path("bundles/squares")
    (folder / "dataset/src").mkdir(parents=True)
    (folder / "kernel").mkdir()
    (folder / "dataset/src/infer.py").write_text("1\n")
    (folder / "dataset/manifest.json").write_text("{}")
    metadata = {
        "title": DATASET.replace("-", " "),
        "id": f"USERNAME/{DATASET}",
        "licenses": [{"name": "other"}],
    }
    (folder / "dataset/dataset-metadata.json").write_text(json.dumps(metadata))
    cell = {"cell_type": "code", "source": ["print(1)\n", "print(2)"], "outputs": [], "metadata": {}}
    (folder / "kernel/notebook.ipynb").write_text(json.dumps({"cells": [cell], "nbformat": 4}))
    metadata = {
        "id": f"USERNAME/{KERNEL}",
        "title": KERNEL.replace("-", " "),
        "code_file": "notebook.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [f"USERNAME/{DATASET}"],
        "competition_sources": [SLUG],
    }
    (folder / "kernel/kernel-metadata.json").write_text(json.dumps(metadata))
    return folder


def test_a_bundle_becomes_a_private_data_set_and_a_notebook_without_internet(kaggle, bundle, capsys):
    kaggle.statuses = ["READY"] * 2 + ["no data set", "BLOBS_RECEIVED", "BLOBS_DECOMPRESSED"]
    main(["push-code", "runs/squares"])
    (version,) = kaggle.datasets[f"someone/{DATASET}"]
    assert version["manifest.json"] == b"{}" and set(version) == {"manifest.json", "src.zip"}
    with zipfile.ZipFile(io.BytesIO(version["src.zip"])) as archive:
        assert archive.read("infer.py") == b"1\n"
    (notebook,) = kaggle.notebooks
    assert notebook.slug == f"someone/{KERNEL}" and notebook.dataset_data_sources == [f"someone/{DATASET}"]
    assert notebook.is_private and notebook.enable_internet is False and notebook.enable_gpu
    assert notebook.competition_data_sources == [SLUG]
    assert json.loads(notebook.text)["cells"][0]["source"] == "print(1)\nprint(2)"
    assert f"https://www.kaggle.com/code/someone/{KERNEL}, version 1" in capsys.readouterr().out


def test_the_same_command_again_makes_new_versions(kaggle, bundle, capsys):
    for _ in range(2):
        main(["push-code", "squares"])
    assert len(kaggle.datasets[f"someone/{DATASET}"]) == 2 == len(kaggle.notebooks)
    assert "a new version" in capsys.readouterr().out


def test_what_kaggle_does_not_take_is_told(kaggle, bundle):
    kaggle.error = "Invalid dataset specification"
    with pytest.raises(ValueError, match="Kaggle does not take the data set: Invalid dataset specification"):
        main(["push-code", "squares"])
    kaggle.error = ""
    kaggle.statuses = ["READY"] * 2 + ["FAILED"]
    with pytest.raises(
        ValueError, match=rf"someone/{DATASET} is not ready: see https://www.kaggle.com/datasets/"
    ):
        main(["push-code", "squares"])
    kaggle.datasets[f"someone/{DATASET}"] = kaggle.datasets.pop(f"someone/{DATASET}")
    metadata = bundle / "kernel/kernel-metadata.json"
    metadata.write_text(metadata.read_text().replace(f"someone/{DATASET}", "someone/other-models"))
    with pytest.raises(ValueError, match="Kaggle does not take the notebook: someone/other-models"):
        main(["push-code", "squares"])


def test_a_run_without_a_whole_bundle_is_refused_before_anything_is_sent(kaggle, bundle):
    shutil.rmtree(bundle / "kernel")
    with pytest.raises(
        ValueError, match="bundles/squares is no whole bundle, which make bundle RUN=squares writes"
    ):
        main(["push-code", "squares"])
    assert not kaggle.calls
