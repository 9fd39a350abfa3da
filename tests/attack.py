"""Attack finished and unfinished runs: kills with make itself, two commands at once, flipped bits. Nothing
may be lost, mixed, or used unseen.

Run: python tests/attack.py --kills 100 --races 20 --flips 100 --seed 0        (hours on two cores;
test_attack.py takes a few of each)

kills   SIGKILL to make and all below it at a random time, then the same command again; at the end every
product is compared, byte by byte, with
        an undisturbed run's
races   two commands at once, then each again; the products and the ledger are compared in the same way
flips   one bit of one file of a finished run turned, then a command that uses it: equal products, a refusal
that names the file, or silence
"""

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from soak_resume import fast, final_files, live, make_competition

ROOT = Path(__file__).resolve().parents[1]
SETTINGS, MACHINE = (
    "folds=2 epochs=2 trainable=1 batch_size=6 tta=hflip",
    "workers=0 memory=strict save_minutes=0",
)
A, B, BOTH = (
    ["submit", "RUN=a", f"SET={fast(SETTINGS)}"],
    ["submit", "RUN=b", f"SET={fast(SETTINGS + ' seed=1')}"],
    ["ensemble", "RUNS=a b", "NAME=ab"],
)
# of the jsons: what differs from run to run
VOLATILE = {"seconds", "memory", "when", "checksum", "from", "images_per_second", "share_waiting"}


# -- a kit of its own in a folder, and what it has made


def new_kit(folder: Path) -> Path:
    """With the same competition as its neighbours, to the times of its files."""
    shutil.rmtree(folder, ignore_errors=True)
    if not (folder.parent / "inputs").exists():
        make_competition(folder.parent / "inputs/tiny")
    shutil.copytree(folder.parent / "inputs", folder / "inputs")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "src").symlink_to(ROOT / "src")
    return folder


def start(folder: Path, words: list[str]) -> subprocess.Popen:
    """make with these words, in a group of its own."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    given = (
        []
        if words[0] == "ensemble"
        else ["COMP=tiny", "EXP=baseline", f"MACHINE=wandb=off device=cpu {MACHINE}", "CHECKS=0"]
    )
    return subprocess.Popen(
        ["make", *words, *given, f"PY={sys.executable}"],
        cwd=folder,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def make(folder: Path, words: list[str]) -> float:
    """Run it to its end; how long that took."""
    began, process = time.monotonic(), start(folder, words)
    said = process.communicate()[0]
    assert process.returncode == 0, f"make {words}: exit {process.returncode}\n{said}"
    return time.monotonic() - began


def plain(value):
    """A json without what differs from run to run."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if key not in VOLATILE}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def products(folder: Path, without: Path | None = None) -> dict[str, object]:
    """All that the runs have made, but for one file, and the ledger's lines without their times."""
    found: dict[str, object] = {}
    for run in sorted(folder.glob("runs/*/config.json")):
        found |= {
            f"{run.parent.name}/{name}": content
            for name, content in final_files(folder, run.parent.name).items()
        }
        found |= {str(file.relative_to(folder)): file for file in run.parent.glob("**/*.json")}
    found |= {str(file.relative_to(folder)): file for file in folder.glob("submissions/*.json")}
    if without is not None:
        found = {name: content for name, content in found.items() if not str(without).endswith(name)}
    found = {
        name: plain(json.loads(content.read_text())) if isinstance(content, Path) else content
        for name, content in found.items()
    }
    with (folder / "submissions/ledger.csv").open() as file:
        found["ledger"] = sorted(str({**line, "when": ""}) for line in csv.DictReader(file))
    return found


