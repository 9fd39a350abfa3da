"""What the ledger tells: which gains are noise, whether the leaderboard agrees, and two final picks.
submissions/ledger.csv -> lines on the terminal

Run: python -m src ledger [--comp NAME] [--public SHARE]        make ledger COMP=x PUBLIC=0.3
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.extras.ledger.entries import Entry, entries_of
from src.extras.ledger.figures import FEWEST, public_luck, rank_correlation
from src.extras.ledger.noise import margin, variances
from src.extras.ledger.picks import Second, choose, public_variance
from src.extras.ledger.plot import letters, scatter
from src.extras.ledger.predictions import difference
from src.run.files import read_json
from src.run.ledger import LATE, Row, read_ledger

LEDGER = Path("submissions/ledger.csv")
USUAL_SHARE = 0.3  # of the test rows, where nobody says


def by_competition(rows: list[Row]) -> dict[str, list[Row]]:
    """The lines of each; those of an earlier version by the note beside the csv."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        note = LEDGER.with_name(row["submission"]).with_suffix(".json")
        comp = row["comp"] or (read_json(note).get("comp", "") if note.exists() else "")
        groups[comp or "unknown competition"].append(row)
    return groups


def report(comp: str, rows: list[Row], public_share: float | None) -> str:
    """All that is said of one competition."""
    entries = entries_of(rows)
    partial = len({row["sha256"] for row in rows}) - len(entries)
    better = "lower" if entries and entries[0].sign < 0 else "higher"
    metric = next((row["metric"] for row in rows if row["metric"]), "score")
    number = "1 submission" if len(entries) == 1 else f"{len(entries)} submissions"
    lines = [f"{comp}: {number}, {metric}, {better} is better"]
    if partial:
        lines.append(f"  ({partial} of a single fold left out)")
    if not entries:
        return lines[0]
    share = public_share or USUAL_SHARE
    lines += ["", *table(entries, rows), *leaderboard(entries, share), "", *advice(entries, share)]
    if public_share is None and any(map(math.isfinite, public_of(entries))):
        lines.append(
            f"  The public score is taken to be of {share:.0%} of the test rows; its page says: PUBLIC=0.3"
        )
    return "\n".join(lines)


def table(entries: Sequence[Entry], rows: list[Row]) -> list[str]:
    """A line per submission; the gain is over the best before it."""
    notes = {row["sha256"]: row["note"] for row in rows}
    width = max(len(entry.name) for entry in entries)
    lines = [f"  {'':1} {'csv':{width}}  {'OOF':>8}  {'gain':14}  {'public':>8}  {'private':>8}  note"]
    best: Entry | None = None
    for entry, letter in zip(entries, letters(len(entries))):
        scores = [shown(entry, value) for value in (entry.oof, entry.public, entry.private)]
        mark = gain_mark(best, entry) if best else ""
        note = notes[entry.sha256] or ("" if entry.is_sent else "not sent")
        line = f"  {letter} {entry.name:{width}}  {scores[0]}  {mark:14}  {scores[1]}  {scores[2]}  {note}"
        lines.append(line.rstrip())
        best = entry if best is None or entry.oof > best.oof else best
    return lines


def gain_mark(best: Entry, entry: Entry) -> str:
    """The gain over the best before, and whether it may be noise of the folds."""
    gain = entry.oof - best.oof
    noise = margin(best, entry)
    is_noise = math.isfinite(noise) and abs(gain) <= noise
    return f"{gain:+.4f} {'noise' if is_noise else ''}".rstrip()


def shown(entry: Entry, value: float) -> str:
    return f"{entry.sign * value:8.4f}" if math.isfinite(value) else f"{'-':>8}"


def public_of(entries: Sequence[Entry]) -> np.ndarray:
    return np.array([entry.public for entry in entries])


