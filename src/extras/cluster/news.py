"""What the units on the cluster are doing, in one place: by their logs and status files, which lie in the
runs' folders.
"""

import time
from collections.abc import Callable, Sequence

from src.extras.cluster.units import LEFT_OUT, STOPPED, Outcome, Unit, score_of
from src.run.files import Damaged, read_json
from src.run.progress import duration

EVERY = 10.0  # seconds between two lines of one unit, of each of ten units ... of all together, one a second

Say = Callable[[str], None]


class News:
    """Of one unit, while the cluster has it. name_of: the name of a node, by its id."""

    def __init__(self, unit: Unit, job: str, say: Say, name_of: Callable[[str], str]) -> None:
        self.unit, self.job, self.say, self.name_of = unit, job, say, name_of
        self.attempt = 0
        self.read = unit.log.stat().st_size if unit.log.exists() else 0  # bytes of the log
        self.line = ""  # the last of the log that is not told yet
        self.told = time.monotonic()

    def tell(self, num_units: int) -> None:
        """Say what is new, but not more often than is pleasant to read, with so many units."""
        self.tell_attempt()
        self.read_log()
        now = time.monotonic()
        if self.line and now - self.told > max(EVERY, num_units):
            self.say(f"{self.unit.name}: {self.line}")
            self.line, self.told = "", now

    def tell_attempt(self) -> None:
        """Say where the unit has begun."""
        try:
            status = read_json(self.unit.status)
        except (OSError, Damaged):  # not begun, or a file of a shared disk on its way
            return
        if status["job"] != self.job or status["attempt"] == self.attempt:
            return
        self.attempt = status["attempt"]
        again = f", attempt {self.attempt}: the one before was lost" if self.attempt > 1 else ""
        self.say(f"{self.unit.name}: begins on {self.name_of(status['node'])}{again}")

    def read_log(self) -> None:
        if not self.unit.log.exists():
            return
        with self.unit.log.open("rb") as file:
            file.seek(self.read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]  # the last line may be half written
        self.read += len(whole)
        lines = [line for line in whole.decode(errors="replace").splitlines() if line.strip()]
        if lines and not lines[-1].startswith("=="):  # of task.py: an attempt begins
            self.line = lines[-1].strip().removeprefix(self.unit.label).strip()


def ending(unit: Unit, outcome: Outcome, name_of: Callable[[str], str]) -> str:
    """How a unit has ended, in a line."""
    if outcome.code == LEFT_OUT or not outcome.node:
        return outcome.line
    where = f"after {duration(outcome.seconds)} on {name_of(outcome.node)}"
    if outcome.code == STOPPED:
        return f"stopped {where}: {outcome.line}"
    if outcome.code:
        return f"FAILED {where}: {outcome.line}; all of it in {unit.log}"
    score = score_of(unit)
    return f"done {where}" if score is None else f"{score:.4f} {where}"


def table(units: Sequence[Unit], outcomes: dict[str, Outcome], name_of: Callable[[str], str]) -> str:
    """A line per unit: score, seconds, attempts, node, how it ended."""
    lines = [("unit", "score", "seconds", "attempts", "node", "")]
    for unit in units:
        outcome = outcomes[unit.name]
        score = None if outcome.code else score_of(unit)
        lines.append(
            (
                unit.name,
                "-" if score is None else f"{score:.4f}",
                f"{outcome.seconds:.0f}" if outcome.node else "-",
                str(outcome.attempt) if outcome.attempt else "-",
                name_of(outcome.node) if outcome.node else "-",
                WORDS.get(outcome.code, "FAILED"),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = ("  ".join(f"{word:{width}}" for word, width in zip(line, widths)) for line in lines)
    return "\n".join(row.rstrip() for row in rows)


WORDS = {0: "", STOPPED: "stopped", LEFT_OUT: "left out"}
