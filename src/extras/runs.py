"""All finished runs as a table in the terminal, the best first; make board shows the same as a page.
runs/*/ -> lines

Run: python -m src runs [competition]        make runs COMP=x
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from src.extras.results import Result, changes, finished, leaderboard, predecessor

RUNS, LEDGER = Path("runs"), Path("submissions/ledger.csv")
BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 12  # characters of a run's curve
LONGEST = 40  # characters of a name


def table_lines(results: Sequence[Result], known: dict[str, dict[str, float]], width: int) -> list[str]:
    """A table for each competition and metric, lines of at most `width` characters."""
    lines = []
    for comp, metric in sorted({(result.comp, result.score["metric"]) for result in results}):
        of_comp = [one for one in results if (one.comp, one.score["metric"]) == (comp, metric)]
        of_comp.sort(key=lambda result: -result.sign * result.score["oof"])
        names = [shorten(result.name, LONGEST) for result in of_comp]
        longest = max(map(len, names))
        has_board = any(result.name in known for result in of_comp)
        head = f"{comp}, {metric}"
        lines.append(f"{head:{longest}}   score  spread    gain  seconds  {'epochs':{CURVE}}")
        lines[-1] += ("  public private" if has_board else "") + "  differs"
        for name, result in zip(names, of_comp):
            lines.append(
                line_of(f"{name:{longest}}", result, results, known.get(result.name, {}), has_board=has_board)
            )
        lines.append("")
    return [shorten(line.rstrip(), width) for line in lines[:-1]]


def line_of(
    name: str, result: Result, results: Sequence[Result], public: dict[str, float], *, has_board: bool
) -> str:
    score, other = result.score, predecessor(result, results)
    gain, different = "      -", ""
    if other is not None:
        gain = f"{result.sign * (score['oof'] - other.score['oof']):+7.4f}"
        names = " ".join(f"{change.name}={change.here}" for change in changes(result, other))
        different = f"  from {other.name}: {names or 'nothing'}"
    line = (
        f"{name}  {score['oof']:6.4f}  {score['spread']:6.4f} {gain}  {result.cost:7.0f} "
        f" {curve_of(result):{CURVE}}"
    )
    if has_board:
        shown = [f"{public[board]:7.4f}" if board in public else "      -" for board in ("public", "private")]
        line += f" {' '.join(shown)}"
    return line + different


def curve_of(result: Result) -> str:
    """The mean score after each epoch as blocks of rising height, from the worst to the best."""
    scores = [result.sign * value for value in result.epochs if value == value]
    if len(scores) < 2:
        return ""
    step = max(-(-len(scores) // CURVE), 1)
    chosen = [max(scores[start : start + step]) for start in range(0, len(scores), step)]
    low, high = min(chosen), max(chosen)
    return "".join(
        BLOCKS[int((value - low) / max(high - low, 1e-12) * (len(BLOCKS) - 1))] for value in chosen
    )


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def main(words: list[str]) -> None:
    results = [result for result in finished(RUNS) if not words or result.comp in words]
    if not results:
        of = f" of {' '.join(words)}" if words else ""
        raise ValueError(f"{RUNS} holds no finished run{of} yet: make submit makes one")
    width = shutil.get_terminal_size((160, 24)).columns
    print("\n".join(table_lines(results, leaderboard(LEDGER), width)))
