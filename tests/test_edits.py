"""Edits of source, data and settings on a finished run: what is made anew, what is taken over, what is said.
Slow.

By hand, as a table: PYTHONPATH=. python tests/test_edits.py
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from conftest import make_competition

ROOT = Path(__file__).resolve().parents[1]
NETS = """
from torch import nn

from src.blocks import scaled


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1))
        self.high = nn.Linear(64, 8)

    def forward(self, x):
        return self.high(scaled(self.low(x)).mean((2, 3))).relu()
"""
PIECES = {
    "src/nets.py": NETS,
    "src/blocks.py": "def scaled(x):\n    return 1.5 * x\n\n\ndef unused(x):\n    return x\n",
    "src/readers.py": """
import numpy as np
from PIL import Image


def read(record):
    return bright(np.asarray(Image.open(record["file"]).convert("RGB")))


def bright(pixels):
    return pixels // 2
""",
    "src/bends.py": """
from torchvision.transforms import v2


def bent(size, flips):
    return v2.Compose([v2.RandomAffine(degrees=degrees())])


def degrees():
    return 5
""",
}
ADDED = {  # file: (what stands there, what takes its place)
    "src/model/backbone.py": [
        (
            "BACKBONES = {",
            "from src.nets import Net\n\n\ndef own(config):\n    return Net()\n\n\nBACKBONES = {'own': own, ",
        ),
    ],
    "src/data/augment.py": [
        (
            'AUGMENTS = {"none": none',
            "from src.bends import bent\n\nAUGMENTS = {'bent': bent, \"none\": none",
        ),
    ],
    "src/competitions.py": [
        (
            "COMPETITIONS: dict[str, Callable[[], Competition]] = {",
            "def tiny() -> Competition:\n    from src.readers import read\n\n    return Competition(features=('weight',), read_image=read)"
            "\n\n\nCOMPETITIONS: dict[str, Callable[[], Competition]] = {'tiny': tiny, ",
        )
    ],
    "src/experiments.py": [
        (
            "EXPERIMENTS = {",
            "def own() -> Config:\n    return Config(backbone='own', pretrained=False, trainable='high.*', image_size=16, epochs=2,\n"
            "                  folds=2, batch_size=8, augment='bent', views=2, lr=0.01, body_lr=0.01, tta=('hflip',))\n\n\n"
            "EXPERIMENTS = {'own': own} | {",
        )
    ],
}


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


class Kit:
    """A fork with an own network, reader and augmentation, each with a helper in another file, and a tiny
    competition.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self) -> "Kit":
        shutil.copytree(ROOT / "src", self.root / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for path in (ROOT / "Makefile", ROOT / "constraints.txt", *ROOT.glob("requirements*.txt")):
            shutil.copy(path, self.root)
        for name, text in PIECES.items():
            (self.root / name).write_text(text)
        for name, changes in ADDED.items():
            for old, new in changes:
                replace_in(self.root / name, old, new)
        folder = make_competition(self.root / "inputs/tiny", num_train=24, num_test=6)
        rng = np.random.default_rng(0)
        train, sample = (pd.read_csv(folder / name) for name in ("train.csv", "sample_submission.csv"))
        train.assign(weight=rng.normal(size=len(train)).round(3)).to_csv(folder / "train.csv", index=False)
        test = pd.DataFrame({"id": sample["id"], "weight": rng.normal(size=len(sample)).round(3)})
        test.to_csv(folder / "test.csv", index=False)
        self.make("submit")
        return self

    def copy(self, root: Path) -> "Kit":
        shutil.copytree(self.root, root, symlinks=True)
        return Kit(root)

    def make(self, goal: str, *words: str, **environ: str) -> str:
        clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        machine = "MACHINE=wandb=off workers=0 device=cpu engine=torch sanity=false"
        command = [
            "make",
            goal,
            "COMP=tiny",
            "EXP=own",
            "RUN=x",
            "CHECKS=0",
            f"PY={sys.executable}",
            machine,
            *words,
        ]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=clean | {"OMP_NUM_THREADS": "1"} | environ,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        output = done.stdout + done.stderr
        assert "Traceback" not in output, output
        return output

    def products(self) -> dict[str, str]:
        """What there is of each kind: a hash of the files' names, inodes (a file that is made anew has
        another) and, but in the cache, times.
        """
        kinds = {
            "decoded": "runs/.cache/tiny/images-*.npy", "trunk": "runs/.cache/tiny/trunk-*.npy", "split": "runs/x/folds.csv",
            "models": "runs/x/fold*/model.safetensors", "predicted": "runs/x/fold*/test.parquet", "score": "runs/x/score.json",
            "csv": "submissions/x.csv",
        }  # fmt: skip
        found = {}
        for kind, pattern in kinds.items():
            is_cached = ".cache" in pattern  # where the time is that of the last use
            files = [(path.name, path.stat()) for path in sorted(self.root.glob(pattern))]
            facts = [(name, stat.st_ino, 0 if is_cached else stat.st_mtime_ns) for name, stat in files]
            found[kind] = hashlib.sha256(repr(facts).encode()).hexdigest()
        return found


class Edit(NamedTuple):
    what: str
    act: Callable[[Kit], object]
    anew: str  # the kinds of products that make submit then makes, in alphabetical order
    says: str  # a part of what it prints
    retrain: str = ""  # the kinds that make retrain then makes, where that is tried


def source(name: str, old: str, new: str) -> Callable[[Kit], None]:
    return lambda kit: replace_in(kit.root / "src" / name, old, new)


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Kit], None]:
    def act(kit: Kit) -> None:
        path = kit.root / "inputs/tiny" / name
        change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)

    return act


