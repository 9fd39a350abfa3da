"""How long will it take, and what does it need? A minute's measurement on a few images, and the counted work.
runs/<name>/ -> a table, plan.json

Run: python -m src plan runs/<name> [--budget 9h] [--number 1200000] [--devices 4] [--machines 8]
     make plan COMP=x EXP=y BUDGET=9h
"""

import contextlib
import io
import json
import re
import shutil
import tempfile
import time
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src import split
from src.competition import tables
from src.config import Config
from src.data import features
from src.data.external import read_external
from src.data.extra_columns import ExtraColumns
from src.data.run import Run
from src.data.views import training_views, tta_views
from src.extras.costs import Rates, Work, memory_limit
from src.extras.plan.choices import Choice, choices
from src.extras.plan.clock import Seconds, repeated, timed
from src.extras.plan.left import shares_done
from src.extras.plan.measure import measure
from src.extras.plan.report import Plan, advice, choice_lines, limit, stage_lines
from src.extras.plan.sample import of_processes, small_run
from src.extras.plan.stages import Machines, left, total
from src.model.classifier import Classifier, build
from src.prepare import caches_trunk
from src.run import memory
from src.run.device import make_accelerator
from src.run.files import write_json

MOST, FEWEST = 128, 16  # images of the sample
SAMPLE_SECONDS = 10.0  # that all views of the sample may take in the network, in one pass
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--budget", default="", help="plan: the time there is: 90min, 9h, 2d")
    parser.add_argument("--number", type=int, default=0, help="plan: training images, in place of those here")
    parser.add_argument("--devices", type=int, default=1, help="plan: of each machine")
    parser.add_argument("--machines", type=int, default=1, help="plan: how many")
    parser.add_argument("--disk", type=float, default=500, help="plan: MB a second of a machine's disk")
    parser.add_argument("--network", type=float, default=10, help="plan: Gbit a second of a machine")
    parser.add_argument("--seconds", type=float, default=5.0, help="plan: for each thing that is repeated")
    parser.add_argument("--json", action="store_true", help="print the plan as json")