def leaderboard(entries: Sequence[Entry], share: float) -> list[str]:
    """Does it rank as the out-of-fold scores do, and how much of its best score is luck?"""
    scored = [entry for entry in entries if math.isfinite(entry.public)]
    if len(scored) < 2:
        return []
    marks = [mark for entry, mark in zip(entries, letters(len(entries))) if math.isfinite(entry.public)]
    lines = ["", scatter(scored, marks), ""]
    rho, low, high = rank_correlation(np.array([entry.oof for entry in scored]), public_of(scored))
    if math.isnan(rho):
        lines.append(f"  {len(scored)} public scores: a rank correlation takes {FEWEST}")
    else:
        agree = "they rank alike" if low > 0 else "too few, or too noisy, to say that they rank alike"
        lines.append(
            f"  rank correlation of OOF and public {rho:.2f} (95 %: {low:.2f} to {high:.2f}): {agree}"
        )
    return lines + luck(scored, share)


def luck(scored: Sequence[Entry], share: float) -> list[str]:
    """How much of the best public score chance alone would give."""
    best = max(scored, key=lambda entry: entry.oof)
    of_fold = variances(best, [entry for entry in scored if entry is not best], difference).mean()
    error = math.sqrt(of_fold / 2 * public_variance(best, share))
    if not math.isfinite(error):
        return ["  the noise of the public score is unknown: these lines are of an earlier version"]
    gain, expected = public_luck(scored, error)
    return [
        f"  public: the best is {gain:.4f} above the mean of {len(scored)}; {expected:.4f} would be luck if"
        f" all were equally good (one score varies by {error:.4f})"
    ]


def advice(entries: Sequence[Entry], share: float) -> list[str]:
    """The two picks, in words."""
    in_time = [entry for entry in entries if not entry.is_late]
    if not in_time:
        return [f"  nothing to pick: all were sent {LATE}"]
    best, ranked = choose(in_time, difference, share)
    lines = ["final picks", f"  1. {best.name}{unsent(best)}: the best OOF, {shown(best, best.oof).strip()}"]
    if not ranked:
        return [*lines, "  2. there is no other submission"]
    lines += [f"  2. {ranked[0].entry.name}{unsent(ranked[0].entry)}", *why(best, ranked[0])]
    favourite = max(in_time, key=lambda entry: (math.isfinite(entry.public), entry.public))
    other = next((one for one in ranked[1:] if one.entry is favourite), None)
    if other and math.isfinite(favourite.public):
        lines += [f"  not {favourite.name}, the best public score", *why(best, other)]
    return lines


def why(best: Entry, second: Second) -> list[str]:
    """What speaks for and against a second pick."""
    gap = best.oof - second.entry.oof
    reasons = [f"OOF {gap:.4f} behind the first"]
    noise = margin(best, second.entry)
    if math.isfinite(noise):
        reasons[0] += f", {'within' if gap <= noise else 'beyond'} the noise of the folds ({noise:.4f})"
    if math.isfinite(second.difference):
        reasons.append(f"answers that differ by {second.difference:.1%}")
    if math.isfinite(second.error):
        scores = "OOF and public score" if math.isfinite(second.entry.public) else "OOF"
        chance = f"the better of the two with a chance of {second.chance:.0%}"
        reasons.append(f"by {scores} {chance}, expected to add {second.win:.4f}")
    return [f"     {reason}" for reason in reasons]


def unsent(entry: Entry) -> str:
    return "" if entry.is_sent else f" (not sent: make push RUN={entry.name})"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m src ledger", description=__doc__)
    parser.add_argument("--comp", default="")
    parser.add_argument("--public", type=float, help="share of the test rows that the public score is of")
    options = parser.parse_args(arguments)
    groups = by_competition(read_ledger(LEDGER))
    if not groups:
        raise ValueError(f"{LEDGER} is not here yet: make submit writes its first line")
    if options.comp and options.comp not in groups:
        raise ValueError(f"{LEDGER} has nothing of COMP={options.comp}; it has {', '.join(groups)}")
    chosen = [options.comp] if options.comp else [*groups]
    print("\n\n".join(report(comp, groups[comp], options.public) for comp in chosen))
