"""A finished run as a page to look at: score, curves, mistakes, classes, slices, test, map, cost.
runs/<name>/ -> runs/<name>/report.html

Run: python -m src report runs/<name>        make report RUN=name
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from src.data.run import Run
from src.extras.page.blocks import Section, duration
from src.extras.page.render import render, write_page
from src.extras.report.classes import classes
from src.extras.report.curves import curves
from src.extras.report.drift import drift
from src.extras.report.gallery import HEATED, MOST, mistakes
from src.extras.report.image_map import image_map
from src.extras.report.labels import labels
from src.extras.report.material import Material
from src.extras.report.slices import slices
from src.extras.report.spent import members, reproduce, spent, views
from src.extras.report.standing import standing
from src.extras.report.values import grades, values
from src.extras.results import Result
from src.run.paths import RunPaths

SHARE = 0.1  # of the run's time that a report may take which nobody has asked for
# seconds on one core: of the whole page, and of an image in the gallery
BASE, PER_IMAGE = 6.0, 0.01


def answers(material: Material) -> Section:
    """The section that fits the task."""
    if material.is_ordinal:
        return grades(material)
    if material.has_values:
        return values(material)
    return labels(material) if material.competition.task == "multilabel" else classes(material)


# In the order of the page. Add yours: a function (Material) -> Section, or None where it does not apply.
SECTIONS: dict[str, Callable[[Material], Section | None]] = {
    "score": standing,
    "curves": curves,
    "mistakes": mistakes,
    "answers": answers,
    "slices": slices,
    "test": drift,
    "map": image_map,
    "views": views,
    "members": members,
    "spent": spent,
    "reproduce": reproduce,
}


def report(run: Run) -> Path:
    """Write the page; returns its path. Raises ValueError for a run that is not finished."""
    began, material = time.perf_counter(), Material(run)
    sections = [section for make in SECTIONS.values() if (section := make(material))]
    score, competition = material.score, run.competition
    html = render(
        "report.html.j2",
        Path(__file__).parent,
        sections=sections,
        title=run.paths.name,
        headline=f"{score['oof']:.4f}",
        subtitle=f"out-of-fold {competition.metric_name}, spread of folds {score['spread']:.4f}",
        facts=[
            ("competition", run.settings.comp),
            ("task", competition.task),
            (
                "images",
                (
                    f"{len(material.table):,} held out in {len(score['folds'])} folds, {len(material.test):,}"
                    " of the test"
                ),
            ),
            ("experiment", " ".join([run.settings.exp, run.settings.set]).strip()),
        ],
        footer=f"Podium, commit {score['commit']}. One file: it loads nothing.",
    )
    path = run.paths.root / "report.html"
    size = write_page(html, path)
    print(f"report: {path}, {size:.1f} MB, made in {duration(time.perf_counter() - began)}")
    return path


def estimate(material: Material) -> float:
    """Seconds that a report takes, by what predicting a test image took: a heat map takes as long."""
    predict = material.result.seconds["predict"] / max(len(material.test), 1)
    shown = min(len(material.table), MOST)
    return BASE + PER_IMAGE * shown + predict * min(HEATED, shown)


def elapsed(paths: RunPaths) -> float:
    """Seconds since the call of make began that made this run; its stages' own where that is unknown."""
    started, own = paths.root / ".started", Result(paths).cost
    return max(time.time() - started.stat().st_mtime, own) if started.exists() else own


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--if-quick", action="store_true", help="report: only if it takes a tenth of the run's time"
    )


def command(run: Run, options: argparse.Namespace) -> None:
    """Raises ValueError for a run that is not finished."""
    if options.if_quick:
        seconds, spent_until_now = estimate(Material(run)), elapsed(run.paths)
        if seconds > SHARE * spent_until_now:
            print(
                f"report: left out, it would take about {duration(seconds)}, more than a tenth of the"
                f" run's {duration(spent_until_now)}: make report RUN={run.paths.name}"
            )
            return
    report(run)
