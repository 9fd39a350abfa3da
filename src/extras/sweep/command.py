"""Try settings: a space of src/experiments.py, one run per trial, the next chosen by optuna from what the
earlier ones scored. runs/<name>/ -> runs/<name>-<settings>/ per trial; runs/<name>-sweep/ with study.journal,
trials.csv, importance.svg

Run: make sweep COMP=x EXP=head TRIALS=20, or python -m src sweep runs/<name> --trials 20

All trials run in one process and share images, trunk and folds. A trial whose first fold is worse than the
median of the earlier ones ends there. The same command goes on where it was stopped; more TRIALS continue it.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from optuna import Study
from optuna.trial import Trial, TrialState

from src import competitions, split, train
from src.config import as_dict, as_text
from src.data.run import Run, make_tracker
from src.experiments import EXPERIMENTS, SWEEPS, Space
from src.extras.sweep import report
from src.extras.sweep.study import SET, is_hopeless, next_trial, open_study, tried
from src.run import configure, locks
from src.run.choices import pick
from src.run.errors import CheckFailed, warn
from src.run.files import read_json, write_text
from src.run.overrides import parse_set
from src.run.paths import RunPaths
from src.run.variables import run_name

TRIALS = 20


def pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


def set_of(run: Run, trial_set: str) -> str:
    """SET of a trial: the run's own, with the trial's settings in their place."""
    changes = pairs(run.settings.set) | pairs(trial_set)
    return " ".join(f"{name}={value}" for name, value in changes.items())


def check_space(space: Space, name: str) -> Space:
    """The same space. Raises ValueError for a setting that there is not, or a value that it does not take."""
    for setting, choice in space.items():
        for value in choice[:2] if isinstance(choice, tuple) else choice:
            try:
                parse_set(f"{setting}={as_text(value)}")
            except ValueError as error:
                raise ValueError(f"SWEEPS[{name!r}] in src/experiments.py: {error}") from error
    return space


def trial_run(run: Run, trial_set: str) -> Run:
    """The run of a trial, like one of `make submit SET=...`, with its folds."""
    settings = run.settings
    environment = {
        "COMP": settings.comp,
        "EXP": settings.exp,
        "SET": set_of(run, trial_set),
        "INPUTS": str(settings.inputs),
        "CACHE": str(settings.cache),
        "MACHINE": " ".join(f"{name}={as_text(value)}" for name, value in as_dict(run.machine).items()),
    }
    paths = RunPaths(run.paths.root.parent / run_name(environment, is_smoke=False))
    new = configure.settings_for(paths, environment, EXPERIMENTS)
    configure.write(new, paths)
    there = Run(paths, new, competitions.load(new.comp, new.inputs))
    split.split(there)
    return there


def curve(run: Run, fold: int) -> list[float]:
    """A fold's score after each epoch, by its log."""
    log = pd.read_json(run.paths.fold(fold).log, lines=True)
    return [float(value) for value in log[run.competition.metric_name]]


def finish_trial(run: Run, study: Study, trial: Trial) -> None:
    """Train the trial's run, or its first fold alone if that is hopeless. Raises Stopped."""
    there = trial_run(run, trial.user_attrs[SET])
    trial.set_user_attr("run", there.paths.name)
    try:
        train.train(there, [0])
        if is_hopeless(study, trial, curve(there, 0)):
            study.tell(trial, state=TrialState.PRUNED)
            return
        train.train(there)
    except (CheckFailed, ValueError) as error:  # it diverged, say: these settings are no good, others may be
        warn(f"trial {trial.number} of the sweep: {error}")
        study.tell(trial, state=TrialState.FAIL)
        return
    score = read_json(there.paths.score)
    trial.set_user_attr("folds", [float(value) for value in score["folds"].values()])
    trial.set_user_attr("seconds", float(sum(score["seconds"].values())))
    with make_tracker(there, there.paths.root / "log.jsonl", "summary", "summary") as tracker:
        tracker.finish({name: float(score[name]) for name in ("oof", "mean", "spread")})
    study.tell(trial, float(score["oof"]))


def sweep(run: Run, space: Space, trials: int, folder: Path) -> Study:
    """Run trials until so many have come to an end, and write what they say into the folder."""
    origin = {"space": repr(space), "experiment": run.settings.exp, "SET": run.settings.set}
    folder.mkdir(parents=True, exist_ok=True)
    with locks.lock(folder / "sweep.lock") as holder:
        if holder:
            raise ValueError(f"{folder} is being swept by {holder}: wait for it or end it")
        study = open_study(
            folder / "study.journal", lower_is_better=run.competition.lower_is_better, origin=origin
        )
        own = {name: typed(space, name, getattr(run.config, name)) for name in space}
        while (number := len(tried(study))) < trials:
            trial = next_trial(study, space, run.config.seed, own)
            print(f"\ntrial {number + 1} of {trials}: {trial.user_attrs[SET]}", flush=True)
            finish_trial(run, study, trial)
            report.write_table(study, folder)
    return study


def typed(space: Space, name: str, value: object) -> object:
    """The experiment's own value of a setting, as the study knows it: choices are texts."""
    return value if isinstance(space[name], tuple) else as_text(value)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--space", help="sweep: a name in SWEEPS of src/experiments.py; else the experiment's"
    )
    parser.add_argument("--trials", type=int, default=TRIALS, help="sweep: how many in all")


def command(run: Run, options: Namespace) -> None:
    name = options.space or run.settings.exp
    make_space: Callable[[], Space] = pick(SWEEPS, name, "sweep", "src/experiments.py")
    folder = run.paths.root.with_name(f"{run.paths.name}-sweep")
    study = sweep(run, check_space(make_space(), name), options.trials, folder)
    text = report.text(study, run)
    write_text(text + "\n", folder / "report.txt")
    report.draw_importance(study, folder)
    print(f"\n{text}")
