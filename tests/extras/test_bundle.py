"""A bundle holds all that predicting needs, and gives the local bytes where nothing else is."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import timm
from conftest import FAST, ROOT, fast, make_competition, open_run

from src.__main__ import main
from src.extras import rehearse
from src.extras.bundle import command, kernel, wheels
from src.model import weights
from src.run.errors import CheckFailed
from src.run.files import read_json, write_json

BUNDLE = Path("bundles/tiny-run")
DATASET = BUNDLE / "dataset"


@pytest.fixture
def without_pip(monkeypatch) -> None:
    """No test may wait for a network: the wheels are not to be had."""
    monkeypatch.setattr(wheels, "download_one", lambda wheel, python, folder: False)


def installer(folder: Path):
    """The bundle's install.py as a module."""
    spec = importlib.util.spec_from_file_location("install", folder / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "settings", ["pretrained=true", "pretrained=true trainable=all", "head=mlp tta=hflip"]
)
def test_a_bundle_gives_the_local_bytes_where_nothing_else_is(
    bench, without_pip, monkeypatch, read_only, capsys, settings
):
    weights.save(timm.create_model("test_resnet"), Path("weights/test_resnet"))
    make_competition(bench.inputs, num_test=20)
    paths = bench.run(fast(f"{settings} epochs=1"))
    assert main(["bundle", "runs/tiny-run"]) == 0
    csv = Path("submissions/tiny-run.csv").read_bytes()
    for folder in ("weights", "runs", "submissions", bench.inputs / "train"):
        shutil.rmtree(folder)
    shutil.move(DATASET, "elsewhere")
    for path in Path("elsewhere").rglob("__init__.py"):
        if not path.stat().st_size:
            path.unlink()  # an unpacker may leave empty files out
    installer(Path("elsewhere")).main()
    read_only(Path("elsewhere"))
    read_only(Path("inputs"))
    inputs, out = Path("inputs").resolve(), Path("working/submission.csv").resolve()
    monkeypatch.chdir("elsewhere")
    assert main(["predict", "runs/tiny-run", "--inputs", str(inputs), "--out", str(out)]) == 0
    assert out.read_bytes() == csv
    assert (
        "bundle of tiny-run:" in capsys.readouterr().out
        and not (Path("runs") / paths.name / "test.parquet").exists()
    )


def test_the_manifest_tells_every_file_and_no_path_of_this_machine(bench, without_pip, capsys):
    bench.run()
    assert main(["bundle", "runs/tiny-run"]) == 0
    assert "warning: pip could not bring wheels of accelerate, " in capsys.readouterr().err
    manifest = read_json(DATASET / "manifest.json")
    paths = [path for path in DATASET.rglob("*") if path.is_file() and path.stat().st_size]
    files = {path.relative_to(DATASET).as_posix() for path in paths}
    assert {*manifest["files"]} == files - {"manifest.json", "dataset-metadata.json"}
    assert "src/predict_chunks.py" in files and not any(name.startswith("src/extras") for name in files)
    for path in DATASET.rglob("*.json"):
        assert str(bench.folder) not in path.read_text(), path
    module = installer(DATASET)
    assert module.damaged(manifest) == []
    (DATASET / "runs/tiny-run/fold1/model.safetensors").write_bytes(b"")
    (DATASET / "src/config.py").unlink()
    assert module.damaged(manifest) == ["runs/tiny-run/fold1/model.safetensors", "src/config.py"]


def test_what_an_image_lacks_is_installed_from_the_wheels_without_a_network(tmp_path):
    shutil.copyfile(ROOT / "src/extras/bundle/install.py", tmp_path / "install.py")
    (tmp_path / "wheels").mkdir()
    info = "podium_stub-1.5.dist-info"
    with zipfile.ZipFile(tmp_path / "wheels/podium_stub-1.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr("podium_stub.py", "answer = 42\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: podium-stub\nVersion: 1.5\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    manifest = {"run": "x", "files": {}, "requirements": ["numpy>=1.26", "podium-stub>=1"], "wheels": {}}

    def install(**changes) -> subprocess.CompletedProcess:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | changes))
        env = os.environ | {"PIP_TARGET": str(tmp_path / "site"), "PYTHONPATH": str(tmp_path / "site")}
        command = [sys.executable, "install.py"]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    done = install()
    assert (
        done.returncode == 1
        and "error: podium-stub is missing or too old here, and the bundle has" in done.stderr
    )
    done = install(wheels={"podium-stub": "1.5"})
    assert done.returncode == 0 and "installing podium-stub from the bundle's wheels" in done.stdout, (
        done.stderr
    )
    assert (tmp_path / "site/podium_stub.py").exists()
    assert "installing" not in install(wheels={"podium-stub": "1.5"}).stdout, "it is there now"
    assert "error: podium-stub" in install(requirements=["podium-stub>=2"]).stderr, "too old"


