"""head, tail and full: the run that is planned, and the experiments that let more or less learn, by the same
backbone at the same size.
"""

from dataclasses import replace
from typing import NamedTuple

from src.config import Config, as_text, resolve
from src.data.run import Run
from src.experiments import EXPERIMENTS
from src.run.overrides import parse_set

EXPERIMENT_OF = {"head": "head", "tail": "baseline", "full": "full"}
CARRIED = ("backbone", "pretrained", "weights", "image_size", "folds", "limit")
# what is meant for one answer, and fits no other
OWN = {"trainable", "solver", "head", "lr", "body_lr", "layer_decay", "init_from", "pseudo", "head_epochs"}


class Choice(NamedTuple):
    kind: str  # head, tail or full
    config: Config
    command: str
    is_own: bool  # the run that is planned


def kind_of(config: Config) -> str:
    if config.trainable in ("head", 0):
        return "head"
    return "full" if config.trainable == "all" else "tail"


def choices(run: Run) -> list[Choice]:
    """The cheapest first."""
    settings = run.settings
    found = []
    for kind, name in EXPERIMENT_OF.items():
        if kind == kind_of(run.config):
            found.append(Choice(kind, run.config, command(run, settings.exp, settings.set), True))
        elif name in EXPERIMENTS:
            changes = {key: value for key, value in parse_set(settings.set).items() if key not in OWN}
            experiment = EXPERIMENTS[name]()
            for key in CARRIED:
                if getattr(experiment, key) != getattr(run.config, key):
                    changes[key] = getattr(run.config, key)
            text = " ".join(f"{key}={as_text(value)}" for key, value in changes.items())
            config = resolve(replace(experiment, **changes))
            found.append(Choice(kind, config, command(run, name, text), False))
    return found


def command(run: Run, exp: str, text: str) -> str:
    """What to type for it."""
    words = f"make submit COMP={run.settings.comp} EXP={exp}"
    return f'{words} SET="{text}"' if text else words
