"""A Kaggle session from beginning to end, in a root folder that looks like Kaggle's: /kaggle/input can only be
read, /kaggle/working is a disk of 20 GB that goes with the session, torch is there, git and other disks are not.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FAST, ROOT

TOOLS = "make sh env rm cp touch mkdir grep cat uname readlink dirname sed ls".split()
NAMESPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])
# $1: the new root, $2: what is attached, $3: where the session's output is kept, $4: PATH, $5: HOME
SESSION = """set -e
for place in /*; do
    if [ -L "$place" ]; then cp -a "$place" "$1/"
    elif [ -d "$place" ]; then mkdir -p "$1$place" && mount --rbind "$place" "$1$place"; fi
done
mkdir -p "$1/kaggle/input" "$1/kaggle/working"
mount --bind "$2" "$1/kaggle/input" && mount -o remount,bind,ro "$1/kaggle/input"
mount -t tmpfs -o size=20g tmpfs "$1/kaggle/working"
code=0
chroot "$1" env -i "PATH=$4" "HOME=$5" KAGGLE_KERNEL_RUN_TYPE=Interactive HF_HUB_OFFLINE=1 PIP_NO_INDEX=1 \
    OMP_NUM_THREADS=1 sh -e /kaggle/input/session.sh || code=$?
cp -r "$1/kaggle/working/." "$3"
exit $code
"""
SETTINGS = f"SET='{FAST}' MACHINE='wandb=off workers=0 device=cpu' CHECKS=0"


def namespace() -> list[str]:
    for words in NAMESPACES:
        if shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True).returncode:
            return words
    return pytest.skip("this system gives no namespaces")


class Kaggle:
    """Sessions, one after another; each begins with an empty /kaggle/working."""

    def __init__(self, folder: Path, competition: Path) -> None:
        self.folder, self.attached, self.number = folder, folder / "attached", 0
        self.tools = folder / "tools"
        self.tools.mkdir(parents=True)
        for name in TOOLS:
            (self.tools / name).symlink_to(shutil.which(name))
        python = self.tools / "python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        shutil.copytree(competition, self.attached / competition.name)
        kit = self.attached / "podium"
        kit.mkdir()
        for name in ("Makefile", "requirements-kaggle.txt"):
            shutil.copyfile(ROOT / name, kit / name)
        shutil.copytree(ROOT / "src", kit / "src", ignore=shutil.ignore_patterns("__pycache__"))

    def session(self, *commands: str, code: int = 0) -> Path:
        """What the session has left in /kaggle/working; it must end with this exit code."""
        self.number += 1
        root, output = self.folder / f"root{self.number}", self.folder / f"output{self.number}"
        home = self.folder / f"home{self.number}"
        for folder in (root, output, home):
            folder.mkdir()
        start = ("cd /kaggle/working", "cp -r /kaggle/input/podium .", "cd podium")
        (self.attached / "session.sh").write_text("\n".join([*start, *commands]) + "\n")
        words = [*namespace(), "sh", "-c", SESSION, "sh", root, self.attached, output, self.tools, home]
        done = subprocess.run([*map(str, words)], capture_output=True, text=True)
        self.said = done.stdout + done.stderr
        assert done.returncode == code, self.said
        return output


@pytest.fixture
def kaggle(bench, tmp_path) -> Kaggle:
    return Kaggle(tmp_path / "kaggle", bench.inputs)


@pytest.mark.slow
def test_a_session_goes_from_attached_files_to_a_submission(bench, kaggle):
    output = kaggle.session(
        "! command -v git",
        "! touch /kaggle/input/tiny/new 2>/dev/null",
        f"make submit COMP=tiny INPUTS=/kaggle/input RUN=tiny-run {SETTINGS}",
    )
    assert "setup: torch is here already and stays" in kaggle.said
    bench.run()
    csv = (output / "submission.csv").read_bytes()
    assert csv == Path("submissions/tiny-run.csv").read_bytes()
    assert csv == (output / "podium/submissions/tiny-run.csv").read_bytes()
    assert '"commit": "no git"' in (output / "podium/runs/tiny-run/score.json").read_text()


@pytest.mark.slow
def test_what_a_session_has_saved_before_its_end_the_next_one_takes_up(bench, kaggle):
    submit = f"make submit COMP=tiny INPUTS=/kaggle/input {SETTINGS}"
    first = kaggle.session(
        submit.replace("epochs=2", "epochs=2 lr=1e-3")
        + " RUN=earlier",  # decodes, and fills the trunk's cache
        submit.replace("wandb=off", "wandb=off max_hours=0.000001 save_minutes=0") + " RUN=tiny-run",
        code=2,
    )
    assert "max_hours" in kaggle.said and list((first / "podium/runs/tiny-run").glob("fold0/state/*.json"))
    shutil.copytree(first, kaggle.attached / "first-session")
    second = kaggle.session(
        "make restore FROM=/kaggle/input/first-session RUN=tiny-run",
        "make submit RUN=tiny-run INPUTS=/kaggle/input MACHINE='wandb=off workers=0 device=cpu' CHECKS=0",
    )
    assert "0 finished folds, one in training" in kaggle.said and "goes on" in kaggle.said
    bench.run()
    for name in ("fold0/model.safetensors", "fold2/model.safetensors", "oof.parquet", "test.parquet"):
        ours = (second / "podium/runs/tiny-run" / name).read_bytes()
        assert ours == (Path("runs/tiny-run") / name).read_bytes(), name
    assert (second / "submission.csv").read_bytes() == Path("submissions/tiny-run.csv").read_bytes()
