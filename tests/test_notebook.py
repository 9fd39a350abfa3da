"""The notebook for a first competition: its two files are one, and it runs from images to csv."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest
from conftest import FAST, make_competition
from nbclient import NotebookClient
from test_docs import TARGETS

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK, TWIN = ROOT / "docs" / "first_competition.ipynb", ROOT / "docs" / "first_competition.py"


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell["cell_type"], cell["source"]) for cell in notebook["cells"]]


def test_the_notebook_and_its_twin_have_the_same_cells():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert cells(notebook) == cells(jupytext.read(TWIN)), (
        "run: cd docs && jupytext --to ipynb first_competition.py"
    )
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "outputs are not committed"
    assert ast.parse(TWIN.read_text(encoding="utf-8"))


def test_it_explains_the_words_that_a_beginner_meets():
    text = "\n".join(source for kind, source in cells(jupytext.read(TWIN)) if kind == "markdown")
    for word in (
        "epoch",
        "requires_grad",
        "Head or tail",
        "Flatten",
        "AdamP",
        "fold",
        "leak",
        "trunk",
        "spread",
    ):
        assert word in text, word


def test_its_commands_are_targets_of_the_makefile():
    text = "\n".join(source for kind, source in cells(jupytext.read(TWIN)) if kind == "markdown")
    targets = re.findall(r"`make ([a-z-]+)", text)
    assert len(targets) > 6 and set(targets) <= TARGETS


def text_of(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell["outputs"])


@pytest.mark.slow  # a kernel of its own, and two runs
def test_it_runs_from_the_images_to_the_csv(tmp_path, monkeypatch):
    make_competition(tmp_path / "inputs" / "tiny")
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "docs").mkdir()
    for name, value in {"COMP": "tiny", "EXP": "baseline", "SET": FAST}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "docs")}}).execute()
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    printed = "\n".join(map(text_of, code))
    pictures = [o for cell in code for o in cell["outputs"] if "image/png" in o.get("data", {})]
    assert len(pictures) == 2 and "OOF macro_f1: " in printed and "36 groups, each in one fold" in printed
    adam, adamp = (
        float(part.split()[-1]) for part in printed.split("300 steps: Adam")[1].split("\n")[0].split(",")
    )
    assert adamp < adam / 1.5, "AdamP keeps the weight short"
    csv = pd.read_csv(tmp_path / "submissions" / "first-competition.csv")
    assert len(csv) == 9 and (tmp_path / "runs" / "first-competition-head" / "score.json").exists()
