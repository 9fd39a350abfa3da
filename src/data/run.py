"""What every stage is given: the files, the settings and the competition of one run."""

from dataclasses import dataclass, replace
from pathlib import Path

from src.competition.facts import Competition
from src.config import Config, Machine, Settings, as_dict, predicted_size
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
    return Tracker(
        log,
        mode=run.machine.wandb,
        project=f"podium-{run.settings.comp}",
        group=run.paths.name,
        name=f"{run.paths.name}-{name}",
        job_type=job_type,
        config=as_dict(run.config),
        tags=[run.settings.exp],
        dir=run.paths.root,
    )
