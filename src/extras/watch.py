"""The curves of a run in the terminal, while it trains.  fold<k>/log.jsonl -> a picture of letters

Run: make watch RUN=x, in a second terminal; ONCE=1 draws once. Or python -m src watch runs/x [--once]
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from src.run import configure
from src.run.files import read_json
from src.run.paths import RunPaths, fold_name

SECONDS = 2.0  # between two drawings
HEIGHT = 20  # lines
CLEAR = "\x1b[H\x1b[2J"  # the cursor to the top, and an empty screen

Log = list[dict[str, float]]  # an entry per epoch


def read_logs(paths: RunPaths) -> dict[str, Log]:
    """fold name -> its epochs so far. A line that is being written now is left out."""
    logs = {}
    for k in paths.begun():
        path = paths.fold(k).log
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        if entries:
            logs[fold_name(k)] = entries
    return logs


def metric_of(logs: dict[str, Log]) -> str:
    """The name of the score in the logs, or "" where nothing is held out."""
    names = [name for log in logs.values() for name in log[0] if name not in ("epoch", "loss", "lr")]
    return next((name for name in names if name != "valid_loss"), "")


def curves(logs: dict[str, Log], width: int, *, colourless: bool) -> str:
    """The held-out loss and the score of all folds over the epochs, side by side."""
    try:
        import plotext
    except ImportError as error:
        raise ValueError(
            "the curves are drawn by plotext, which is not installed: pip install -r requirements-watch.txt"
        ) from error
    figure = plotext.figure
    figure.clear()
    names = [name for name in ("valid_loss" if metric_of(logs) else "loss", metric_of(logs)) if name]
    figure.subplots(1, len(names))
    for column, name in enumerate(names, start=1):
        plot = figure.subplot(1, column)
        plot.title(f"{name} of {len(logs)} folds, by epoch")
        for log in logs.values():
            points = [(entry["epoch"], entry[name]) for entry in log if entry.get(name) is not None]
            if points:
                signal = plot.signal(*zip(*points), marker="braille")
                signal.lines()
                plot.draw(signal)
    figure.plot_size(width, HEIGHT)
    return str(figure.build().string(colorless=colourless))


def last_figures(logs: dict[str, Log], epochs: int) -> list[str]:
    """A line per fold, with its figures after the last epoch."""
    lines = []
    for name, log in logs.items():
        figures = {key: value for key, value in log[-1].items() if key != "epoch" and value is not None}
        text = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        lines.append(f"{name}  epoch {log[-1]['epoch']}/{epochs}  {text}")
    return lines


def is_over(paths: RunPaths) -> bool:
    """Whether the run has a score that is not older than its folds."""
    folds = [paths.fold(k).done for k in paths.finished()]
    if not paths.score.exists() or len(folds) < read_json(paths.config)["config"]["folds"]:
        return False
    return paths.score.stat().st_mtime_ns >= max(done.stat().st_mtime_ns for done in folds)


def picture(paths: RunPaths, *, colourless: bool) -> str:
    """What is drawn each time."""
    logs = read_logs(paths)
    if not logs:
        return f"{paths.name}: no epoch has ended yet"
    width = min(shutil.get_terminal_size((100, 24)).columns, 160)
    drawn = curves(logs, width, colourless=colourless)
    return "\n".join([drawn, *last_figures(logs, configure.load(paths.config).config.epochs)])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(usage="python -m src watch FOLDER [--once]")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--once", action="store_true", help="draw once, without waiting for the end")
    options = parser.parse_args(arguments)
    paths, is_terminal = RunPaths(options.folder), sys.stdout.isatty()
    configure.load(paths.config)  # raises ValueError where there is no such run
    while True:
        has_ended = is_over(paths)  # asked first, so that the last drawing has all
        print(f"{CLEAR if is_terminal else ''}{picture(paths, colourless=not is_terminal)}", flush=True)
        if has_ended or options.once:
            return
        time.sleep(SECONDS)
