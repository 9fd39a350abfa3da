"""What a command on a cluster tells its tasks: where the kit lies, which code it is, whether to go on."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from src.extras.cluster.task import PASSED_ON, RUN, code_of
from src.run import provenance
from src.run.files import make_folder
from src.run.sources import ROOT


def passed_on() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}


@dataclass(frozen=True)
class Job:
    """All paths are the same on all nodes."""

    id: str
    folder: str  # that holds runs/ and inputs/
    file: str  # a file of this job in it: it says whether the tasks shall run or stop
    source: str = str(ROOT)  # that holds src/
    python: str = sys.executable
    code: str = field(default_factory=lambda: code_of(ROOT))
    commit: str = field(default_factory=provenance.commit)
    environment: dict[str, str] = field(default_factory=passed_on)

    def ask(self, what: str) -> None:
        """Ask all tasks to run, or to stop."""
        Path(self.file).write_text(what, encoding="utf-8")

    def end(self) -> None:
        Path(self.file).unlink(missing_ok=True)


def begin_job(run: Path) -> Job:
    """A job whose file lies in this run's folder."""
    name = os.urandom(4).hex()
    file = make_folder(run / "cluster").resolve() / f"{name}.job"
    job = Job(name, str(Path.cwd()), str(file))
    job.ask(RUN)
    return job
