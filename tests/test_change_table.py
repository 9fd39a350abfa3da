"""The change table of the README: each change is made in one place of a copy of the kit, then one run uses them
all.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fault_table
from conftest import FAST, make_competition

ROOT = Path(__file__).resolve().parent.parent

# file -> what a competitor adds at its end
CHANGES = {
    "src/training/losses.py": """
def mine(logits, targets):
    print("used: loss")
    return focal(logits, targets, gamma=1.0)

LOSSES["mine"] = mine
""",
    "src/model/heads.py": """
def mine(feature_shape, num_outputs, config, num_extra=0):
    print("used: head")
    return mlp(feature_shape, num_outputs, config, num_extra, width=8)

HEADS["mine"] = mine
""",
    "src/model/backbone.py": """
def mine(config):
    print("used: backbone")
    return nn.Sequential(convolution(3, 8, 3, 2), convolution(8, 16, 3, 2), nn.AdaptiveAvgPool2d(1))

BACKBONES["mine"] = mine
""",
    "src/data/augment.py": """
def mine(size, flips):
    print("used: augment")
    return v2.Compose(mirrors(flips))

AUGMENTS["mine"] = mine
VIEWS["turned"] = lambda image: (print("used: view"), image.rot90(2, (-2, -1)))[1]
""",
    "src/data/batches.py": """
def mine(table, epoch, rng):
    print("used: sampler")
    return rng.permutation(len(table))[:20]

SAMPLERS["mine"] = mine
""",
    "src/data/folds.py": """
def mine(table, config, labels):
    print("used: folds")
    return np.arange(len(table)) // 3 % config.folds

SCHEMES["mine"] = mine
""",
    "src/competitions.py": """
def score(solution, submission):
    print("used: metric")
    return float((solution.iloc[:, 0] == submission.iloc[:, 0]).mean())

def read_mine(record):
    print("used: read_image")
    from PIL import Image
    return np.asarray(Image.open(record["file"]).convert("RGB"))

COMPETITIONS["tiny"] = lambda: Competition(metric=score, read_image=read_mine)
""",
    "src/experiments.py": """
def mine():
    return replace(baseline(), backbone="mine", head="mine", loss="mine", augment="mine", sampler="mine", fold_scheme="mine", tta=("turned",), trainable="all",
                   pretrained=False, image_size=32, epochs=1, folds=3, batch_size=8)

EXPERIMENTS["mine"] = mine
""",
}


def test_each_change_is_one_edit_in_one_file(tmp_path):
    make_competition(tmp_path / "inputs" / "tiny")
    shutil.copytree(ROOT / "src", tmp_path / "src")
    for file, text in CHANGES.items():
        with (tmp_path / file).open("a") as source:
            source.write(text)
    environment = {k: v for k, v in os.environ.items() if k not in ("RUN", "FOLD", "SET", "MAKEFLAGS")}
    environment |= {
        "COMP": "tiny",
        "EXP": "mine",
        "MACHINE": "wandb=off workers=0 device=cpu",
        "INPUTS": "inputs",
        "CACHE": "cache",
    }
    printed = ""
    for stage in ("configure", "split", "train", "predict", "submit"):
        done = subprocess.run(
            [sys.executable, "-m", "src", stage, "runs/x"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{stage}: {done.stderr}"
        printed += done.stdout
    used = {line.removeprefix("used: ") for line in printed.splitlines() if line.startswith("used: ")}
    assert used == {"loss", "head", "backbone", "augment", "view", "sampler", "folds", "metric", "read_image"}
    assert "OOF score" in printed, "the metric goes by the pasted function's name"


def test_a_setting_is_changed_on_the_command_line_alone(bench):
    assert (
        bench.configure(FAST).config.read_text()
        != bench.configure(FAST + " ema=0.9", "other").config.read_text()
    )


def test_the_table_of_planted_faults_is_todays():
    text = fault_table.DOCUMENT.read_text(encoding="utf-8")
    assert fault_table.document(text) == text, "run python -m tests.fault_table --write"
    assert f"{len(fault_table.table().splitlines()) - 2} planted" in text
