"""Send to Weights & Biases what was logged offline.  runs/<name>/wandb/offline-run-* -> the server

Run: make sync, or for one run make sync RUN=x. It is python -m src sync runs, or runs/x

`wandb sync` marks what it has sent by a file, so nothing is sent twice. A fold that was stopped and continued
has several folders of one id; wandb sends these one after another, as one run.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from src.run.errors import CheckFailed

FOLDER = re.compile(r"offline-run-\d+_\d+-(.+)")  # offline-run-<date>_<time>-<id>


def is_sent(folder: Path) -> bool:
    return any(folder.glob("*.synced"))


def unsent(place: Path) -> list[Path]:
    """The folders of offline runs of a run, or of all runs in a folder, the oldest first."""
    found = [*place.glob("wandb/offline-run-*"), *place.glob("*/wandb/offline-run-*")]
    return sorted((folder for folder in found if not is_sent(folder)), key=lambda folder: folder.name)


def name_of(folder: Path) -> str:
    """The W&B name of an offline run, which the file with its id tells; else the folder's name."""
    match = FOLDER.fullmatch(folder.name)
    for path in folder.parent.glob("*.id"):
        if match and path.read_text(encoding="utf-8") == match[1]:
            return path.stem
    return folder.name


def report(folders: list[Path]) -> str:
    """A line per run of the kit: how many of its W&B runs these are, and which."""
    names: dict[str, Counter] = {}
    for folder in folders:
        run = folder.parents[1].name
        names.setdefault(run, Counter())[name_of(folder).removeprefix(f"{run}-")] += 1
    lines = []
    for run, parts in sorted(names.items()):
        texts = [part if count == 1 else f"{part} ({count} parts)" for part, count in sorted(parts.items())]
        lines.append(f"  {run}: {', '.join(texts)}")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Raises CheckFailed where something is left, with what wandb has said printed above."""
    place = Path(arguments[0] if arguments else "runs")
    folders = unsent(place)
    if not folders:
        print(f"W&B: nothing to send in {place}: no offline run, or all are sent")
        return
    print(f"W&B: sending {len(folders)} offline runs", flush=True)
    done = subprocess.run([sys.executable, "-m", "wandb", "sync", *map(str, folders)], check=False)
    left = [folder for folder in folders if not is_sent(folder)]
    sent = [folder for folder in folders if folder not in left]
    if sent:
        print(f"W&B: sent\n{report(sent)}")
    if left:
        raise CheckFailed(
            f"W&B: wandb sync ended with code {done.returncode} and did not send\n{report(left)}\n"
            "a key is stored by `wandb login`; the same command sends what is left"
        )
