"""Run the notebook of a bundle as Kaggle would: no network, read-only inputs, empty caches, another working
directory. Then on another number of test images, one of them broken.  bundles/<name>/ -> a verdict

Run: python -m src rehearse runs/<name>        make rehearse RUN=name
"""

import os
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.competition import answers, tables
from src.competition.facts import Competition
from src.data.run import Run
from src.run.errors import CheckFailed

HOURS = 8.5  # that the notebook has
BUNDLES, SUBMISSIONS = Path("bundles"), Path("submissions")
# as root in a container, or as a user where the system lets them have namespaces of their own
NAMESPACES = (["unshare", "--net", "--mount"], ["unshare", "--map-root-user", "--net", "--mount"])
READ_ONLY = """for folder in "$1"/*; do
    mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder" || exit 9
done
shift && exec "$@\""""
# in place of namespaces: Python imports it first, in every process
BLOCKED = """import socket

def refuse(*address, **options):
    raise OSError("the rehearsal has no network")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = refuse
"""
# what Kaggle does with a notebook, without the kernel's sockets
PLAY = """import json, sys
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), globals())
"""


class Stage(NamedTuple):
    """A place that looks like Kaggle's: input/, working/ and an empty home."""

    root: Path

    @property
    def csv(self) -> Path:
        return self.root / "working" / "submission.csv"

    def play(self, notebook: Path, hours: float) -> str:
        """Run the notebook's cells there; how it was kept from the network. Raises CheckFailed."""
        for name in ("working", "home", "tmp", "blocked"):
            (self.root / name).mkdir(exist_ok=True)
        (self.root / "blocked" / "sitecustomize.py").write_text(BLOCKED)
        wrapper = namespaces(self.root / "input")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            "PODIUM_INPUT": str(self.root / "input"),
            "PODIUM_WORKING": str(self.root / "working"),
            "PODIUM_HOURS": str(hours),
            "PYTHONDONTWRITEBYTECODE": "1",
            # the number of threads changes the last digits
            **{name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ},
            **({} if wrapper else {"PYTHONPATH": str(self.root / "blocked")}),
        }
        command = [*wrapper, sys.executable, "-u", "-c", PLAY, str(notebook.resolve())]
        done = subprocess.run(command, cwd=self.root / "working", env=environment)
        if done.returncode:
            raise CheckFailed(f"rehearse: the notebook ended with exit code {done.returncode}, as said above")
        return "in a namespace without network" if wrapper else "with all sockets blocked"


def namespaces(inputs: Path) -> list[str]:
    """The beginning of a command that runs without network, where what lies in `inputs` is read-only; []
    where the system does not allow it.
    """
    for unshare in NAMESPACES:
        words = [*unshare, "sh", "-c", READ_ONLY, "sh", str(inputs)]
        if shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True).returncode:
            return words
    return []


def set_up(root: Path, bundle: Path, competition: Path) -> Stage:
    """The bundle and the competition side by side; of the images there are links alone."""
    inputs = root / "input"
    shutil.copytree(bundle / "dataset", inputs / "podium-models")
    shutil.copytree(competition, inputs / competition.name, copy_function=link)
    return Stage(root)


def link(source: str, target: str) -> None:
    os.symlink(os.path.realpath(source), target)


# -- another number of images


def thin_out(stage: Stage, competition: Competition) -> tuple[list[str], list[str]]:
    """Leave every second row of the sample and its images, and break the first image: (the lines that stay,
    in their order; those of the broken image).
    """
    root = stage.root / "input" / competition.name
    test = tables.make_test(root, competition)
    kept = test[test["row"].isin(test["row"].drop_duplicates()[::2])]
    gone = test[~test["row"].isin(kept["row"])]
    for path in {*gone["path"]} - {*kept["path"]}:
        (root / path).unlink()
    names = {*gone["id"], *answers.line_names(competition, gone["row"])}
    for file in {competition.sample_csv, competition.test_csv} - {""}:
        frame = tables.read_table(root / file, header=competition.has_header)
        (root / file).unlink()  # a link: what it leads to stays
        stays = ~frame.isin(names).any(axis=1)
        frame[stays].to_csv(root / file, index=False, header=competition.has_header)
    first = kept.iloc[0]
    (root / first["path"]).unlink()
    (root / first["path"]).write_bytes(b"no picture")
    rows = answers.sample(root, competition)[competition.header[0]].tolist()
    return rows, answers.line_names(competition, [first["row"]])


def num_other(stage: Stage, local: Path) -> int:
    """How many lines differ."""
    ours, before = (path.read_text(encoding="utf-8").splitlines() for path in (stage.csv, local))
    return sum(one != other for one, other in zip_longest(ours, before))


def compare(stage: Stage, local: Path, competition: Competition, rows: list[str], broken: list[str]) -> str:
    """What the csv of fewer images says beside the local one. Raises CheckFailed."""
    row = competition.header[0]
    ours = tables.read_csv(stage.csv, header=competition.has_header).set_index(row)
    before = tables.read_csv(local, header=competition.has_header).set_index(row)
    if ours.index.tolist() != rows:
        raise CheckFailed("rehearse: with fewer test images the csv does not have the sample's rows")
    same = [name for name in rows if name not in broken]
    if ours.loc[same].equals(before.loc[same]):
        return "equal to the local rows"
    numbers = [frame.loc[same].apply(pd.to_numeric, errors="coerce") for frame in (ours, before)]
    difference = float((numbers[0] - numbers[1]).abs().max(axis=None))
    if not difference < 1e-4:
        raise CheckFailed(f"rehearse: with fewer test images the csv differs from the local one in {local}")
    return f"within {difference:.0e} of the local rows, as a last, smaller batch may be"


# -- the command


def rehearse(run: Run, hours: float) -> None:
    """Raises ValueError without a bundle or csv, CheckFailed where the csv differs."""
    name, competition = run.paths.name, run.competition
    bundle, local = BUNDLES / name, SUBMISSIONS / f"{name}.csv"
    notebook = bundle / "kernel" / "notebook.ipynb"
    for file, make in {notebook: "bundle", local: "submit"}.items():
        if not file.exists():
            raise ValueError(f"{file} is not there: make {make} RUN={name} first")
    with tempfile.TemporaryDirectory(prefix="podium-") as folder:
        stage = set_up(Path(folder) / "same", bundle, run.inputs)
        how = stage.play(notebook, hours)
        if stage.csv.read_bytes() != local.read_bytes():
            raise CheckFailed(
                f"rehearse: the notebook's csv differs from {local} in {num_other(stage, local)} lines"
            )
        print(f"rehearse 1/2, {how}: the csv equals {local}, byte for byte")
        fewer = set_up(Path(folder) / "fewer", bundle, run.inputs)
        rows, broken = thin_out(fewer, competition)
        fewer.play(notebook, hours)
        said = compare(fewer, local, competition, rows, broken)
        print(f"rehearse 2/2, {len(rows)} rows, one image broken: a checked csv, {said}")


def command(run: Run, options: Namespace) -> None:
    rehearse(run, options.hours or HOURS)