def seconds_of(budget: str) -> float:
    """ "9h" -> 32400; 0 where none is given. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d)", budget)
    if budget and not match:
        raise ValueError(f"BUDGET={budget} must be a time such as 90min, 9h or 2d")
    return float(match[1]) * UNITS[match[2]] if match else 0.0


def command(run: Run, options: Namespace) -> None:
    budget = seconds_of(options.budget)
    began = time.perf_counter()
    machines = Machines(
        options.machines,
        max(options.devices, 1),
        options.disk * 1e6,
        options.network * 1e9 / 8,
        memory_limit(),
    )
    planner = Planner(run, options.number, machines, options.seconds)
    with (
        tempfile.TemporaryDirectory(prefix="podium-plan-") as folder,
        contextlib.redirect_stdout(io.StringIO()),  # what the stages say of the sample
        contextlib.redirect_stderr(io.StringIO()),
    ):
        pairs = planner.plans(Path(folder))
    plans = [plan for plan, _ in pairs]
    own = next(plan for plan in plans if plan.choice.is_own)
    result = as_json(pairs, time.perf_counter() - began)
    write_json(result, run.paths.root / "plan.json")
    if options.json:
        print(json.dumps(result, indent=2))
        return
    cache = run.settings.cache.absolute()
    free = shutil.disk_usage(next(place for place in (cache, *cache.parents) if place.exists())).free
    print(planner.title(own, time.perf_counter() - began))
    print("\n".join(["", *stage_lines(own), "", f"limit: {limit(own)}"]))
    print("\n".join(f"to do: {line}" for line in advice(own, free, machines.memory)))
    print("\n".join(["", *choice_lines(plans, budget, options.budget)]))


class Planner:
    """What the plans of one run share: its tables, and what its processes take."""

    def __init__(self, run: Run, num_images: int, machines: Machines, seconds: float) -> None:
        self.run, self.machines, self.seconds = run, machines, seconds
        tolerant = run.config.bad_images == "drop"
        with contextlib.redirect_stderr(io.StringIO()):
            (self.table, self.test), reading = timed(
                lambda: (
                    tables.make_train(run.inputs, run.competition, tolerant=tolerant),
                    tables.make_test(run.inputs, run.competition),
                )
            )
            external = len(read_external(run))
        self.row = reading / (len(self.table) + len(self.test))
        self.num_held_out = min(run.config.limit or len(self.table), len(self.table))
        self.num_images, self.num_test = self.num_held_out + external, len(self.test)
        self.is_own_number = num_images in (0, self.num_images)
        if not self.is_own_number:  # test images in proportion
            factor = num_images / self.num_images
            self.num_test = round(self.num_test * factor)
            self.num_held_out = round(self.num_held_out * factor)
            self.num_images = num_images
        self.process_bytes = memory.process_bytes()

    def plans(self, folder: Path) -> list[tuple[Plan, Plan]]:
        """Of each choice its plan, and the same in seconds of the processor. Raises ValueError for what no
        stage would take.
        """
        ways = choices(self.run)
        models = {choice.kind: self.model(choice.config) for choice in ways}
        own = next(choice for choice in ways if choice.is_own)
        number = self.sample_size(models[own.kind], own.config)
        small = small_run(self.run, own.config, folder / own.kind / "sample", number)
        shared = of_processes(small, len(self.table) + len(self.test), self.row)
        # the own one first: what a process does for the first time takes longer, and is part of its start
        first = self.plan(own, models[own.kind], folder, shared, number)
        start = {
            name: np.array([getattr(plan.rates, name) for plan in first]) for name in ("start", "predict")
        }
        return [
            first if choice.is_own else self.plan(choice, models[choice.kind], folder, shared, number, start)
            for choice in ways
        ]

    def model(self, config: Config) -> Classifier:
        features_of = self.run.competition.features
        extra = ExtraColumns.fit(self.table, features_of, np.ones(len(self.table), bool))
        accelerator = make_accelerator(self.run.machine)
        outputs = len(self.run.competition.outputs)
        return build(config, outputs, extra.size, is_proven=True).to(accelerator.device)

    def sample_size(self, model: Classifier, config: Config) -> int:
        """As many images as pass the network in a few seconds."""
        images = features.tried_images(model, config)
        with torch.no_grad():
            forward = repeated(lambda: model.tail(model.features(images)), 0.2)[0] / len(images)
        number = SAMPLE_SECONDS / (forward * max(config.views, 1))
        return int(np.clip(number, FEWEST, MOST)) // FEWEST * FEWEST

    def plan(
        self,
        choice: Choice,
        model: Classifier,
        folder: Path,
        shared: dict[str, Seconds],
        number: int,
        start: dict[str, Seconds] | None = None,
    ) -> tuple[Plan, Plan]:
        """The plan by the clock on the wall, and by the processor's. start: of the first of them."""
        config = choice.config
        run = replace(self.run, settings=replace(self.run.settings, config=config))
        with contextlib.redirect_stdout(io.StringIO()) as said:
            device = make_accelerator(run.machine).device.type
            is_cached = caches_trunk(run, self.num_images, model, device)
            views = training_views(config, run.competition, has_trunk=True) if is_cached else {}
            num_views = len(tta_views(config))
            passes = (config.refit or config.folds) * num_views
            is_test_cached = features.pays_to_cache(model, run, self.num_test, num_views, passes)
        small = small_run(self.run, config, folder / choice.kind / "sample", number)
        if not small.paths.folds.exists():
            split.split(small)
        rates, sizes = measure(
            small,
            self.table,
            self.test[: max(number // 4, 1)],
            caches=(bool(views), is_test_cached),
            seconds=self.seconds,
        )
        rates = shared | rates | (start or {"start": shared["start"] + rates["start"]})
        work = Work(
            images=self.num_images,
            held_out=self.num_held_out,
            folds=config.folds,
            epochs=1 if config.solver == "exact" else config.epochs,
            views=len(views),
            drawn=max(len(views) - 1, 0),
            refits=config.refit,
            test=self.num_test,
            test_views=num_views,
            is_test_cached=is_test_cached,
            is_decoded=self.num_images * sizes.decoded <= 1e9 * run.machine.decoded_gb,
            is_test_decoded=self.num_test * sizes.decoded <= 1e9 * run.machine.decoded_gb,
        )
        done = shares_done(run, self.run, model, views, self.test) if self.is_own_number else {}
        sizes = sizes._replace(process=self.process_bytes)
        by_wall, by_processor = (
            Rates(**{name: float(value[place]) for name, value in rates.items()}) for place in (0, 1)
        )
        plan = Plan(choice, work, by_wall, sizes, self.machines, done, said.getvalue().partition("\n")[0])
        return plan, plan._replace(rates=by_processor)

    def title(self, plan: Plan, seconds: float) -> str:
        settings, work, config = self.run.settings, plan.work, plan.choice.config
        cached = [name for name, share in plan.done.items() if share]
        lines = [
            f"plan: COMP={settings.comp} EXP={settings.exp}, {work.images:,} images to learn from,"
            f" {work.test:,} to predict, {work.folds} folds x {work.epochs} epochs at {config.image_size} px",
            f"measured: {seconds:.0f} s on a few of the images, on"
            f" {make_accelerator(self.run.machine).device} with {torch.get_num_threads()} threads; computed:"
            " time, memory and disk, from that and what is counted",
        ]
        if plan.note:
            lines.append(plan.note)
        if cached:
            lines.append(f"there already, and not left: {', '.join(cached)}")
        return "\n".join(lines)


def as_json(pairs: list[tuple[Plan, Plan]], seconds: float) -> dict[str, Any]:
    """All numbers: what was measured (rates, sizes), what was counted (work), and what is computed."""
    result: dict[str, Any] = {"measured_in_seconds": seconds, "choices": {}}
    for plan, by_processor in pairs:
        its = plan.stages()
        result["choices"][plan.choice.kind] = {
            "is_own": plan.choice.is_own,
            "command": plan.choice.command,
            "seconds": total(its),
            "left": left(its),
            "processor_seconds": total(by_processor.stages()),
            "processor_left": left(by_processor.stages()),
            "stages": {stage.name: stage._asdict() | {"seconds": stage.seconds} for stage in its},
            "processor_stages": {stage.name: stage.seconds for stage in by_processor.stages()},
            "rates": plan.rates._asdict(),
            "processor_rates": by_processor.rates._asdict(),
            "sizes": plan.sizes._asdict(),
            "work": plan.work._asdict(),
            "done": plan.done,
        }
    return result
