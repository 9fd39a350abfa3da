"""Imports go one way, and the extras can be deleted."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
CORE = {
    "code",
    "recipe",
    "seeds",
    "competitions",
    "experiments",
    "config",
    "runs",
    "predictions",
    "tasks",
    "paired",
    "decode",
    "prepare",
    "job",
    "fold",
    "split",
    "train",
    "collect",
    "predict",
    "submit",
    "layers",
    "fetch",
    "state",
    "variables",
}
STAGES = {"split", "train", "predict", "submit", "collect", "job", "fold", "prepare", "layers", "fetch"}
PARTS = {"data", "model", "fit"}


def imports_of(file: Path) -> set[str]:
    """The modules of src that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "src":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("src.")}
    return found


def type_only(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and inner.module and inner.module.startswith("src."):
                    found.add(inner.module.split(".")[1])
    return found


@pytest.mark.parametrize(
    "file", sorted(p.relative_to(SRC).as_posix() for part in PARTS for p in (SRC / part).glob("*.py"))
)
def test_parts_import_neither_stages_nor_each_other(file):
    part = file.split("/")[0]
    allowed = {"config", "runs", "predictions", "seeds", part}
    assert imports_of(SRC / file) - type_only(SRC / file) <= allowed


def test_what_stages_share_imports_no_stage():
    for name in ("competitions", "experiments", "config", "runs", "predictions", "tasks", "paired", "decode"):
        assert not imports_of(SRC / f"{name}.py") & STAGES, name


def test_config_is_light():
    """make calls it each time: pydantic and the standard library only."""
    code = "import sys, src.config, src.experiments; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'pandas', 'numpy', 'timm', 'sklearn', 'wandb'}))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=SRC.parent, capture_output=True, text=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize("stage", ["split", "submit"])
def test_stages_that_need_no_network_of_neurons_do_not_import_torch(stage):
    code = f"import sys, src.{stage}; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=SRC.parent, capture_output=True, text=True
        ).stdout.strip()
        == "False"
    )


def test_the_core_runs_without_the_extras(tmp_path):
    shutil.copytree(
        SRC,
        tmp_path / "src",
        ignore=lambda folder, names: [
            n for n in names if Path(folder) == SRC and Path(n).stem not in CORE | PARTS | {"__init__"}
        ],
    )
    modules = [
        f"src.{p.relative_to(tmp_path / 'src').with_suffix('').as_posix().replace('/', '.')}"
        for p in (tmp_path / "src").rglob("*.py")
        if p.stem != "__init__"
    ]
    code = "import importlib\n" + "\n".join(f"importlib.import_module({module!r})" for module in modules)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