def change_image(name: str) -> Callable[[Kit], None]:
    def act(kit: Kit) -> None:
        from PIL import Image

        path = kit.root / "inputs/tiny" / name
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)

    return act


def setting(old: str, new: str) -> Callable[[Kit], None]:
    return lambda kit: replace_in(kit.root / "src/experiments.py", old, new)


def set_cell(frame: pd.DataFrame, row: int, column: str, value: str) -> pd.DataFrame:
    frame.loc[row, column] = value
    return frame


NOTHING = ""
TRAINING = "csv models predicted score"
EDITS = [
    Edit("nothing", lambda kit: None, NOTHING, "nothing to do"),
    Edit("a comment in losses.py", source("training/losses.py", "def focal", "# a remark\ndef focal"), NOTHING, "nothing to do"),
    Edit("a loss that is not used", source("training/losses.py", "(1 - log_p.exp())", "(2 - log_p.exp())"), NOTHING, "nothing to do"),
    Edit("a message of the training", source("prepare.py", 'f"learning: {', 'f"these learn: {'), NOTHING, "nothing to do"),
    Edit("the loss that is used", source("training/losses.py", "-(targets * logits.log", "-(2 * targets * logits.log"), NOTHING,
         "code changed since this run was trained: src/training/losses.py: cross_entropy; nothing is re-run: make retrain acts on it", TRAINING),
    Edit("a helper of the own network", source("blocks.py", "1.5 * x", "0 * x"), NOTHING,
         "src/blocks.py: scaled; nothing is re-run", TRAINING + " trunk"),
    Edit("a function beside that helper", source("blocks.py", "return x\n", "return -x\n"), NOTHING, "nothing to do"),
    Edit("a helper of the own augmentation", source("bends.py", "return 5", "return 25"), NOTHING,
         "src/bends.py: degrees; nothing is re-run", TRAINING + " trunk"),
    Edit("a helper of the own reader", source("readers.py", "pixels // 2", "0 * pixels"), "csv score split",
         "code changed since this run was trained: src/readers.py: bright; nothing is re-run", "csv decoded models predicted score trunk"),
    Edit("how every image is resized", source("data/images.py", "Resampling.BICUBIC", "Resampling.NEAREST"), NOTHING,
         "src/data/images.py: squash; nothing is re-run", "csv decoded models predicted score trunk"),
    Edit("the fold scheme", source("data/folds.py", "default_rng(config.fold_seed)", "default_rng(config.fold_seed + 1)"),
         TRAINING + " split", "trained with other folds, labels or groups; kept in"),
    Edit("the metric", source("competition/metrics.py", "np.mean(np.where(size > 0", "np.mean(np.where(size >= 0"), NOTHING,
         "code changed since this run was scored and submitted: src/competition/metrics.py: f_beta; make submit RUN=x FORCE=1 does that again"),
    Edit("a new setting in config.py", source("config.py", "    backbone: Word",
         "    brand_new: int = 0\n    backbone: Word"), "csv score", "folds  0:"),
    Edit("lr in the experiment", setting("lr=0.01, body_lr", "lr=0.02, body_lr"), TRAINING, "fold 0 was trained with lr=0.01, now 0.02; kept in"),
    Edit("tta in the experiment", setting("tta=('hflip',)", "tta=('hflip', 'vflip')"), "csv predicted score trunk", "views plain, hflip, vflip"),
    Edit("one feature in train.csv", table("train.csv", lambda t: set_cell(t, 3, "weight", "9.5")), "csv decoded models predicted score split trunk",
         "trained with other values of the extra columns"),
    Edit("one feature in test.csv", table("test.csv", lambda t: set_cell(t, 2, "weight", "9.5")), "csv decoded predicted score split trunk", "predicted 6 test"),
    Edit("one label", table("train.csv", lambda t: set_cell(t, 3, "colour", "red")), TRAINING + " split", "other folds, labels or groups"),
    Edit("the order of rows in train.csv", table("train.csv", lambda t: t.iloc[::-1]), "csv score split", "folds  0:"),
    Edit("the sample's order", table("sample_submission.csv", lambda t: t.iloc[::-1]), "csv score split", "submissions/x.csv"),
    Edit("a training image, in place", change_image("train/tr003.png"), "csv decoded models predicted score split trunk", "other contents of the training images"),
    Edit("a test image, in place", change_image("test/te003.png"), "csv decoded predicted score trunk", "predicted 6 test images"),
    Edit("a training image's time alone", lambda kit: os.utime(kit.root / "inputs/tiny/train/tr003.png"), "csv score split", "folds  0:"),
    Edit("a table that is not used", lambda kit: (kit.root / "inputs/tiny/notes.csv").write_text("a,b\n1,2\n"), "csv score split", "folds  0:"),
]  # fmt: skip


