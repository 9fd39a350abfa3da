"""The notebook of a code competition, and what Kaggle wants to know of it and of the data set.

The shapes are those of github.com/Kaggle/kaggle-api/wiki: "Dataset Metadata", "Kernel Metadata".
"""

import json
import re

OWNER = "USERNAME"  # make push-code puts the name of the account here
ACCELERATOR = "NvidiaTeslaT4"  # today's torch has no kernels for the P100, which is Kaggle's default
LONGEST_TITLE = 50
HOURS = 8.5  # of the nine that a code competition usually gives

TEXT = """# {run}

Predicts the hidden test set by the models of the data set `{slug}`, without internet, and writes
`submission.csv`. Made by `make bundle RUN={run}`."""
WHERE = """import os, subprocess, sys
from pathlib import Path

# the data set and the competition lie below INPUT; before HOURS are over, views, then models are left out
INPUT = Path(os.environ.get("PODIUM_INPUT", "/kaggle/input"))
WORKING = Path(os.environ.get("PODIUM_WORKING", "/kaggle/working"))
HOURS = os.environ.get("PODIUM_HOURS", "{hours}")
places = [place for depth in ("*", "*/*", "*/*/*") for place in INPUT.glob(f"{{depth}}/manifest.json")]
bundle = next(place.parent for place in places if (place.parent / "runs" / "{run}").is_dir())
print(bundle)"""
INSTALL = """# are all files whole? and what this image lacks, from the bundle's wheels
subprocess.run([sys.executable, "install.py"], cwd=bundle, check=True)"""
PREDICT = """csv = WORKING / "submission.csv"
command = f"-m src predict runs/{run} --inputs {{INPUT}} --out {{csv}} --hours {{HOURS}}"
subprocess.run([sys.executable, *command.split()], cwd=bundle, check=True)"""


def slug_of(run: str, ending: str) -> str:
    """podium-<run>-<ending> in the letters that Kaggle takes, 6 to 50 of them."""
    name = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    return f"podium-{name[: LONGEST_TITLE - len(ending) - 8].strip('-')}-{ending}"


def title_of(slug: str) -> str:
    """A title from which Kaggle makes this very slug."""
    return slug.replace("-", " ")


def notebook(run: str) -> dict:
    """Of nbformat 4.5: a cell of text and three of code."""
    words = {"run": run, "slug": slug_of(run, "models"), "hours": HOURS}
    cells = [cell("markdown", TEXT.format(**words), 0)]
    for number, code in enumerate((WHERE, INSTALL, PREDICT), 1):
        cells.append(cell("code", code.format(**words), number))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def cell(kind: str, text: str, number: int) -> dict:
    lines = text.splitlines(keepends=True)
    base = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines}
    return base | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def dataset_metadata(run: str) -> dict:
    slug = slug_of(run, "models")
    return {"title": title_of(slug), "id": f"{OWNER}/{slug}", "licenses": [{"name": "other"}]}


def kernel_metadata(run: str, comp: str) -> dict:
    slug = slug_of(run, "submit")
    return {
        "id": f"{OWNER}/{slug}",
        "title": title_of(slug),
        "code_file": "notebook.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "machine_shape": ACCELERATOR,
        "enable_internet": False,
        "dataset_sources": [f"{OWNER}/{slug_of(run, 'models')}"],
        "competition_sources": [comp],
        "kernel_sources": [],
        "model_sources": [],
    }


def as_text(content: dict) -> str:
    return json.dumps(content, indent=1) + "\n"
