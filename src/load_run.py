"""A run as its folder and its competition's describe it.  runs/<name>/config.json, inputs/COMP/ -> Run"""

from src import competitions
from src.data.run import Run
from src.run import configure
from src.run.paths import RunPaths


def load_run(paths: RunPaths) -> Run:
    """Raises ValueError where settings or competition are not there, or ambiguous."""
    settings = configure.load(paths.config)
    return Run(paths, settings, competitions.load(settings.comp, settings.inputs))
