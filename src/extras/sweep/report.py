"""What a sweep has found: a table of its trials, which settings matter, and how much its best flatters."""

from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from optuna import Study
from optuna.trial import TrialState

from src.data.run import Run
from src.extras.sweep.flattery import flattery
from src.extras.sweep.study import SET, importances, tried
from src.run.files import write_text

STATES = {TrialState.COMPLETE: "whole", TrialState.PRUNED: "one fold", TrialState.FAIL: "failed"}
BAR = 30  # letters


def table(study: Study) -> pd.DataFrame:
    """A line per trial, the best first: score (of a trial that ended after its first fold, that fold's)."""
    lines = []
    for trial in tried(study):
        folds = trial.user_attrs.get("folds", [])
        curve = trial.intermediate_values
        lines.append(
            {
                "trial": trial.number,
                "ended": STATES[trial.state],
                "score": trial.value if folds else np.nan,
                "spread": np.std(folds, ddof=1) if len(folds) > 1 else np.nan,
                "fold0": curve[max(curve)] if curve else np.nan,
                "seconds": trial.user_attrs.get("seconds", np.nan),
                "settings": trial.user_attrs[SET],
                "run": trial.user_attrs.get("run", ""),
            }
        )
    is_ascending = study.direction.name == "MINIMIZE"
    frame = pd.DataFrame(lines).astype({"score": float, "fold0": float})
    return frame.sort_values(["score", "fold0"], ascending=is_ascending, kind="stable", ignore_index=True)


def write_table(study: Study, folder: Path) -> None:
    write_text(table(study).to_csv(index=False), folder / "trials.csv")


def importance_lines(study: Study) -> list[str]:
    """A bar per setting."""
    shares = importances(study)
    if not shares:
        return ["which settings matter: fewer than four whole trials, so nothing can be said"]
    number = sum(trial.state == TrialState.COMPLETE for trial in tried(study))
    lines = [f"which settings matter: share of the variance of {number} whole trials (few: a rough picture)"]
    width = max(map(len, shares))
    return lines + [
        f"  {name:{width}}  {share:4.0%}  {'#' * round(BAR * share)}" for name, share in shares.items()
    ]


def flattery_lines(study: Study, run: Run) -> list[str]:
    """How good the best is, and how much of that is luck."""
    whole = [trial for trial in tried(study) if trial.state == TrialState.COMPLETE]
    if not whole:
        return ["no trial was trained to its end"]
    best, exp = study.best_trial, run.settings.exp
    lines = [f"best: {best.user_attrs[SET]}, {run.competition.metric_name} {best.value:.4f}"]
    if len(whole) > 1:
        folds = np.array([trial.user_attrs["folds"] for trial in whole])  # (n, K)
        found = flattery(folds, lower_is_better=run.competition.lower_is_better)
        lines.append(
            f"warning: the best of {len(whole)} flatters. Mean of its folds {found.best:.4f}; where the other"
            f" folds choose, the fold left out scores {found.honest:.4f}: count on that, not on the first"
        )
    lines.append(
        f"make submit RUN={best.user_attrs['run']} finishes it; with another seed, which has no part in the"
        f' choice: make train COMP={run.settings.comp} EXP={exp} SET="{best.user_attrs[SET]} seed=1"'
    )
    return lines


def text(study: Study, run: Run) -> str:
    """All of it, for the terminal."""
    shown = table(study).drop(columns="run").to_string(index=False, na_rep="-", float_format="%.4f")
    return "\n".join([shown, "", *importance_lines(study), "", *flattery_lines(study, run)])


def draw_importance(study: Study, folder: Path) -> None:
    """importance.svg: a bar per setting. Nothing with too few trials."""
    shares = importances(study)
    if not shares:
        return
    bars = []
    for line, (name, share) in enumerate(shares.items()):
        y = 40 + 26 * line
        bars.append(
            f'<text x="150" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="160" y="{y}" width="{400 * share:.1f}" height="18" fill="#1e5ac8"/>'
            f'<text x="{168 + 400 * share:.1f}" y="{y + 14}">{share:.0%}</text>'
        )
    height = 50 + 26 * len(shares)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{height}" font-family="sans-serif"'
        f' font-size="14"><rect width="640" height="{height}" fill="white"/>'
        f'<text x="20" y="24">Share of the score\'s variance that each setting explains</text>'
        f"{''.join(bars)}</svg>"
    )
    write_text(svg + "\n", folder / "importance.svg")
