"""What a run reports while it trains: log.jsonl is the record, W&B mirrors it and can neither stop, ask nor
hold up a fold.
"""

import functools
import json
import math
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from src.run import ranks
from src.run.files import write_text

INIT_SECONDS = 10  # W&B itself waits 90 s when there is a key but no network
FINISH_SECONDS = 20  # and without end when a run ends; the rest stays on disk, see sync_command
OFF = (
    "disable_code disable_git disable_job_creation x_disable_stats x_disable_meta x_disable_machine_info"
).split()
_online_failed: list[str] = []  # after one failure the later folds do not wait again


class Tracker:
    """The log of one fold, or of the summary. Of several processes the main one alone writes it.

    with Tracker(...) as tracker:
        tracker.log({"epoch": 1, ...})
        tracker.finish({...})
    """

    def __init__(self, log_path: Path, *, mode: str, dir: Path, **facts: Any) -> None:
        """mode: off, offline, online or auto. dir: where W&B makes its folder. facts: project, group, name,
        job_type, config, tags and notes for wandb.init.

        A fold that goes on goes on with its W&B run; one that begins anew, with an empty log, has a new one.
        """
        self.path = Path(log_path)
        self.run: Any = None
        if not ranks.is_main():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        drop_torn_line(self.path)
        if mode != "off":
            is_new = self.path.exists() and not self.path.stat().st_size
            self.run = start_wandb(mode, {"dir": str(dir), **facts}, is_new=is_new)
        self.mirror(follow_epochs)

    def log(self, values: dict, *, also: Mapping[str, float] | None = None) -> None:
        """One line of log.jsonl, on disk when this returns; then the same to W&B, and there `also`: what is
        measured differs each time, and log.jsonl is the same for the same recipe.
        """
        if not ranks.is_main():
            return
        values = plain(values)
        line = json.dumps({key: None if is_nan(value) else value for key, value in values.items()})
        with open(self.path, "a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
        # the epoch as W&B's step too: after a kill an epoch may come twice, and W&B keeps the first
        self.mirror(lambda run: run.log(values | plain({**(also or {})}), step=values.get("epoch")))

    def finish(self, summary: dict, *, exit_code: int = 0) -> None:
        """Close the W&B run with its summary. The stages keep the same figures in done.json and
        score.json.
        """
        summary = plain(summary)
        self.mirror(lambda run: run.summary.update(summary))
        self.mirror(lambda run: run.finish(exit_code=exit_code))
        self.run = None

    def mirror(self, action: Callable[[Any], object]) -> None:
        """Do this with the W&B run, where there is one. What fails there is a line, and ends the mirror."""
        try:
            if self.run is not None:
                action(self.run)
        except Exception as error:  # whatever W&B's trouble is, the fold goes on
            self.run = None
            say_once(f"W&B stopped ({first_line(error)}); log.jsonl goes on")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish({}, exit_code=int(kind is not None))


def follow_epochs(run: Any) -> None:
    """Curves over the epoch, so that those of several folds lie on each other whenever they were trained."""
    run.define_metric("epoch", hidden=True)
    run.define_metric("*", step_metric="epoch")


def kept_id(folder: Path, name: str, *, is_new: bool) -> str:
    """W&B's id of the run of this name, kept in a file beside its own: the same each time, unless is_new."""
    path = folder / "wandb" / f"{name}.id"
    if is_new or not path.exists():
        write_text(secrets.token_hex(6), path)
    return path.read_text(encoding="utf-8")


def start_wandb(mode: str, facts: dict, *, is_new: bool = False) -> Any:
    """A W&B run, online where possible, else offline, else None. Never prompts."""
    try:
        # or, without network, the process takes 22 s to exit (measured)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        quiet = dict.fromkeys(OFF, True) | {"silent": True, "console": "off", "reinit": "create_new"}
        quiet |= {"save_code": False, "x_save_requirements": False}
        settings = wandb.Settings(init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, **quiet)
        if mode == "auto":  # online, unless WANDB_MODE says otherwise
            mode = wandb.setup(settings).settings.mode
        if mode == "disabled":
            return None
        folder = Path(facts["dir"])
        id = kept_id(folder, facts["name"], is_new=is_new)
        # absolute: W&B's service keeps the working directory that it was started in
        facts = facts | {"dir": str(folder.absolute()), "id": id, "resume": "allow"}
        if mode == "online" and not _online_failed:
            try:
                # a key in the environment or in netrc; nothing is asked or sent
                if wandb.login(prompt=False, verify=False):
                    return wandb.init(mode="online", settings=settings, **facts)
                problem = "no key, `wandb login` stores one"
            except Exception as error:  # no network, a malformed or refused key, a time-out
                problem = first_line(error)
                wandb.teardown()  # or the id would still be in use
            _online_failed.append(problem)
            say_once(
                f"W&B: {problem}; logging offline, `{sync_command(str(folder))}` sends it later,"
                ' MACHINE="wandb=off" leaves it out'
            )
        return wandb.init(mode="offline", settings=settings, **facts)
    except Exception as error:  # not installed, a full disk ...
        say_once(f"W&B is left out ({first_line(error)}); log.jsonl is written all the same")
        return None


def sync_command(folder: str) -> str:
    """What sends the offline runs below a folder, for a shell, whether a venv is active or not."""
    python = Path(sys.executable)
    python = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return f"{shlex.quote(str(python))} -m wandb sync {shlex.quote(folder)}/wandb/offline-run-*"


def plain(values: dict) -> dict:
    """Numbers and strings only: a tensor in a log keeps a whole model alive. Raises TypeError for others."""
    values = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
    wrong = [
        f"{key} ({type(value).__name__})"
        for key, value in values.items()
        if not isinstance(value, int | float | str | None)
    ]
    if wrong:
        names = ", ".join(wrong)
        raise TypeError(f"only plain numbers and strings can be logged, not {names}: use tensor.item()")
    return values


def is_nan(value: object) -> bool:
    """Is it a number that JSON has no word for?"""
    return isinstance(value, float) and not math.isfinite(value)


def drop_torn_line(path: Path) -> None:
    """A killed process can leave half a line; the next line must not be glued to it."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:200]


@functools.cache
def say_once(line: str) -> None:
    """Print it once in this process, not for each of ten folds."""
    print(line, flush=True)
