"""Kill a tiny real run at random moments until it gets through, and compare all its final files, byte by byte, with those of a run never killed.

Run: make soak, or python tests/soak_resume.py --kills 50 --seed 0
Each life is a fork of this process, which has imported torch already, so that kills fall on the work and not on the imports.
"""
import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")                      # a forked process can't use the threads of its parent
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from conftest import fast, make_competition  # noqa: E402

from src import config, predict, runs, split, submit, train  # noqa: E402

RECIPES = {     # settings, machine
    "head": ("trainable=head ema=0.9 patience=3 epochs=8 batch_size=4", "workers=0 save_minutes=0"),
    "tail": ("trainable=1 views=3 augment=light mixup=0.4 drop_rate=0.3 ema=0.9 accumulate=2 epochs=5 batch_size=3", "workers=2 save_minutes=0"),
    "full": ("trainable=all augment=medium cutmix=0.5 label_smoothing=0.1 patience=2 epochs=6 batch_size=4", "workers=2 save_minutes=0.002"),
    "full, accumulated": ("trainable=all augment=strong mixup=0.2 ema=0.8 accumulate=3 epochs=4 batch_size=4", "workers=0 save_minutes=0"),
    "at epoch ends": ("trainable=1 views=0 augment=light optimizer=lamb mixup=0.2 epochs=5 batch_size=4", "workers=2"),
}
FINAL = ("oof.parquet", "test.parquet", "fold*/*.parquet", "fold*/model.safetensors", "fold*/log.jsonl")


def live(folder: Path, settings: str, machine: str, *, run: str = "x", stages: tuple = (config, split, train, predict, submit), members: tuple = ()) -> int:
    """A process that does what `make submit` does, or some of its stages, or an ensemble of its members; its id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.chdir(folder)
        os.environ.update(COMP="tiny", EXP="baseline", SET=fast(settings), MACHINE=f"wandb=off device=cpu {machine}", INPUTS="inputs", CACHE="runs/.cache")
        with open("said.txt", "a") as said:
            os.dup2(said.fileno(), 1), os.dup2(said.fileno(), 2)
        for stage in stages:
            if stage is not split or not Path(f"runs/{run}/folds.csv").exists():      # so does make
                sys.argv = [stage.__name__, f"runs/{run}", *members]
                runs.main(stage.main)
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def final_files(folder: Path, run: str = "x") -> dict[str, bytes]:
    root = folder / "runs" / run
    found = {os.path.relpath(file, root): file.read_bytes() for pattern in FINAL for file in root.glob(pattern)}
    found |= {file.name: file.read_bytes() for file in folder.glob(f"submissions/{run}.csv")}
    left = [str(file) for file in root.rglob("*") if file.suffix in (".part", ".lock") or file.name == "state"]
    assert not left, f"left behind: {left}"
    return found


def new_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    make_competition(folder / "inputs/tiny")
    return folder


def soak(root: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill and continue until that many kills were survived; returns counts. AssertionError names the first file that differs."""
    rng, counts, whole = random.Random(seed), {"kills": 0, "stops by SIGTERM": 0, "runs": 0, "folds continued": 0, "states that were damaged": 0}, {}
    for name in itertools.cycle(RECIPES):
        if counts["kills"] >= kills:
            return counts
        if name not in whole:
            folder, began = new_folder(root / "whole"), time.monotonic()
            code = os.waitstatus_to_exitcode(os.waitpid(live(folder, *RECIPES[name]), 0)[1])
            assert code == 0, (folder / "said.txt").read_text()
            whole[name] = final_files(folder), time.monotonic() - began
        expected, seconds = whole[name]
        folder, code, killed = new_folder(root / "killed"), -1, 0
        while code != 0:
            pid = live(folder, *RECIPES[name])
            time.sleep(rng.uniform(0, 0.4 * seconds))
            how = signal.SIGKILL if rng.random() < 0.85 else signal.SIGTERM
            if killed < 12:
                os.kill(pid, how)                                  # a process that has ended and was not waited for takes it too
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in (0, 75, -how), f"{name}: exit {code}\n{(folder / 'said.txt').read_text()}"
            killed += code == -signal.SIGKILL
            counts["stops by SIGTERM"] += code == 75
        found, said = final_files(folder), (folder / "said.txt").read_text()
        assert found.keys() == expected.keys(), f"{name}: {sorted(found.keys() ^ expected.keys())}"
        assert not (wrong := [file for file in found if found[file] != expected[file]]), f"{name}, after {killed} kills: {wrong} differ\n{said}"
        counts["kills"] += killed
        counts["runs"] += 1
        counts["folds continued"] += said.count("goes on after")
        counts["states that were damaged"] += said.count("is damaged")
        print(f"{name}: killed {killed} times, {len(found)} files equal", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given, began = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = soak(Path(folder), given.kills, given.seed)
    print(", ".join(f"{name} {count}" for name, count in counts.items()) + f": all final files equal, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
