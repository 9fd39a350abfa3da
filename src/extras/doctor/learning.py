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
from src.extras.doctor.case import Case, Check
from src.extras.findings import Finding, fail, good, warn
from src.model.classifier import PLAIN, Classifier, build
from src.training.loop import NotFinite

STEPS, SECONDS = 100, 15.0  # of one attempt to learn NUM_IMAGES images


def loss_alone(case: Case) -> Finding:
    """The loss by itself: one finite value per image, and nearly none for a confidently right answer given as
    logits.
    """
    target = case.sample().target if case.is_linear else case.sample().target.round()
    where = "LOSSES in src/training/losses.py"
    # in the direction of the truth
    right = target if case.is_linear else 2 * target - 1
    answers = {scale: right * (1 if case.is_linear else scale) for scale in (2, 4, 8, 16, 30)}
    losses = {scale: case.loss_fn(answer, target) for scale, answer in answers.items()}
    wrong = case.loss_fn(-answers[30] if not case.is_linear else target + 30, target)
    if losses[2].shape != (len(target),):
        return fail(
            f"the loss of {len(target)} images has the shape {tuple(losses[2].shape)}",
            f"one value per image, reduction='none': {where}",
        )
    if not all(torch.isfinite(values).all() for values in [*losses.values(), wrong]):
        return fail(
            "the loss is not finite for confident logits of 30",
            f"stay in float32 and use log_softmax or logsigmoid, never log(softmax): {where}",
        )
    unknowing, sure = case.prior_loss, min(float(values.mean()) for values in losses.values())
    if float(wrong.mean()) <= unknowing:
        return fail(
            f"a confidently wrong answer costs {wrong.mean():.3f}, no answer at all {unknowing:.3f}",
            f"a minus too many or too few: {where}",
        )
    if sure > 0.4 * unknowing:
        return fail(
            f"a confidently right answer still costs {sure:.3f}, no answer at all {unknowing:.3f}",
            f"a loss takes logits: no softmax or sigmoid before it ({where})",
        )
    return good(
        f"one value per image, {unknowing:.3f} without knowledge and {sure:.3f} for a sure right answer"
    )


def plain_logits(case: Case) -> Finding:
    """Does the head end in a softmax, sigmoid or ReLU? Large random features give logits of both signs."""
    if case.has_values:
        return good("values, which may be bounded")
    batch = case.sample()
    with torch.no_grad():
        given = case.model.eval().tail(case.model.features(batch.image[:2]))
        torch.manual_seed(0)
        logits = case.model.head(
            10 * torch.randn(64, *given.shape[1:], device=given.device), batch.extra[:1].expand(64, -1)
        ).float()
    last = "let the head end in its linear layer; the loss does the rest"
    where = f"head {case.config.head!r} in src/model/heads.py"
    if (logits >= 0).all() and torch.allclose(
        logits.sum(dim=1), torch.ones(64, device=logits.device), atol=1e-3
    ):
        return fail(
            "the logits are already a softmax: each row is positive and sums to 1",
            f"remove the softmax, {last}: {where}",
        )
    if (logits >= 0).all():
        low, high = float(logits.min()), float(logits.max())
        kind = "sigmoid" if high <= 1 else "ReLU"
        return fail(
            f"no logit is ever negative: {low:.3g} to {high:.3g}",
            f"remove the {kind} at the end, {last}: {where}",
        )
    return good("logits of both signs: no softmax, sigmoid or ReLU at the end of the head")


def first_loss(case: Case) -> Finding:
    """A head that has seen nothing must cost about what an answer without knowledge costs, in the precision
    that is chosen.
    """
    batch = case.sample()
    first, prior = case.loss_of(case.logits(case.model, batch), batch.target), case.prior_loss
    if not np.isfinite(first):
        return fail(
            f"the first loss is {first} in precision {case.job.accelerator.mixed_precision}",
            'MACHINE="precision=no", or bf16 where the GPU has it',
        )
    name = (
        f"ln({batch.target.shape[1]}) = {prior:.3f}" if case.is_single else f"{prior:.3f} without knowledge"
    )
    if case.config.init_from:
        return good(f"{first:.3f} with the weights of {case.config.init_from}; {name}")
    if first > 3 * prior + 1:
        return fail(
            f"the first loss is {first:.3f}; {name}",
            "the features or the head's first weights are far too large: is the image normalised, "
            f"the head {case.config.head!r} initialised?",
        )
    if first < 0.3 * prior:
        return fail(
            f"the first loss is {first:.3f}; {name}",
            "it knows before it has learned: does the label reach the input (features=...), "
            "or is the loss averaged over the classes too?",
        )
    return good(f"{first:.3f}; {name}")