def changed(before: dict[str, str], after: dict[str, str]) -> str:
    return " ".join(sorted(kind for kind in after if before[kind] != after[kind]))


def try_edit(edit: Edit, kit: Kit) -> tuple[str, str, str]:
    """(what make submit made, what it said, what make retrain made after it)"""
    before = kit.products()
    edit.act(kit)
    output = kit.make("submit")
    after, again = kit.products(), ""
    if edit.retrain:
        kit.make("retrain")
        kit.make("submit")
        again = changed(after, kit.products())
    return changed(before, after), output, again


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit")).build()


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS, ids=[edit.what for edit in EDITS])
def test_an_edit_makes_anew_what_it_can_touch_and_nothing_else(edit, finished, tmp_path):
    anew, output, again = try_edit(edit, finished.copy(tmp_path / "kit"))
    assert (anew, again) == (edit.anew, edit.retrain), output
    assert edit.says in output, output


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        base = Kit(Path(folder) / "base").build()
        print(
            "| edit | `make submit` makes anew | `make retrain` then makes | a line that it prints |\n|---|---|---|---|"
        )
        for number, edit in enumerate(EDITS):
            anew, output, again = try_edit(edit, base.copy(Path(folder) / str(number)))
            line = next(
                (line for line in output.splitlines() if edit.says in line),
                "MISSING: " + " / ".join(output.splitlines()[-12:]),
            )
            marks = (
                "" if anew == edit.anew else f" (NOT {edit.anew})",
                "" if again == edit.retrain else f" (NOT {edit.retrain})",
            )
            print(
                f"| {edit.what} | {anew or 'nothing'}{marks[0]} | {again or '-'}{marks[1]} | {line.strip()[:150]} |",
                flush=True,
            )
