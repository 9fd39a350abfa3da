"""A sweep and its trials: ask the study for settings, train a run by them, tell the study the score."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from optuna import Study
from optuna.trial import Trial, TrialState

from src import split, train
from src.config import as_dict, as_text
from src.data.run import Run, make_tracker
from src.experiments import EXPERIMENTS, Space
from src.extras.sweep import report
from src.extras.sweep.study import SET, is_hopeless, next_trial, tried
from src.load_run import load_run
from src.run import configure
from src.run.errors import CheckFailed, warn
from src.run.files import read_json
from src.run.paths import RunPaths
from src.run.variables import run_name


@dataclass(frozen=True)
class Sweep:
    """What is swept, and how far: until so many trials have come to an end."""

    run: Run
    study: Study
    space: Space
    trials: int
    folder: Path

    def ask(self, at_work: Collection[int] = ()) -> Trial | None:
        """The next trial; None where these, of which those at work have not ended yet, are enough."""
        number = len(tried(self.study)) + len(at_work)
        if number >= self.trials:
            return None
        own = {name: typed(self.space, name, getattr(self.run.config, name)) for name in self.space}
        trial = next_trial(self.study, self.space, self.run.config.seed, own, at_work)
        print(f"\ntrial {number + 1} of {self.trials}: {trial.user_attrs[SET]}", flush=True)
        return trial

    def begin(self, trial: Trial) -> Run:
        """The trial's run, ready to be trained."""
        there = trial_run(self.run, trial.user_attrs[SET])
        trial.set_user_attr("run", there.paths.name)
        return there

    def ends_early(self, trial: Trial, there: Run) -> bool:
        """Whether its first fold is so bad that the trial ends with it."""
        is_over = is_hopeless(self.study, trial, curve(there, 0))
        if is_over:
            self.end(trial, state=TrialState.PRUNED)
        return is_over

    def fail(self, trial: Trial, why: str) -> None:
        """It diverged, say: these settings are no good, others may be."""
        warn(f"trial {trial.number} of the sweep: {why}")
        self.end(trial, state=TrialState.FAIL)

    def finish(self, trial: Trial, there: Run) -> None:
        """Tell the study, and W&B, what the trial's folds have scored."""
        score = read_json(there.paths.score)
        trial.set_user_attr("folds", [float(value) for value in score["folds"].values()])
        trial.set_user_attr("seconds", float(sum(score["seconds"].values())))
        with make_tracker(there, there.paths.root / "log.jsonl", "summary", "summary") as tracker:
            tracker.finish({name: float(score[name]) for name in ("oof", "mean", "spread")})
        self.end(trial, float(score["oof"]))

    def end(self, trial: Trial, value: float | None = None, state: TrialState | None = None) -> None:
        self.study.tell(trial, value, state=state)
        report.write_table(self.study, self.folder)


def run_here(sweep: Sweep) -> None:
    """Train the trials in this process, one after another. Raises Stopped."""
    while trial := sweep.ask():
        there = sweep.begin(trial)
        try:
            train.train(there, [0])
            if sweep.ends_early(trial, there):
                continue
            train.train(there)
        except (CheckFailed, ValueError) as error:
            sweep.fail(trial, str(error))
            continue
        sweep.finish(trial, there)


def typed(space: Space, name: str, value: object) -> object:
    """The experiment's own value of a setting, as the study knows it: choices are texts."""
    return value if isinstance(space[name], tuple) else as_text(value)


def pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


def set_of(run: Run, trial_set: str) -> str:
    """SET of a trial: the run's own, with the trial's settings in their place."""
    changes = pairs(run.settings.set) | pairs(trial_set)
    return " ".join(f"{name}={value}" for name, value in changes.items())


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
    there = load_run(paths)
    split.split(there)
    return there


def curve(run: Run, fold: int) -> list[float]:
    """A fold's score after each epoch, by its log."""
    log = pd.read_json(run.paths.fold(fold).log, lines=True)
    return [float(value) for value in log[run.competition.metric_name]]
