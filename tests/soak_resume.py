"""Kill a tiny real run at random moments until it gets through, and compare all its final files, byte by
byte, with those of a run never killed.

Run: make soak, or python tests/soak_resume.py --kills 50 --seed 0 Each life is a fork of this process, which
has imported torch already, so that kills fall on the work and not on the imports.
"""

import argparse
import csv
import itertools
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

# a forked process can't use the threads of its parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from conftest import fast, make_competition

from src import predict, split, submit, train  # noqa: F401    once, for all the forks
from src.__main__ import main as podium
from src.data import arrays, images
from src.extras.ensemble import command as ensemble  # noqa: F401

RECIPES = {  # settings, machine
    "head": ("trainable=head ema=0.9 patience=3 epochs=8 batch_size=4", "workers=0 save_minutes=0"),
    "tail": (
        "trainable=1 views=3 augment=light mixup=0.4 drop_rate=0.3 ema=0.9 accumulate=2 epochs=5 batch_size=3",
        "workers=2 save_minutes=0",
    ),
    "full": (
        "trainable=all augment=medium cutmix=0.5 label_smoothing=0.1 patience=2 epochs=6 batch_size=4",
        "workers=2 save_minutes=0.002",
    ),
    "full, accumulated": (
        "trainable=all augment=strong mixup=0.2 ema=0.8 accumulate=3 epochs=4 batch_size=4",
        "workers=0 save_minutes=0",
    ),
    "at epoch ends": (
        "trainable=1 views=0 augment=light optimizer=lamb mixup=0.2 epochs=5 batch_size=4",
        "workers=2",
    ),
}
# two runs at once that share the cache and the ledger, then their ensemble; every piece of an array is saved
PAIRS = {
    "cached trunk": (
        "trainable=1 views=2 augment=light tta=hflip epochs=2 batch_size=6",
        "workers=0 save_minutes=0",
    ),
    "all learns": ("trainable=all tta=hflip epochs=2 batch_size=2", "workers=0 save_minutes=0"),
}
FINAL = ("oof.parquet", "test.parquet", "fold*/*.parquet", "fold*/model.safetensors", "fold*/log.jsonl")


def live(
    folder: Path,
    settings: str,
    machine: str,
    *,
    run: str = "x",
    stages: tuple = ("configure", "split", "train", "predict", "submit"),
    members: tuple = (),
    is_slow: bool = False,
) -> int:
    """A process that does what `make submit` does, or some of its stages, or an ensemble of its members; its
    id.

    is_slow: decoding, the trunk's pass and predictions in small pieces that take a while, so that kills fall
    on them too.
    """
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.chdir(folder)
        os.environ.update(
            COMP="tiny",
            EXP="baseline",
            SET=fast(settings),
            MACHINE=f"wandb=off device=cpu {machine}",
            INPUTS="inputs",
            CACHE="runs/.cache",
        )
        with open("said.txt", "a") as said:
            os.dup2(said.fileno(), 1), os.dup2(said.fileno(), 2)
        # pytest has put files of its own in their place
        sys.stdout = sys.stderr = os.fdopen(os.dup(1), "w", buffering=1)
        if is_slow:
            slow_down()
        code = 0
        for stage in stages:
            if code or stage == "split" and Path(f"runs/{run}/folds.csv").exists():  # so does make
                continue
            code = podium([stage, f"runs/{run}", *(members if stage == "ensemble" else ())])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def slow_down() -> None:
    real = arrays.save_or_stop

    def save_or_stop(*args) -> None:
        real(*args)
        time.sleep(0.1)

    images.PIECE, predict.PIECE, arrays.save_or_stop = 6, 1, save_or_stop


def ledger(folder: Path) -> list[str]:
    with (folder / "submissions/ledger.csv").open(newline="") as file:
        # somebody may commit meanwhile
        return sorted(str({**line, "when": "", "commit": ""}) for line in csv.DictReader(file))


