"""What every stage is given: the files, the settings and the competition of one run."""

from dataclasses import dataclass
from pathlib import Path

from src.competition.facts import Competition
from src.config import Config, Machine, Settings
from src.run.paths import RunPaths


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
