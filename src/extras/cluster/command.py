"""Train runs on a Ray cluster: each fold a task.  runs/<name>/{config.json, folds.csv} -> what `make train`
writes, and runs/<name>/cluster/ with a log per task

Run: make train CLUSTER=auto COMP=x, make train CLUSTER=local RUNS="a b",
     or python -m src cluster runs/a runs/b --on HOST:6379 [--fold 0,3] [--cpus 2] [--limit 4]
     python -m src cluster runs/a --on auto --serve          for a sweep: see serve.py

A task is an ordinary command, and a fold goes on from its saved state, so that a task whose node is lost
loses little. All nodes see the same folder, such as a shared disk.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from src.extras.cluster import nodes
from src.extras.cluster.driver import Driver, complain, print_now
from src.extras.cluster.job import begin_job
from src.extras.cluster.news import table
from src.extras.cluster.serve import serve
from src.extras.cluster.units import LEFT_OUT, STOPPED, Unit, plan
from src.load_run import load_run
from src.run.errors import CheckFailed, Stopped
from src.run.paths import RunPaths


def run_all(driver: Driver, units: Sequence[Unit]) -> None:
    """Run all units, and print a table. Raises Stopped, and CheckFailed where a unit has failed."""
    driver.waiting += units
    with driver.listening():
        while driver.is_busy:
            driver.step()
    print(f"\n{table(units, driver.outcomes, driver.nodes.name_of)}", flush=True)
    codes = [outcome.code for outcome in driver.outcomes.values()]
    failed = sum(code not in (0, STOPPED, LEFT_OUT) for code in codes)
    if failed:
        raise CheckFailed(
            f"{failed} of {len(units)} units on the cluster failed; what they printed is in their runs'"
            " folders cluster/, and the same command does what is left"
        )
    if STOPPED in codes:
        raise Stopped("all units on the cluster have stopped; the same command goes on")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src cluster", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folders", type=Path, nargs="+", help="of the runs: runs/NAME")
    parser.add_argument("--on", default="auto", help="auto: this machine's cluster; local; or HOST:PORT")
    parser.add_argument("--fold", default="", help="these folds alone, as 0,3; no score then")
    parser.add_argument("--cpus", type=int, default=0, help="processors of a unit")
    parser.add_argument("--limit", type=int, default=0, help="units at once")
    parser.add_argument("--serve", action="store_true", help="take units from stdin, see serve.py")
    return parser


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)
    runs = [load_run(RunPaths(folder)) for folder in dict.fromkeys(options.folders)]
    only = [int(number) for number in options.fold.split(",") if number]
    units = [] if options.serve else plan(runs, only)
    nodes.connect(options.on)
    job = begin_job(runs[0].paths.root)
    try:
        cluster = nodes.Cluster(job, options.cpus)
        if options.serve:
            serve(Driver(cluster, job, complain, options.limit), lambda: cluster.slots)
        else:
            print_now(f"{len(units)} units, {cluster.slots} at once, {cluster.cpus} processors each")
            run_all(Driver(cluster, job, print_now, options.limit), units)
    finally:
        job.end()