class Attempt:
    """An attempt to learn one batch by heart: steps until all is right in eval (0: never), what is right at
    the end, the losses.
    """

    def __init__(
        self, case: Case, model: Classifier, batch: Batch, config: Config, steps: int = STEPS, every: int = 5
    ) -> None:
        config = replace(
            config, epochs=steps, head_epochs=0, warmup_epochs=5.0, mixup=0.0, cutmix=0.0, label_smoothing=0.0
        )
        forward, began = case.forward(model), time.thread_time()
        self.steps, self.share, self.losses = 0, 0.0, []
        try:
            for loss in case.steps(model, batch, config, forward):
                self.losses.append(loss)
                if len(self.losses) % every == 0:
                    self.share = share_right(case, model, batch)
                    if self.share == 1:
                        self.steps = len(self.losses)
                        break
                    if time.thread_time() - began > SECONDS:
                        break
        except NotFinite:
            self.losses.append(float("inf"))

    @property
    def exploded(self) -> bool:
        return max(self.losses) > 20 * max(self.losses[0], 1)


@torch.no_grad()
def share_right(case: Case, model: Classifier, batch: Batch) -> float:
    """Of the images, as in validation: in eval. For values 1 means that 95 % of their variance is explained."""
    model.eval()
    with case.job.accelerator.autocast():
        logits = case.forward(model)(batch.image, batch.extra).float()
    if case.has_values:
        spread = float((batch.target - batch.target.mean(dim=0)).square().mean())
        found = torch.from_numpy(TASKS[case.job.competition.task].activation(logits.cpu().numpy(), PLAIN)).to(
            batch.target.device
        )
        return min(
            1.0, max(0.0, 1 - float((found - batch.target).square().mean()) / max(spread, 1e-12)) / 0.95
        )
    if case.is_single:
        return float((logits.argmax(dim=1) == batch.target.argmax(dim=1)).float().mean())
    return float(((logits > 0) == (batch.target > 0.5)).all(dim=1).float().mean())


def overfits(case: Case) -> Finding:
    """16 real images must be learned by heart; where not, the rate, the frozen layers or the labels are to
    blame, tried in this order.
    """
    batch = case.features_of(case.sample())
    first = Attempt(case, copy.deepcopy(case.model), batch, case.config)
    told = f"{first.share:.0%} of {len(batch.target)} images right after {len(first.losses)} steps"
    if first.steps and not first.exploded:
        return good(f"{told}, loss {first.losses[0]:.2f} to {first.losses[-1]:.3f}")
    if (
        not first.steps
        and not first.exploded
        and len(first.losses) < STEPS
        and first.losses[-1] < 0.7 * first.losses[0]
    ):
        return warn(f"{told}, in {SECONDS:.0f} s", "too slow to tell here: make doctor on the GPU")
    if first.exploded:
        told += f", the loss rose from {first.losses[0]:.2f} to {max(first.losses):.3g}"
    for factor in (0.1, 0.01, 1e-3, 10.0, 100.0):
        other_rate = rescaled(case.config, factor)
        other = Attempt(case, copy.deepcopy(case.model), batch, other_rate, steps=60)
        if other.steps and not other.exploded:
            return fail(
                f"{told}; with lr={other_rate.lr:.2g} all after {other.steps}",
                f"the rate is to blame: {'at most' if factor < 1 else 'at least'} lr={other_rate.lr:.2g}"
                f" body_lr={other_rate.body_lr:.2g}; the check rate says which",
            )
    if problem := contradiction(case):
        return fail(
            f"{told}; {problem}", "the labels are to blame: correct them in train.csv, or take these rows out"
        )
    whole = resolve(replace(case.config, trainable="all", lr="auto", body_lr="auto", layer_decay="auto"))
    model = build(whole, case.job.target.shape[1], case.rows.extra.shape[1]).to(
        case.job.accelerator.device, memory_format=torch.channels_last
    )
    pictures = case.sample()
    if (
        case.config.trainable != "all"
        and Attempt(case, model, pictures, whole, steps=60).share > first.share + 0.2
    ):
        return fail(
            f"{told}, at no rate; with trainable=all it learns",
            "the frozen layers are to blame: a larger trainable=N, or trainable=all",
        )
    return fail(
        f"{told}, at no rate and with nothing frozen",
        f"labels that the pictures don't tell, drop_rate={case.config.drop_rate:g}, "
        f"or a head or loss that can't learn: head {case.config.head!r}",
    )


def rescaled(config: Config, factor: float) -> Config:
    return replace(
        config, lr=min(float(config.lr) * factor, 10.0), body_lr=min(float(config.body_lr) * factor, 10.0)
    )


def contradiction(case: Case) -> str:
    """Two of the images that are equal and labelled differently."""
    batch, table = case.sample(), case.job.table
    for i in range(len(batch.image)):
        for j in range(i):
            if torch.equal(batch.image[i], batch.image[j]) and not torch.equal(
                batch.target[i], batch.target[j]
            ):
                one, two = (int(batch.index[k]) for k in (j, i))
                return (
                    f"{table['id'][one]} and {table['id'][two]} are the same picture, labelled"
                    f" {case.labels[one]!r} and {case.labels[two]!r}"
                )
    return ""


LOSS: dict[str, Check] = {"loss": loss_alone, "logits": plain_logits, "first loss": first_loss}
LEARNING: dict[str, Check] = {"overfit": overfits}