def differing(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


# -- kills


def kill_often(root: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill make at random times until that many kills were survived; returns counts. AssertionError names
    what differs.
    """
    rng, counts = random.Random(seed), {"kills": 0, "runs": 0}
    whole, commands = new_kit(root / "whole"), ([*A, "FOLD=0"], A, B, BOTH)
    seconds = [make(whole, command) for command in commands]
    expected = products(whole)
    while counts["kills"] < kills:
        folder, killed = new_kit(root / "killed"), 0
        for command, longest in zip(commands, seconds):
            for _ in range(3):
                process = start(folder, command)
                try:
                    said = process.communicate(timeout=rng.uniform(0, longest))[0]
                    assert process.returncode == 0, f"make {command}: exit {process.returncode}\n{said}"
                    break
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                    killed += 1
            make(folder, command)
        wrong = differing(products(folder), expected)
        assert not wrong, f"after {killed} kills: {wrong} differ"
        counts["kills"] += killed
        counts["runs"] += 1
        print(f"killed {killed} times, {len(expected)} products equal", flush=True)
    return counts


# -- races

PAIRS = {  # name: (are both runs there before?, the two commands at once)
    "two submits of a finished run": (True, ([*A, "FORCE=1"], [*A, "FORCE=1"])),
    "a submit and an ensemble of it": (True, ([*A, "FORCE=1"], BOTH)),
    "two trainings of one run": (False, (A, A)),
    "two runs that share the cache and the ledger": (False, (A, B)),
    "one fold and the whole": (False, ([*A, "FOLD=0"], A)),
}


def race_often(root: Path, races: int, seed: int) -> dict[str, int]:
    """Two commands at once, as often as that, then each again to its end. Returns how they ended.
    AssertionError names what differs.
    """
    rng, counts = random.Random(seed), {"races": 0, "both done": 0, "one told to wait": 0}
    whole = new_kit(root / "whole")
    for command in (A, B, BOTH):
        make(whole, command)
    expected = products(whole)
    nothing, finished = new_kit(root / "nothing"), new_kit(root / "finished")
    for command in (A, B):
        make(finished, command)
    for number in range(races):
        name, (is_finished, pair) = list(PAIRS.items())[number % len(PAIRS)]
        shutil.rmtree(root / "race", ignore_errors=True)
        folder = Path(shutil.copytree(finished if is_finished else nothing, root / "race", symlinks=True))
        first = start(folder, pair[0])
        time.sleep(rng.uniform(0, 2))
        processes = [first, start(folder, pair[1])]
        said = [process.communicate()[0] for process in processes]
        for process, text in zip(processes, said):
            assert process.returncode == 0 or "being trained by process" in text, (
                f"{name}: exit {process.returncode}\n{text}"
            )
        counts[
            "both done" if not any(process.returncode for process in processes) else "one told to wait"
        ] += 1
        for command in (A, B, BOTH):
            make(folder, command)
        found = {key: value for key, value in products(folder).items() if "fold0." not in key}
        found["ledger"] = [line for line in found["ledger"] if "fold 0 only" not in line]
        wrong = differing(found, expected)
        assert not wrong, f"{name}: {wrong} differ\n" + "\n".join(said)
        counts["races"] += 1
        print(f"{name}: {len(expected)} products equal", flush=True)
    return counts


# -- flips

FLIPPED = {  # pattern of files -> the commands that use them, in forks of this process
    "runs/a/fold*/model.safetensors": ("predict again", "adopt"),
    "runs/a/fold*/valid.parquet": ("again", "adopt"),
    "runs/a/fold*/valid_epochs.parquet": ("again", "adopt"),
    "runs/a/fold*/valid_views.*": ("again", "adopt"),
    "runs/a/fold*/test.*": ("again", "adopt"),
    "runs/a/fold*/done.json": ("again", "adopt"),
    "runs/a/fold*/log.jsonl": ("verify",),
    "runs/a/config.json": ("again", "ensemble"),
    "runs/a/split.json": ("again", "adopt"),
    "runs/a/train.json": ("again",),
    "runs/a/predict.json": ("again",),
    "runs/a/submit.json": ("again",),
    "runs/a/competition.json": ("again", "adopt"),
    "runs/a/folds.csv": ("again", "adopt", "ensemble"),
    "runs/a/oof.parquet": ("submit", "again", "ensemble", "verify"),
    "runs/a/oof_tta.parquet": ("submit", "ensemble", "verify"),
    "runs/a/tta.json": ("submit", "verify"),
    "runs/a/score.json": ("submit", "ensemble", "verify"),
    "runs/a/test.parquet": ("submit", "ensemble"),
    "runs/a/test.json": ("submit", "ensemble"),
    "runs/ab/*.json": ("submit ab", "verify ab"),
    "runs/ab/*.parquet": ("submit ab", "verify ab"),
    "runs/ab/folds.csv": ("submit ab", "verify ab"),
    "runs/.cache/tiny/*.npy": ("new",),
    "runs/.cache/tiny/*.json": ("new",),
    "submissions/a.csv": ("again", "verify"),
    "submissions/a.json": ("again", "verify"),
}


def use(folder: Path, command: str) -> tuple[int, str]:
    """The command's exit code, and what it said."""
    other = {"adopt": "d", "new": "c"}.get(command, "a")
    settings = {"adopt": SETTINGS.replace("tta=hflip", "tta=hflip,vflip"), "new": SETTINGS + " lr=0.004"}.get(
        command, SETTINGS
    )
    whole = ("configure", "split", "train", "predict", "submit")
    stages = {
        "again": whole,
        "adopt": whole,
        "new": whole,
        "predict again": ("predict", "submit"),
        "submit": ("submit",),
        "submit ab": ("submit",),
        "ensemble": ("ensemble",),
        "verify": ("verify",),
        "verify ab": ("verify",),
    }[command]
    run = {"submit ab": "ab", "verify ab": "ab", "ensemble": "ab"}.get(command, other)
    if command == "predict again":
        for file in folder.glob("runs/a/fold*/test.json"):
            file.unlink()
    (folder / "said.txt").unlink(missing_ok=True)
    pid = live(
        folder,
        SETTINGS if run == "ab" else settings,
        MACHINE,
        run=run,
        stages=stages,
        members=("a", "b") if command == "ensemble" else (),
    )
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, (folder / "said.txt").read_text()


def flip(path: Path, rng: random.Random) -> str:
    """Turn one bit; the byte's place."""
    content, times = bytearray(path.read_bytes()), path.stat()
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    path.unlink()  # it may be a hard link
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return f"byte {place} of {len(content)}"


def flip_often(root: Path, flips: int, seed: int) -> dict[str, int]:
    """Flip bits over all kinds of files, and count what the next command that uses the file does.
    AssertionError where it is silent or unclear.
    """
    rng, counts = (
        random.Random(seed),
        {"flips": 0, "equal": 0, "refused by name": 0, "silent": 0, "unclear": 0},
    )
    whole, bad = new_kit(root / "whole"), []
    for command in (A, B, BOTH):
        make(whole, command)

    def after(command: str) -> dict[str, object]:
        """What an undisturbed run has after this command."""
        folder = Path(shutil.copytree(whole, root / command, symlinks=True))
        code, said = use(folder, command)
        assert code == 0, f"{command}: exit {code}\n{said}"
        return products(folder)

    expected = {
        command: after(command)
        for command in sorted({one for commands in FLIPPED.values() for one in commands})
    }
    while counts["flips"] < flips:
        pattern, commands = list(FLIPPED.items())[counts["flips"] % len(FLIPPED)]
        command = rng.choice(commands)
        shutil.rmtree(root / "flipped", ignore_errors=True)
        folder = Path(shutil.copytree(whole, root / "flipped", symlinks=True))
        path = rng.choice(sorted(folder.glob(pattern)))
        where = flip(path, rng)
        code, said = use(folder, command)
        # the flipped file itself may be one that the command does not use
        if code == 0:
            wrong = differing(
                kept(products(folder, path)),
                {
                    name: content
                    for name, content in kept(expected[command]).items()
                    if not str(path).endswith(name)
                },
            )
            if command.startswith("verify") and not is_harmless(path):
                wrong = ["verify has not seen it"]
            result = "silent" if wrong else "equal"
        else:
            wrong = [said[-600:]]
            result = "refused by name" if path.name in said and "Traceback" not in said else "unclear"
        counts["flips"] += 1
        counts[result] += 1
        print(f"{result:16} {path.relative_to(folder)}, {where}, then {command}", flush=True)
        bad += [f"{path.relative_to(folder)}, {where}, then {command}: {wrong}"] * (
            result in ("silent", "unclear")
        )
    assert not bad, "\n".join(bad) + f"\n{counts}"
    return counts


REPAIRED = (
    "config.json",
    "competition.json",
    "folds.csv",
    "score.json",
    "oof.parquet",
    "test.parquet",
    "test.json",
    "tta.json",
    "fold0/done.json",
    "fold0/model.safetensors",
    "fold0/valid.parquet",
    "fold0/valid_views.json",
    "../../submissions/a.json",
)


def follow(folder: Path, said: str) -> None:
    """Do what the message of a damaged file says."""
    name, advice = re.findall(r"error: (\S+) is damaged \(.*?\): (.*)", said)[-1]
    if match := re.search(r"remove the folder ([^ ,]+)", advice):
        shutil.rmtree(folder / match[1])
    elif "remove it" in advice:
        (folder / name).unlink()
    typed = re.search(r"make (\w+) (RUN=\S+) FORCE=1", advice)
    make(
        folder, [*typed.groups(), "FORCE=1"] if typed else A if "whole command" in advice else [*A, "FORCE=1"]
    )


def repair_all(root: Path) -> dict[str, int]:
    """Damage each kind of file so that `make submit` refuses it, do what its message says, and the same
    command gives the undisturbed products.
    """
    counts, whole = {"refused and repaired": 0, "repaired by itself": 0}, new_kit(root / "whole")
    make(whole, A)
    expected = products(whole)
    for name in REPAIRED:
        folder = Path(shutil.copytree(whole, root / "damaged", symlinks=True, dirs_exist_ok=False))
        path = folder / "runs/a" / name
        path.write_bytes(path.read_bytes()[:-40])
        (folder / "submissions/a.csv").unlink()
        if "model" in name:
            (folder / "runs/a/fold0/test.json").unlink()  # or nobody needs the model
        process = start(folder, [*A, "FORCE=1"])
        said = process.communicate()[0]
        if process.returncode:
            follow(folder, said)
        make(folder, A)
        wrong = differing(kept(products(folder)), expected)
        assert not wrong, f"{name}: {wrong} differ\n{said}"
        counts["refused and repaired" if process.returncode else "repaired by itself"] += 1
        print(f"{name}: {'refused and repaired' if process.returncode else 'repaired by itself'}", flush=True)
        shutil.rmtree(folder)
    return counts


def is_harmless(path: Path) -> bool:
    """Did the flip fall on the name of a json's checksum, so that all else is as it was?"""
    return path.suffix == ".json" and b'"checksum"' not in path.read_bytes()


def kept(found: dict[str, object]) -> dict[str, object]:
    """Without the folds that were moved aside, for a fold whose note was damaged may be trained anew."""
    return {name: content for name, content in found.items() if "/old/" not in name}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--races", type=int, default=0)
    parser.add_argument("--flips", type=int, default=0)
    parser.add_argument(
        "--repairs", action="store_true", help="damage each kind of file and do what the message says"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked, began = parser.parse_args(), time.monotonic()
    repairs = ((lambda folder, *_: repair_all(folder)), int(asked.repairs))
    for attack, number in (
        (flip_often, asked.flips),
        (race_often, asked.races),
        (kill_often, asked.kills),
        repairs,
    ):
        if number:
            with tempfile.TemporaryDirectory() as folder:
                counts = attack(Path(folder), number, asked.seed)
            print(
                ", ".join(f"{name} {count}" for name, count in counts.items())
                + f"; {time.monotonic() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
