"""Kaggle and back: the files, the csv, the scores.

Run: COMP=slug python -m src kaggle download        make data COMP=slug
     python -m src kaggle push NAME --message "..."    make push RUN=name MSG="..."
     python -m src kaggle pull                         make pull
     python -m src kaggle push-code NAME               make push-code RUN=name
"""

import argparse
import os
from pathlib import Path

from src.extras.kaggle.download import download
from src.extras.kaggle.pull import pull
from src.extras.kaggle.push import push
from src.extras.kaggle.push_code import push_code
from src.fetch import wanted


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m src kaggle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("download")
    one.add_argument("run", type=Path, nargs="?", help="whose COMP it is, where the variable is not set")
    one = commands.add_parser("push")
    one.add_argument("run", type=Path, help="runs/NAME, or NAME alone")
    one.add_argument("--message", default="")
    one.add_argument("--slug", default="", help="where it is not the name of the competition's folder")
    one.add_argument("--last", action="store_true", help="also the last submission of the day")
    one = commands.add_parser("push-code")
    one.add_argument("run", type=Path, help="runs/NAME, or NAME alone, whose bundle it is")
    one = commands.add_parser("pull")
    one.add_argument("--slug", default="", help="by default each competition that something was sent to")
    options = parser.parse_args(arguments)
    if options.command == "download":
        download(*wanted(options.run, os.environ))
    elif options.command == "push":
        push(options.run.name, options.message, slug=options.slug, take_last=options.last)
    elif options.command == "push-code":
        push_code(options.run.name)
    else:
        pull(options.slug)
