"""Checks of the loss and of learning: does the loss take logits, does it begin where it should, can 16 images
be learned?
"""

import copy
import time
from dataclasses import replace

import numpy as np
import torch

from src.competition.tasks import TASKS
from src.config import Config, resolve
from src.data.batches import Batch
from src.extras.doctor.setup import Check, Setup
from src.extras.findings import Finding, fail, good, warn
from src.model.classifier import PLAIN, Classifier, build
from src.training.loop import NotFinite

STEPS, SECONDS = 100, 15.0  # of one attempt to learn NUM_IMAGES images
FACTORS = (0.1, 0.01, 1e-3, 10.0, 100.0)  # of the rates that are tried when the one that is set fails


def loss_alone(setup: Setup) -> Finding:
    """The loss is one finite value per image, and nearly none for a sure right answer given as logits."""
    target, loss_fn, where = setup.sample().target, setup.loss_fn, "LOSSES in src/training/losses.py"
    if setup.is_linear:
        right, wrong = [target] * 5, target + 30
    else:
        target = target.round()
        right = [scale * (2 * target - 1) for scale in (2, 4, 8, 16, 30)]
        wrong = -right[-1]
    losses = [loss_fn(logits, target) for logits in right]
    wrong_loss, prior = loss_fn(wrong, target), setup.prior_loss
    if losses[0].shape != (len(target),):
        return fail(
            f"the loss of {len(target)} images has the shape {tuple(losses[0].shape)}",
            f"one value per image, reduction='none': {where}",
        )
    if not all(torch.isfinite(values).all() for values in [*losses, wrong_loss]):
        return fail(
            "the loss is not finite for confident logits of 30",
            f"stay in float32 and use log_softmax or logsigmoid, never log(softmax): {where}",
        )
    if float(wrong_loss.mean()) <= prior:
        return fail(
            f"a confidently wrong answer costs {wrong_loss.mean():.3f}, no answer at all {prior:.3f}",
            f"a minus too many or too few: {where}",
        )
    sure = min(float(values.mean()) for values in losses)
    if sure > 0.4 * prior:
        return fail(
            f"a confidently right answer still costs {sure:.3f}, no answer at all {prior:.3f}",
            f"a loss takes logits: no softmax or sigmoid before it ({where})",
        )
    return good(
        f"one value per image: {prior:.3f} for an answer without knowledge, {sure:.3f} for a sure right one"
    )


def plain_logits(setup: Setup) -> Finding:
    """Does the head end in a softmax, sigmoid or ReLU? Large random features give logits of both signs."""
    if setup.has_values:
        return good("values, which may be bounded")
    batch, model = setup.sample(), setup.model
    with torch.no_grad():
        shape = model.eval().tail(model.features(batch.image[:2])).shape[1:]
        torch.manual_seed(0)
        features = 10 * torch.randn(64, *shape, device=batch.image.device)
        logits = model.head(features, batch.extra[:1].expand(64, -1)).float().cpu()
    low, high = float(logits.min()), float(logits.max())
    if low < 0:
        return good("logits of both signs: no softmax, sigmoid or ReLU at the end of the head")
    last = (
        "let the head end in its linear layer; the loss does the rest: head "
        f"{setup.config.head!r} in src/model/heads.py"
    )
    if torch.allclose(logits.sum(dim=1), torch.ones(64), atol=1e-3):
        seen = "the logits are already a softmax: each row is positive and sums to 1"
        return fail(seen, f"remove the softmax, {last}")
    kind = "sigmoid" if high <= 1 else "ReLU"
    return fail(
        f"no logit is ever negative: {low:.3g} to {high:.3g}", f"remove the {kind} at the end, {last}"
    )


def first_loss(setup: Setup) -> Finding:
    """A head that has learned nothing must cost about what an answer without knowledge costs."""
    batch, config = setup.sample(), setup.config
    first, prior = setup.loss_of(setup.logits(setup.model, batch), batch.target), setup.prior_loss
    if not np.isfinite(first):
        return fail(
            f"the first loss is {first} in precision {setup.accelerator.mixed_precision}",
            'MACHINE="precision=no", or bf16 where the GPU has it',
        )
    classes = batch.target.shape[1]
    expected = f"ln({classes}) = {prior:.3f}" if setup.is_single else f"{prior:.3f}"
    seen = f"the first loss is {first:.3f}, that of an answer without knowledge {expected}"
    if config.init_from:
        return good(f"{seen}, with the weights of {config.init_from}")
    if first > 3 * prior + 1:
        return fail(
            seen,
            f"features or weights are far too large: normalise the image, initialise head {config.head!r}",
        )
    if first < 0.3 * prior:
        return fail(
            seen,
            "it knows before it has learned: take the label out of features=..., sum the loss over classes",
        )
    return good(seen)


