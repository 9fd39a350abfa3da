"""A run as a folder for a code competition without internet: a data set with all that predicting needs, and a
notebook that uses it.  runs/<name>/ -> bundles/<name>/{dataset,kernel}/

Run: python -m src bundle runs/<name>        make bundle RUN=name, then make rehearse RUN=name
"""

import hashlib
import shutil
from argparse import Namespace
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from src.competition import tables
from src.competition.stated import FILE
from src.config import Machine, as_dict
from src.data.extra_columns import ExtraColumns
from src.data.prediction_keys import check_shared_code, predicting_code
from src.data.run import Run
from src.extras.bundle import kernel, wheels
from src.model.classifier import build
from src.model.frozen import save_frozen
from src.run import provenance
from src.run.errors import warn
from src.run.files import read_json, write_json, write_text
from src.run.paths import RunPaths
from src.run.sources import ROOT

BUNDLES = Path("bundles")
VERSIONS = ("torch", "torchvision", "timm", "accelerate", "numpy", "pandas", "pillow")


def bundle(run: Run, folder: Path) -> dict:
    """Write folder/dataset and folder/kernel, whole or not at all; returns the manifest. Raises ValueError
    where the run has no models.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    dataset = part / "dataset"
    copy_code(dataset / "src")
    copy_run(run, RunPaths(dataset / "runs" / run.paths.name))
    shutil.copyfile(Path(__file__).with_name("install.py"), dataset / "install.py")
    brought, missing = wheels.download(dataset / "wheels")
    manifest = {
        "run": run.paths.name,
        "comp": run.settings.comp,
        "commit": provenance.commit(),
        "versions": {name: version(name) for name in VERSIONS},
        "requirements": wheels.requirements(),
        "pythons": wheels.PYTHONS,
        "wheels": brought,
        "without_wheel": missing,
        "files": hashes(dataset),
    }
    write_json(manifest, dataset / "manifest.json")
    name, comp = run.paths.name, run.settings.comp
    write_text(kernel.as_text(kernel.dataset_metadata(name)), dataset / "dataset-metadata.json")
    write_text(kernel.as_text(kernel.notebook(name)), part / "kernel" / "notebook.ipynb")
    metadata = kernel.as_text(kernel.kernel_metadata(name, comp))
    write_text(metadata, part / "kernel" / "kernel-metadata.json")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return manifest


def copy_code(target: Path) -> None:
    """src without the extras."""
    shutil.copytree(
        ROOT / "src", target, ignore=shutil.ignore_patterns("__pycache__", "extras"), dirs_exist_ok=True
    )


def copy_run(run: Run, to: RunPaths) -> None:
    """What src/infer.py reads of a run: settings without this machine's paths, facts, scores, models, and
    once what no model has learned. Raises ValueError where a model is missing, or was trained by other
    code.
    """
    paths = run.paths
    to.root.mkdir(parents=True)
    numbers = paths.predicting(run.config.refit)
    missing = [k for k in numbers if not paths.fold(k).done.exists()]
    if missing or not numbers:
        raise ValueError(f"{paths.root} has no models that predict: make submit RUN={paths.name} first")
    check_shared_code(paths, numbers, predicting_code(run))
    for k in numbers:
        to.fold(k).root.mkdir()
        shutil.copyfile(paths.fold(k).model, to.fold(k).model)
        shutil.copyfile(paths.fold(k).done, to.fold(k).done)
    for file in (paths.competition, paths.folds, paths.score, paths.tta, paths.oof, paths.oof_tta):
        if file.exists():
            shutil.copyfile(file, to.root / file.name)
    stated = next((folder / FILE for folder in (paths.root, run.inputs) if (folder / FILE).is_file()), None)
    if stated:
        shutil.copyfile(stated, to.root / FILE)
    # its weights come from frozen.safetensors
    config = replace(run.config, pretrained=False, weights="")
    machine = Machine(workers=4, precision=run.machine.precision, engine=run.machine.engine, wandb="off")
    settings = as_dict(replace(run.settings, config=config, machine=machine))
    write_json(settings | {"inputs": "inputs", "cache": "cache"}, to.config)
    save_model(run, to.frozen)


def save_model(run: Run, path: Path) -> None:
    table = tables.read_folds(run.paths.folds)
    extra = ExtraColumns.fit(table, run.competition.features, np.ones(len(table), bool))
    save_frozen(build(run.config, len(run.competition.outputs), extra.size, is_proven=True), path)


def hashes(folder: Path) -> dict[str, str]:
    """path below the folder -> SHA-256, 64 hex digits; without empty files, such as __init__.py, which may
    be lost where archives are unpacked and which Python does not need.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def command(run: Run, options: Namespace) -> None:
    if "ensemble" in read_json(run.paths.config):
        raise ValueError(f"{run.paths.root} is an ensemble: bundle its members one by one")
    folder = BUNDLES / run.paths.name
    manifest = bundle(run, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if missing := manifest["without_wheel"]:
        warn(
            f"pip could not bring wheels of {', '.join(missing)}: the notebook takes what Kaggle's image has,"
            " and stops where that is too old; with a network, make bundle once more"
        )
    name = run.paths.name
    print(f"{folder}: {len(manifest['files'])} files, {size:.1f} MB; next: make rehearse RUN={name}")
