"""Try settings: a space of src/experiments.py, one run per trial, the next chosen by optuna from what the
earlier ones scored. runs/<name>/ -> runs/<name>-<settings>/ per trial; runs/<name>-sweep/ with study.journal,
trials.csv, importance.svg

Run: make sweep COMP=x EXP=head TRIALS=20, or python -m src sweep runs/<name> --trials 20

All trials run in one process, or side by side on a cluster, and share images, trunk and folds. A trial whose
first fold is worse than the median of the earlier ones ends there. The same command goes on where it was
stopped; more TRIALS continue it.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from optuna import Study

from src.config import as_text
from src.data.run import Run
from src.experiments import SWEEPS, Space
from src.extras.sweep import report
from src.extras.sweep.side_by_side import Server, run_side_by_side
from src.extras.sweep.study import open_study
from src.extras.sweep.trials import Sweep, run_here
from src.run import locks
from src.run.choices import pick
from src.run.files import write_text
from src.run.overrides import parse_set

TRIALS = 20


def check_space(space: Space, name: str) -> Space:
    """The same space. Raises ValueError for a setting that there is not, or a value that it does not take."""
    for setting, choice in space.items():
        for value in choice[:2] if isinstance(choice, tuple) else choice:
            try:
                parse_set(f"{setting}={as_text(value)}")
            except ValueError as error:
                raise ValueError(f"SWEEPS[{name!r}] in src/experiments.py: {error}") from error
    return space


def sweep(run: Run, space: Space, trials: int, folder: Path, cluster: Sequence[str] = ()) -> Study:
    """Run trials until so many have come to an end, and write what they say into the folder. cluster: options
    of the command `cluster`, which then trains them side by side.
    """
    origin = {"space": repr(space), "experiment": run.settings.exp, "SET": run.settings.set}
    folder.mkdir(parents=True, exist_ok=True)
    with locks.lock(folder / "sweep.lock") as holder:
        if holder:
            raise ValueError(f"{folder} is being swept by {holder}: wait for it or end it")
        study = open_study(
            folder / "study.journal", lower_is_better=run.competition.lower_is_better, origin=origin
        )
        swept = Sweep(run, study, space, trials, folder)
        if cluster:
            with Server(run.paths.root, cluster) as server:
                run_side_by_side(swept, server)
        else:
            run_here(swept)
        return study


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--space", help="sweep: a name in SWEEPS of src/experiments.py; else the experiment's"
    )
    parser.add_argument("--trials", type=int, default=TRIALS, help="sweep: how many in all")
    parser.add_argument("--on", default="", help="sweep: the cluster, as python -m src cluster takes it")
    parser.add_argument("--cpus", default="0", help="sweep: with --on, processors of a trial")
    parser.add_argument("--limit", default="0", help="sweep: with --on, trials at once")


def command(run: Run, options: Namespace) -> None:
    name = options.space or run.settings.exp
    make_space: Callable[[], Space] = pick(SWEEPS, name, "sweep", "src/experiments.py")
    folder = run.paths.root.with_name(f"{run.paths.name}-sweep")
    cluster = ["--on", options.on, "--cpus", options.cpus, "--limit", options.limit] if options.on else []
    study = sweep(run, check_space(make_space(), name), options.trials, folder, cluster)
    text = report.text(study, run)
    write_text(text + "\n", folder / "report.txt")
    report.draw_importance(study, folder)
    print(f"\n{text}")
