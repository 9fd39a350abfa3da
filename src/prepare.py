"""What all folds of a run read: decoded images, or the trunk's outputs.  TrainingTable -> Inputs"""

import numpy as np
import torch

from src.data import features
from src.data.decoding import decode
from src.data.extra_columns import ExtraColumns
from src.data.inputs import Inputs
from src.data.run import Run
from src.data.training_table import TrainingTable, warn_of_settings
from src.data.transfer import resident
from src.data.views import training_views
from src.model.classifier import Classifier, build
from src.model.engines import Trunk
from src.run import locks
from src.run.clock import Clock
from src.run.device import make_accelerator
from src.run.errors import warn


def prepare_inputs(table: TrainingTable, clock: Clock) -> Inputs:
    """Decode the images, and run the trunk over them where its cache pays; one process at a time."""
    run, accelerator = table.run, make_accelerator(table.run.machine)
    threads = torch.get_num_threads()
    print(
        f"device: {accelerator.device}, precision {accelerator.mixed_precision}, {threads} threads",
        flush=True,
    )
    with locks.shared(run.settings.cache / run.settings.comp / "lock", wait=True):
        model = make_template(table)
        learning = sum(p.numel() for _, p, _ in model.learning())
        total = sum(p.numel() for p in model.parameters())
        end = model.cut_at or "(no trunk)"
        print(f"learning: {learning:,} of {total:,} parameters; the trunk ends at {end}", flush=True)
        warn_of_settings(run)
        pictures = decode(run, table.frame, clock)
        views = training_views(run.config, run.competition, has_trunk=bool(model.cut_at))
        if run.config.augment != "none" and views == {"plain": None}:
            warn(
                f"augment={run.config.augment} has no effect with views=1: set views=4, or views=0 for fresh"
                " draws"
            )
        model.to(accelerator.device)
        template = model if model.cut_at == "all" else None
        if not caches_trunk(run, len(table.frame), model, accelerator.device.type):
            on_device = resident([pictures.decoded], accelerator.device)
            return Inputs(run, accelerator, [pictures.decoded], False, views, on_device, template)
        trunk = Trunk(model, run.machine, accelerator)
        arrays = features.trunk_outputs(run, trunk, pictures, views, accelerator, clock)
        if run.config.cutmix and arrays[0].values.ndim != 4:
            warn_of_cutmix(run)
        on_device = resident(arrays, accelerator.device)
        return Inputs(run, accelerator, arrays, True, views, on_device, template)


def make_template(table: TrainingTable) -> Classifier:
    """The model of the settings as each fold begins with it, but for what is fitted on the fold."""
    run = table.run
    extra = ExtraColumns.fit(table.frame, run.competition.features, np.ones(len(table.frame), bool))
    return build(run.config, len(run.competition.outputs), extra.size)


def caches_trunk(run: Run, num_images: int, model: Classifier, device: str) -> bool:
    """Whether the trunk's outputs are cached; prints it. device: cuda, mps or cpu."""
    views = training_views(run.config, run.competition, has_trunk=bool(model.cut_at))
    passes = run.config.epochs * run.config.folds
    return "" not in views and features.pays_to_cache(
        model, run, num_images, len(views), passes, num_drawn=len(views) - 1, device=device
    )


def warn_of_cutmix(run: Run) -> None:
    config = run.config
    instead = "mixup mixes all batches" if config.mixup else f"set mixup={config.cutmix:g}"
    warn(
        f"cutmix={config.cutmix:g} has no effect: what the trunk hands over has no height and width to cut a"
        f" box from; {instead}, or let earlier layers learn"
    )