def test_predicting_needs_neither_the_optimizer_nor_the_tracker(tmp_path):
    code = (
        "import sys; sys.modules.update(adamp=None, wandb=None)\n"
        "import src.infer, src.predict_chunks, src.training.loop"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("run", ["a", "Clothing_HEAD-lr=1e-3", "x" * 120])
def test_notebook_and_metadata_have_the_shapes_that_kaggle_takes(run):
    notebook = nbformat.from_dict(kernel.notebook(run))
    nbformat.validate(notebook)
    dataset, code = kernel.dataset_metadata(run), kernel.kernel_metadata(run, "some-competition")
    for metadata in (dataset, code):
        slug = metadata["id"].partition("/")[2]
        assert 6 <= len(slug) <= 50 and metadata["title"].replace(" ", "-") == slug
        assert all(letter.isalnum() or letter == "-" for letter in slug) and slug.islower()
    assert code["enable_internet"] is False and code["competition_sources"] == ["some-competition"]
    assert code["dataset_sources"] == [dataset["id"]] and len(dataset["licenses"]) == 1


def test_a_bundle_takes_the_finished_run_alone_and_is_written_whole(bench, without_pip, monkeypatch, capsys):
    paths = bench.configure(FAST)
    bench.stage("split", paths)
    assert main(["bundle", "runs/tiny-run"]) == 2
    assert "has no models that predict: make submit RUN=tiny-run first" in capsys.readouterr().err
    bench.run()
    assert main(["rehearse", "runs/tiny-run"]) == 2
    assert "notebook.ipynb is not there: make bundle RUN=tiny-run first" in capsys.readouterr().err
    command.bundle(open_run(paths), BUNDLE)
    before = (DATASET / "manifest.json").read_bytes()

    def fail(*words):
        raise OSError("the disk is full")

    monkeypatch.setattr(command, "save_model", fail)
    with pytest.raises(OSError, match="the disk is full"):
        command.bundle(open_run(paths), BUNDLE)
    assert (DATASET / "manifest.json").read_bytes() == before, "the bundle of before is still there"
    done = read_json(paths.fold(1).done)
    done["code"]["src/data/images.py"] |= {"": "0", "read_square": "0"}
    write_json(done, paths.fold(1).done)
    with pytest.raises(ValueError, match="fold 1 of runs/tiny-run was trained before"):
        command.bundle(open_run(paths), BUNDLE)


@pytest.mark.slow  # six processes that import torch
@pytest.mark.parametrize("has_namespaces", [True, False])
def test_the_rehearsal_plays_the_notebook_without_a_network(
    bench, without_pip, monkeypatch, capfd, has_namespaces
):
    bench.run()
    assert main(["bundle", "runs/tiny-run"]) == 0
    if not has_namespaces:
        monkeypatch.setattr(rehearse, "namespaces", lambda inputs: [])
    elif not rehearse.namespaces(Path("inputs")):
        pytest.skip("this system gives no namespaces")
    notebook = json.loads((BUNDLE / "kernel/notebook.ipynb").read_text())
    probe = "import socket\ntry:\n    socket.create_connection(('1.1.1.1', 443), timeout=1)\nexcept OSError as error:\n    print('no network:', error)"
    notebook["cells"].append(kernel.cell("code", probe, 9))
    (BUNDLE / "kernel/notebook.ipynb").write_text(json.dumps(notebook))
    assert main(["rehearse", "runs/tiny-run"]) == 0
    said = capfd.readouterr()
    assert (
        said.out.count("no network: ") == 2
        and "the csv equals submissions/tiny-run.csv, byte for byte" in said.out
    )
    assert "rehearse 2/2, 5 rows, one image broken: a checked csv, equal to the local rows" in said.out
    csv = pd.read_csv("submissions/tiny-run.csv")
    csv.assign(colour=csv["colour"].to_numpy()[::-1]).to_csv("submissions/tiny-run.csv", index=False)
    with pytest.raises(CheckFailed, match="the notebook's csv differs from"):
        rehearse.rehearse(open_run(bench.configure(FAST)), 1.0)
