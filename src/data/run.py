"""What every stage is given: the files, the settings and the competition of one run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from src.competition.facts import Competition
from src.config import Config, Machine, Settings, as_dict, as_text, predicted_size
from src.run.paths import RunPaths
from src.run.tracking import Tracker


@dataclass(frozen=True)
class Run:
    """One experiment on one competition."""

    paths: RunPaths
    settings: Settings
    competition: Competition

    @property
    def config(self) -> Config:
        """The settings that can change a prediction."""
        return self.settings.config

    @property
    def machine(self) -> Machine:
        """The settings that can't."""
        return self.settings.machine

    @property
    def inputs(self) -> Path:
        """The folder with the competition's files."""
        return self.settings.folder


def at_test_size(run: Run) -> Run:
    """The run with images of the size at which it predicts."""
    config = replace(run.config, image_size=predicted_size(run.config))
    return replace(run, settings=replace(run.settings, config=config))


def make_tracker(run: Run, log: Path, name: str, job_type: str) -> Tracker:
    """log.jsonl and Weights & Biases: one group per run, one of its runs per fold and one for the summary."""
    settings = run.settings
    command = f'make submit COMP={settings.comp} EXP={settings.exp} SET="{settings.set}"'
    return Tracker(
        log,
        mode=run.machine.wandb,
        project=f"podium-{settings.comp}",
        group=run.paths.name,
        name=f"{run.paths.name}-{name}",
        job_type=job_type,
        config=tracked_settings(run) | {"part": name},
        tags=tags(run),
        notes=command,
        dir=run.paths.root,
    )


def tracked_settings(run: Run) -> dict[str, Any]:
    """What W&B can filter and group runs by: each setting as a number or a text, and where it was used."""
    config = {
        name: as_text(value) if isinstance(value, tuple) else value
        for name, value in as_dict(run.config).items()
    }
    place = {"comp": run.settings.comp, "exp": run.settings.exp, "run": run.paths.name}
    return config | place | {"task": run.competition.task, "metric": run.competition.metric_name}


def tags(run: Run) -> list[str]:
    """Experiment, backbone and what learns; W&B takes 64 characters."""
    words = [run.settings.exp, run.config.backbone, f"trainable={as_text(run.config.trainable)}"]
    return [word[:64] for word in words]