def soak_pairs(root: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill two runs that work at once, and then their ensemble, until that many kills were survived; returns
    counts.
    """
    rng, counts = random.Random(seed), dict.fromkeys(("kills", "pairs", *STAGES), 0)
    for name in itertools.cycle(PAIRS):
        if counts["kills"] >= kills:
            return counts
        settings, machine = PAIRS[name]
        how = {
            "x": {"settings": settings},
            "y": {"settings": f"{settings} seed=1"},
            "xy": {"settings": settings, "stages": ("ensemble", "submit"), "members": ("x", "y")},
        }
        folder, began = new_folder(root / "whole"), time.monotonic()
        for run in how:
            assert wait(live(folder, machine=machine, run=run, is_slow=True, **how[run])) == 0, (
                folder / "said.txt"
            ).read_text()
        seconds, expected = (
            (time.monotonic() - began) / 2,
            {run: final_files(folder, run) for run in how} | {"ledger": ledger(folder)},
        )
        folder, killed = new_folder(root / "killed"), 0
        for together in (["x", "y"], ["xy"]):
            left = set(together)
            while left:
                pids = {
                    run: live(folder, machine=machine, run=run, is_slow=True, **how[run])
                    for run in sorted(left)
                }
                for run in rng.sample(sorted(left), len(left)):
                    # often soon: decoding comes first
                    time.sleep(rng.uniform(0, rng.choice([0.03, 0.1, 0.3]) * seconds))
                    if killed < 24 * len(together):
                        os.kill(pids[run], signal.SIGKILL if rng.random() < 0.85 else signal.SIGTERM)
                for run, pid in pids.items():
                    code = wait(pid)
                    assert code in (0, 75, -signal.SIGKILL, -signal.SIGTERM), (
                        f"{name}: exit {code}\n{(folder / 'said.txt').read_text()}"
                    )
                    killed += code < 0
                    left -= {run} if code == 0 else set()
        found, said = (
            {run: final_files(folder, run) for run in how} | {"ledger": ledger(folder)},
            (folder / "said.txt").read_text(),
        )
        assert found["ledger"] == expected["ledger"], (
            f"{name}: the ledger is {found['ledger']}, not {expected['ledger']}"
        )
        for run in how:
            wrong = [
                file
                for file in expected[run].keys() | found[run].keys()
                if found[run].get(file) != expected[run].get(file)
            ]
            assert not wrong, f"{name}, {run}: {wrong} differ\n{said}"
        counts["kills"] += killed
        counts["pairs"] += 1
        for stage, words in STAGES.items():
            counts[stage] += len(re.findall(words, said))
        print(
            f"{name}: killed {killed} times, {sum(map(len, found.values()))} files and ledger lines equal",
            flush=True,
        )


STAGES = {
    "decodings continued": "images-.* goes on after",
    "passes of the trunk continued": "trunk-.* goes on after",
    "predictions continued": "predicting-.* goes on after",
    "folds continued": "fold.* goes on after",
}


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def final_files(folder: Path, run: str = "x") -> dict[str, bytes]:
    root = folder / "runs" / run
    found = {
        os.path.relpath(file, root): file.read_bytes() for pattern in FINAL for file in root.glob(pattern)
    }
    found |= {file.name: file.read_bytes() for file in folder.glob(f"submissions/{run}.csv")}
    left = [
        str(file) for file in root.rglob("*") if file.suffix in (".part", ".lock") or file.name == "state"
    ]
    assert not left, f"left behind: {left}"
    return found


def new_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    make_competition(folder / "inputs/tiny")
    return folder


def soak(root: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill and continue until that many kills were survived; returns counts. AssertionError names the first
    file that differs.
    """
    rng, counts, whole = (
        random.Random(seed),
        {"kills": 0, "stops by SIGTERM": 0, "runs": 0, "folds continued": 0, "states that were damaged": 0},
        {},
    )
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
                # a process that has ended and was not waited for takes it too
                os.kill(pid, how)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in (0, 75, -how), f"{name}: exit {code}\n{(folder / 'said.txt').read_text()}"
            killed += code == -signal.SIGKILL
            counts["stops by SIGTERM"] += code == 75
        found, said = final_files(folder), (folder / "said.txt").read_text()
        assert found.keys() == expected.keys(), f"{name}: {sorted(found.keys() ^ expected.keys())}"
        assert not (wrong := [file for file in found if found[file] != expected[file]]), (
            f"{name}, after {killed} kills: {wrong} differ\n{said}"
        )
        counts["kills"] += killed
        counts["runs"] += 1
        counts["folds continued"] += said.count("goes on after")
        counts["states that were damaged"] += said.count("is damaged")
        print(f"{name}: killed {killed} times, {len(found)} files equal", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--pair-kills", type=int, default=0, help="kills of two runs at once, and of their ensemble"
    )
    parser.add_argument("--seed", type=int, default=0)
    given, began = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        pairs = soak_pairs(Path(folder), given.pair_kills, given.seed) if given.pair_kills else {}
        counts = soak(Path(folder), given.kills, given.seed)
    if pairs:
        print(
            "two at once: "
            + ", ".join(f"{name} {count}" for name, count in pairs.items())
            + ": all final files and the ledger equal"
        )
    print(
        ", ".join(f"{name} {count}" for name, count in counts.items())
        + f": all final files equal, {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
