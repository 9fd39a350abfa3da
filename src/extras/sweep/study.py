"""Which settings to try next: an optuna study in a file.  runs/<sweep>/study.journal

Each trial is asked for with a sampler of its own seed, so that a sweep that was killed and goes on asks for
the same trials as one that never was.
"""

import logging
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from src.config import as_text
from src.experiments import Range, Space
from src.run.tracking import drop_torn_line

RANDOM = 5  # trials before the sampler learns from the earlier ones, and before one may be pruned
QUARTERS = (25, 50, 75, 100)  # percent of a fold's epochs, at which its curve is compared
SET = "set"  # of a trial: its settings as text
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space in optuna's words."""
    found: dict[str, BaseDistribution] = {}
    for name, choice in space.items():
        if not isinstance(choice, Range):
            found[name] = CategoricalDistribution([as_text(value) for value in choice])
        elif isinstance(choice.low, int) and isinstance(choice.high, int):
            found[name] = IntDistribution(choice.low, choice.high, log=choice.is_log)
        else:
            found[name] = FloatDistribution(choice.low, choice.high, log=choice.is_log)
    return found


def holds(choice: Range | list[Any], value: Any) -> bool:
    """Is this one of the values that may be chosen? Of a list, its text."""
    if isinstance(choice, Range):
        return isinstance(value, int | float) and choice.low <= value <= choice.high
    return value in [as_text(one) for one in choice]


def set_text(params: Mapping[str, Any]) -> str:
    """The settings of a trial as SET takes them, numbers with three digits."""
    pairs = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in params.items()}
    return " ".join(f"{name}={value}" for name, value in pairs.items())


def open_study(path: Path, *, lower_is_better: bool, origin: Mapping[str, str]) -> optuna.Study:
    """The study in this file, begun where there is none. origin: what it is a sweep of. Raises ValueError
    where the file is of another sweep.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    path.parent.mkdir(parents=True, exist_ok=True)
    drop_torn_line(path)  # of a process that was killed
    backend = JournalFileBackend(str(path))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name=path.parent.name,
        direction="minimize" if lower_is_better else "maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=RANDOM),
        load_if_exists=True,
    )
    known = study.user_attrs
    if changed := [name for name, value in origin.items() if known.get(name, value) != value]:
        raise ValueError(
            f"{path.parent} is a sweep of another {' and '.join(changed)}: type"
            f" make clean RUN={path.parent.name}, which removes the study and keeps the runs of its trials"
        )
    for name, value in origin.items():
        if name not in known:
            study.set_user_attr(name, value)
    return study


def next_trial(
    study: optuna.Study,
    space: Space,
    seed: int,
    first: Mapping[str, Any],
    at_work: Collection[int] = (),
) -> Trial:
    """The trial that a stopped sweep was at, else a new one. The first of all has the experiment's own
    settings, `first`, where the space holds them. at_work: numbers of those that are being trained now; the
    sampler keeps away from them, as if they had scored badly (constant liar: Ginsbourger et al. 2010).
    """
    for frozen in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if frozen.number in at_work:
            continue
        if SET in frozen.user_attrs:
            return Trial(study, frozen._trial_id)
        study.tell(frozen.number, state=TrialState.FAIL)  # killed before it had settings: it had no run
    number, wanted = len(tried(study)) + len(at_work), distributions(space)
    study.sampler = optuna.samplers.TPESampler(
        seed=seed + 1000 * number, n_startup_trials=RANDOM, constant_liar=bool(at_work)
    )
    is_waiting = study.get_trials(deepcopy=False, states=[TrialState.WAITING])
    if not number and not is_waiting and all(holds(space[name], first.get(name)) for name in space):
        study.enqueue_trial({name: first[name] for name in space})
    trial = study.ask(wanted)
    trial.set_user_attr(SET, set_text(trial.params))
    return trial


def tried(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have come to an end, in their order; without those that never had settings."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    return [trial for trial in trials if SET in trial.user_attrs]


def is_hopeless(study: optuna.Study, trial: Trial, curve: Sequence[float]) -> bool:
    """Is this trial's first fold worse than the median of the trials so far? curve: the fold's score after
    each epoch. Trials differ in epochs, so that curves are compared at quarters of their length.
    """
    known = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for percent in QUARTERS:
        epoch = max(round(len(curve) * percent / 100), 1)
        if percent not in known and np.isfinite(curve[epoch - 1]):
            trial.report(curve[epoch - 1], step=percent)
    return trial.should_prune()


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of the score's variance that each setting explains (functional ANOVA: Hutter et al. 2014),
    the largest first; empty with fewer than four whole trials, or with equal scores.
    """
    scores = {trial.value for trial in tried(study) if trial.state == TrialState.COMPLETE}
    if len(scores) < 4:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
