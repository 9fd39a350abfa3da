"""A small run of the same settings, in a folder of its own that vanishes, and the processes of `make submit`
on it: what they take does not grow with the images.
"""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from src.competition import tables
from src.config import Config
from src.data import contents
from src.data.run import Run
from src.extras.plan.clock import Seconds, process, timed
from src.run import configure
from src.run.paths import RunPaths

QUICK = ("--quick", "--quiet")


def small_run(run: Run, config: Config, folder: Path, num_images: int) -> Run:
    """The run with these settings, of a few images, two folds and one epoch. Nothing of it is split yet."""
    small = replace(
        config,
        limit=num_images,
        folds=2,
        fold_scheme="auto" if config.fold_scheme == "file" else config.fold_scheme,
        epochs=1,
        head_epochs=0,
        swa=0,
        patience=0,
        refit=0,
        init_from="",
        pseudo="",
    )
    machine = replace(run.machine, sanity=False, wandb="off", max_hours=0.0, memory="warn", decoded_gb=50.0)
    settings = replace(run.settings, config=small, machine=machine, cache=folder.parent / "cache")
    paths = RunPaths(folder)
    configure.write(settings, paths)
    return replace(run, paths=paths, settings=settings)


def of_processes(small: Run, num_rows: int, row: Seconds) -> dict[str, Seconds]:
    """What make's processes take beside their images, and hashing one of these. row: of a line of the tables,
    of which there are num_rows. Raises ValueError where the images can't be split.
    """
    folder = str(small.paths.root)
    split, done = process("-m", "src", "split", folder)
    if done.returncode:
        raise ValueError("\n".join(done.stderr.strip().splitlines()[-5:]).removeprefix("error: "))
    names = [f"{small.inputs}/{path}" for path in tables.read_folds(small.paths.folds)["path"]]
    digests = contents.look_up(names, small.settings.memory)["digest"]
    hashes = [name for name, digest in zip(names, digests) if digest]  # of what split has read
    _, reading = timed(lambda: contents.digests_of(hashes))
    read = reading / max(len(hashes), 1)
    imports, _ = process("-c", "import src.fetch, src.train, src.predict")
    start, _ = process("-c", "import src.fetch, src.run.configure")
    submit, _ = process("-m", "src", "submit", folder)  # it finds no predictions, and ends
    checks = np.zeros(2)
    if has_extra("audit"):
        checks += process("-m", "src", "audit", folder, *QUICK)[0]
    if has_extra("doctor"):
        checks += np.maximum(process("-m", "src", "doctor", folder, *QUICK)[0] - imports, 0)
    if has_extra("report"):
        looks = ["report", *(["wandb_summary"] if has_extra("wandb_summary") else [])]
        start += process("-m", "src", *looks, folder, "--if-quick")[0]  # it finds no score, and ends
    return {
        "start": start + imports,
        "split": np.maximum(split - num_rows * row - len(hashes) * read, 0),
        "row": row,
        "read": read,
        "checks": checks,
        "submit": np.maximum(submit - num_rows * row, 0),
    }


def has_extra(name: str) -> bool:
    return find_spec(f"src.extras.{name}") is not None