class Attempt:
    """An attempt to learn one batch by heart.

    steps: until all is right in eval (0: never); share: that is right at the end; losses: of each step.
    """

    def __init__(
        self, setup: Setup, model: Classifier, batch: Batch, config: Config, steps: int = STEPS
    ) -> None:
        plain = replace(config, mixup=0.0, cutmix=0.0, label_smoothing=0.0)
        config = replace(plain, epochs=steps, head_epochs=0, warmup_epochs=5.0)
        forward, began = setup.forward(model), time.thread_time()
        self.steps, self.share, self.losses = 0, 0.0, []
        try:
            for loss in setup.steps(model, batch, config, forward):
                self.losses.append(loss)
                if len(self.losses) % 5:
                    continue
                self.share = share_right(setup, model, batch)
                if self.share == 1:
                    self.steps = len(self.losses)
                if self.steps or time.thread_time() - began > SECONDS:
                    break
        except NotFinite:
            self.losses.append(float("inf"))

    @property
    def exploded(self) -> bool:
        return max(self.losses) > 20 * max(self.losses[0], 1)

    @property
    def succeeded(self) -> bool:
        return self.steps > 0 and not self.exploded

    @property
    def was_too_slow(self) -> bool:
        """Did it end early, while the loss was falling?"""
        is_falling = not self.exploded and self.losses[-1] < 0.7 * self.losses[0]
        return not self.steps and is_falling and len(self.losses) < STEPS


@torch.no_grad()
def share_right(setup: Setup, model: Classifier, batch: Batch) -> float:
    """Of the images, in eval, as in validation. Of values 1 means that 95 % of the variance is explained."""
    model.eval()
    with setup.accelerator.autocast():
        logits = setup.forward(model)(batch.image, batch.extra).float()
    if setup.has_values:
        variance = float((batch.target - batch.target.mean(dim=0)).square().mean())
        values = TASKS[setup.competition.task].activation(logits.cpu().numpy(), PLAIN)
        error = float((torch.from_numpy(values) - batch.target.cpu()).square().mean())
        return min(1.0, max(0.0, 1 - error / max(variance, 1e-12)) / 0.95)
    if setup.is_single:
        return float((logits.argmax(dim=1) == batch.target.argmax(dim=1)).float().mean())
    return float(((logits > 0) == (batch.target > 0.5)).all(dim=1).float().mean())


def overfits(setup: Setup) -> Finding:
    """16 real images must be learned by heart. If not: is it the rate, the labels, or what is frozen?"""
    batch = setup.features_of(setup.sample())
    first = Attempt(setup, copy.deepcopy(setup.model), batch, setup.config)
    seen = f"{first.share:.0%} of {len(batch.target)} images right after {len(first.losses)} steps"
    if first.succeeded:
        return good(f"{seen}, loss {first.losses[0]:.2f} to {first.losses[-1]:.3f}")
    if first.was_too_slow:
        return warn(f"{seen}, in {SECONDS:.0f} s", "too slow to tell here: run make doctor on a GPU")
    if first.exploded:
        seen += f", the loss rose from {first.losses[0]:.2f} to {max(first.losses):.3g}"
    for factor in FACTORS:
        config = rescaled(setup.config, factor)
        attempt = Attempt(setup, copy.deepcopy(setup.model), batch, config, steps=60)
        if attempt.succeeded:
            bound = "at most" if factor < 1 else "at least"
            return fail(
                f"{seen}; with lr={config.lr:.2g} all are right after {attempt.steps}",
                f"the rate is to blame: {bound} lr={config.lr:.2g} "
                f"body_lr={config.body_lr:.2g}; see the check rate",
            )
    if problem := contradiction(setup):
        change = "the labels are to blame: correct them in train.csv, or take these rows out"
        return fail(f"{seen}; {problem}", change)
    if setup.config.trainable != "all" and learns_unfrozen(setup, first.share + 0.2):
        return fail(
            f"{seen}, at no rate; with trainable=all it learns",
            "the frozen layers are to blame: a larger trainable=N, or trainable=all",
        )
    return fail(
        f"{seen}, at no rate and with nothing frozen",
        f"labels that the pictures don't show, drop_rate={setup.config.drop_rate:g}, or a head or loss that"
        f" can't learn: head {setup.config.head!r}",
    )


def learns_unfrozen(setup: Setup, share: float) -> bool:
    """Does more than that share become right when everything learns?"""
    config = resolve(replace(setup.config, trainable="all", lr="auto", body_lr="auto", layer_decay="auto"))
    model = build(config, setup.training.target.shape[1], setup.rows.extra.shape[1])
    model = model.to(setup.device, memory_format=torch.channels_last)
    return Attempt(setup, model, setup.sample(), config, steps=60).share > share


def rescaled(config: Config, factor: float) -> Config:
    lr, body_lr = (min(float(rate) * factor, 10.0) for rate in (config.lr, config.body_lr))
    return replace(config, lr=lr, body_lr=body_lr)


def contradiction(setup: Setup) -> str:
    """Two of the images that are equal and have different labels."""
    batch, ids = setup.sample(), setup.table["id"]
    for i in range(len(batch.image)):
        for j in range(i):
            is_same = torch.equal(batch.image[i], batch.image[j])
            if is_same and not torch.equal(batch.target[i], batch.target[j]):
                one, two = int(batch.index[j]), int(batch.index[i])
                labels = f"{setup.labels[one]!r} and {setup.labels[two]!r}"
                return f"{ids[one]} and {ids[two]} are the same picture, labelled {labels}"
    return ""


LOSS: dict[str, Check] = {"loss": loss_alone, "logits": plain_logits, "first loss": first_loss}
LEARNING: dict[str, Check] = {"overfit": overfits}
