"""GPUS=4: several processes train the folds, whole ones side by side, or each fold all together.  The same
files as of one process.
"""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from src.data.recipe import differences
from src.data.run import Run
from src.data.training_table import TrainingTable, load_training_table
from src.model.pretrained import pretrained_hash
from src.prepare import caches_trunk, make_template
from src.run import gpus
from src.run.device import choose_device
from src.run.files import read_json
from src.run.launch import train_together
from src.run.paths import REFIT
from src.train import check_names, chosen_folds

WORDS = {"folds": "whole folds side by side", "fold": "each fold over all processes"}


def spread(run: Run, only: Sequence[int] | None, number: int, torchrun: str) -> None:
    """Train what is not finished by so many processes on this machine; scores are left to the caller.
    torchrun: options for it, as of more machines. Raises ValueError for settings that don't work, and
    Stopped; exits where a process fails.
    """
    gpus.check(number, run.machine.device)
    table = load_training_table(run, pretrained_hash(run.config))
    check_names(run)
    folds = [k for k in chosen_folds(table, only) if is_left(table, k)]
    refits = [] if only else [REFIT - n for n in range(run.config.refit)]
    left = [*folds, *(k for k in refits if not run.paths.fold(k).done.exists())]
    if not left:
        return
    how, reason = choose(table, len(left), number, torchrun)
    print(f"GPUS={number}: {WORDS[how]} ({reason})", flush=True)
    gpus.make_room()
    words = ["--fold", ",".join(map(str, only))] if only else []
    if how == "fold":
        if not train_together(run.paths, number, torchrun, words):
            print("the machine of the main process scores and predicts")
            sys.exit(0)
    elif folds:
        gpus.share_out(run.paths.root, number, words)


def is_left(table: TrainingTable, fold: int) -> bool:
    """Whether the fold is not trained by this recipe. No lock is taken: the commands of several machines may
    look at once.
    """
    done = table.run.paths.fold(fold).done
    return not done.exists() or bool(differences(read_json(done), table.recipe))


def choose(table: TrainingTable, num_left: int, number: int, torchrun: str) -> tuple[str, str]:
    """(a word of WORDS, why). Side by side nothing is waited for and no bit changes, so that is taken where
    each process has a fold; and where the trunk's outputs are cached, for a step of milliseconds is shorter
    than what the processes would tell each other. Raises ValueError for TORCHRUN with spread=folds.
    """
    asked = table.run.machine.spread
    if torchrun and asked == "folds":
        raise ValueError(
            'TORCHRUN is for spread=fold, a fold over all processes: leave it out, or MACHINE="spread=fold"'
        )
    if asked != "auto":
        return asked, f"spread={asked}"
    if torchrun:
        return "fold", "TORCHRUN"
    if num_left >= number:
        return "folds", f"{num_left} models are left to train, one or more for each"
    with redirect_stdout(io.StringIO()):  # the processes print it
        device = choose_device(table.run.machine.device)
        is_cached = caches_trunk(table.run, len(table.frame), make_template(table), device)
    if is_cached:
        return "folds", "the trunk's outputs are cached: steps are too short to wait for each other"
    return "fold", f"fewer models are left to train than there are processes, {num_left}"
