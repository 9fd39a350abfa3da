"""What a check looks at: the run's settings, job and model, some real images, some real training steps."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from src.competition.tables import joined
from src.competition.tasks import TASKS, loss_name
from src.config import Config
from src.data.batches import Batch, Batches, Rows
from src.data.decoding import decode
from src.data.run import Run
from src.data.training_table import TrainingTable
from src.extras.findings import Finding
from src.model import weights
from src.model.backbone import make_backbone
from src.model.classifier import Classifier
from src.run.device import prepared
from src.training.ema import Ema
from src.training.loop import Learner, train_epoch
from src.training.losses import LOSSES
from src.training.optim import make_optimizer

NUM_IMAGES = 16  # of a batch: the fewest that BatchNorm and a few classes can do with
MOST_STEPS = 40  # until two have changed the weights; a scaler is at its end after 17 that have not

Forward = Callable[[Tensor, Tensor], Tensor]


class Stepped(NamedTuple):
    """What two real training steps did to a copy of the model."""

    moved: set[str]  # parameters and buffers that changed
    gradients: dict[str, float]  # learning parameter -> its largest gradient, -1.0 where none arrived
    model: Classifier


class Setup:
    """A training that is about to begin. The first checks fill in the last three; the others need them."""

    training: TrainingTable
    accelerator: Accelerator
    model: Classifier

    def __init__(self, run: Run) -> None:
        self.run, self.settings, self.config, self.paths = run, run.settings, run.config, run.paths
        self.competition = run.competition
        self.sample = lru_cache(self.make_sample)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def table(self) -> pd.DataFrame:
        return self.training.frame

    @property
    def folds(self) -> list[int]:
        """The numbers of the folds that are held out in turn."""
        return sorted(k for k in self.table["fold"].unique() if k >= 0)

    @property
    def loss_fn(self) -> Callable[[Tensor, Tensor], Tensor]:
        return LOSSES[self.loss_name]

    @property
    def loss_name(self) -> str:
        return loss_name(self.config.loss, self.competition.task)

    @property
    def is_single(self) -> bool:
        """Has each image exactly one label?"""
        return TASKS[self.competition.task].loss == "cross_entropy"

    @property
    def has_values(self) -> bool:
        return TASKS[self.competition.task].kind == "value"

    @property
    def is_linear(self) -> bool:
        """Are logits the values themselves, and not log-odds of their share of a range?"""
        return self.has_values and self.loss_name != "binary_cross_entropy"

    @cached_property
    def labels(self) -> pd.Series:
        return joined(self.table, self.competition.targets)

    @cached_property
    def rows(self) -> Rows:
        return self.training.for_fold(0).rows

    @cached_property
    def fresh(self) -> nn.Module:
        """The backbone as it is before any weights are read, from the seed that the model begins with."""
        torch.manual_seed(self.config.seed)
        return make_backbone(replace(self.config, pretrained=False, weights=""))

    @cached_property
    def weight_files(self) -> dict[str, Path]:
        """The file of pretrained weights by the place in the backbone that reads it, "" for the whole."""
        if hasattr(self.fresh, "timm_name"):
            return {"": weights.resolve_weights(self.config.backbone, self.config.weights)}
        modules = make_backbone(self.config).named_modules()
        files = {place: vars(module).get("weights_file") for place, module in modules}
        return {place: file for place, file in files.items() if file}

    def make_sample(self, number: int = NUM_IMAGES) -> Batch:
        """Images that fold 0 learns from, even over the classes, by the core's decoding and batching."""
        training = np.random.default_rng(0).permutation(np.flatnonzero(self.table["fold"] != 0))
        nth_of_its_class = self.labels.iloc[training].groupby(self.labels).cumcount().to_numpy()
        chosen = training[np.argsort(nth_of_its_class, kind="stable")[:number]]
        pictures = decode(self.run, self.table.iloc[chosen])
        rows = Rows(*(values[chosen] for values in self.rows))
        batches = Batches([pictures.decoded], rows, device=self.device, size=self.config.image_size)
        parts = list(batches.evaluation(np.arange(len(chosen)), len(chosen)))
        image, target, weight, extra, _ = (
            torch.cat(tensors) for tensors in zip(*(part[:5] for part in parts))
        )
        return Batch(image, target, weight, extra, torch.from_numpy(chosen).to(image.device))

    def features_of(self, batch: Batch) -> Batch:
        """The batch with the output of the trunk, where there is one, in place of the images."""
        if not self.model.cut_at:
            return batch
        with self.accelerator.autocast():
            return batch._replace(image=self.model.features(batch.image).float())

    def forward(self, model: Classifier) -> Forward:
        """The function that takes the images of features_of."""
        return model.logits if model.cut_at else model.forward

    @torch.no_grad()
    def logits(self, model: Classifier, batch: Batch) -> Tensor:
        """Of images, in eval and the run's precision."""
        with self.accelerator.autocast():
            return model.eval()(batch.image, batch.extra).float()

    def loss_of(self, logits: Tensor, target: Tensor) -> float:
        return float(self.loss_fn(logits, target).mean())

    @property
    def prior_loss(self) -> float:
        """The loss of an answer without knowledge: all classes alike, mid-range, or the mean value."""
        target = self.sample().target
        logits = target.mean(dim=0).expand_as(target) if self.is_linear else torch.zeros_like(target)
        return self.loss_of(logits, target)

    def steps(
        self, model: Classifier, batch: Batch, config: Config, forward: Forward | None = None
    ) -> Iterator[float]:
        """The losses of config.epochs steps on one batch, by the core's own loop and optimizer."""
        learner = Learner(
            forward or model.forward,
            self.loss_fn,
            prepared(self.accelerator, make_optimizer(model.learning(), config)),
            Ema({}, 0),
            self.accelerator,
            config,
            label_smoothing=config.label_smoothing if self.is_single else 0.0,
        )
        batch = batch._replace(step_size=len(batch.image))
        for epoch in range(config.epochs):
            model.train()
            for step in train_epoch(learner, [batch], epoch):
                yield step.loss

    @cached_property
    def stepped(self) -> Stepped:
        """Two steps, because behind a norm that begins at zero (resnet) the first has no gradient.

        Under fp16 the first ones overflow and change nothing but the scale of the gradients: these do not
        count.
        """
        model = copy.deepcopy(self.model)
        before = {name: value.clone() for name, value in tensors(model).items()}
        gradients = {name: -1.0 for name, p in model.named_parameters() if p.requires_grad}

        def remember(name: str) -> Callable[[Tensor], None]:
            def hook(parameter: Tensor) -> None:
                scaler = self.accelerator.scaler
                largest = float(parameter.grad.abs().max()) / (scaler.get_scale() if scaler else 1)
                if np.isfinite(largest):
                    gradients[name] = max(gradients[name], largest)

            return hook

        for name in gradients:
            model.get_parameter(name).register_post_accumulate_grad_hook(remember(name))
        config, done = replace(self.config, epochs=MOST_STEPS, head_epochs=0, warmup_epochs=0.0), 0
        for _ in self.steps(model, self.sample(), config):
            done += not self.accelerator.optimizer_step_was_skipped
            if done == 2:
                break
        moved = {name for name, value in tensors(model).items() if not torch.equal(value, before[name])}
        return Stepped(moved, gradients, model)


Check = Callable[[Setup], Finding]


def tensors(model: nn.Module) -> dict[str, Any]:
    """Every parameter and buffer."""
    return {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
