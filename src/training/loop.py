"""The training loop and prediction. It knows no files, folds or trackers: it yields after each step, and the
stage decides to log, save or stop.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from src.config import Config
from src.run.seeds import seed_of
from src.training.optim import set_rates


class Step(NamedTuple):
    epoch: int
    step: int  # within the epoch
    loss: float
    ends_epoch: bool
    has_updated: bool  # the weights: no gradient waits for the next batch, so that a state can be saved


def mix(image: Tensor, target: Tensor, weight: Tensor, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) or CutMix (Yun et al. 2019, arXiv:1905.04899), once per
    batch; cached features mix at the cut.

    A mixed image weighs what its two parts do together, and its target holds each by its weight:
    class_weights balance the classes as without mixing.
    """
    use_cutmix = config.cutmix > 0 and image.ndim == 4 and (config.mixup <= 0 or torch.rand(()) < 0.5)
    alpha = config.cutmix if use_cutmix else config.mixup
    if alpha <= 0:
        return image, target, weight
    share = float(np.random.default_rng(torch.randint(2**62, ()).item()).beta(alpha, alpha))
    partner = torch.randperm(len(image), device="cpu").to(image.device)
    if use_cutmix:
        height, width = image.shape[-2:]
        cut_h, cut_w = round(height * (1 - share) ** 0.5), round(width * (1 - share) ** 0.5)
        # as in the paper: the box's middle is anywhere in the image, what lies outside is cut off, and the
        # share is that of the rest
        top, left = int(torch.randint(height, ())) - cut_h // 2, int(torch.randint(width, ())) - cut_w // 2
        rows, columns = (
            slice(max(top, 0), min(top + cut_h, height)),
            slice(max(left, 0), min(left + cut_w, width)),
        )
        image = image.clone()
        image[..., rows, columns] = image[partner][..., rows, columns]
        share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    else:
        image = image.float()  # uint8 pixels would be cut off
        image = share * image + (1 - share) * image[partner]
    mixed, weighted = share * weight + (1 - share) * weight[partner], weight[:, None] * target
    return image, (share * weighted + (1 - share) * weighted[partner]) / mixed[:, None], mixed


class Average:
    """Exponential moving average of what learned, buffers too; swapped in for prediction. Polyak and Juditsky
    1992.
    """

    def __init__(self, learned: dict[str, Tensor], decay: float) -> None:
        self.decay, self.learned = decay, learned
        self.shadow = {name: value.clone() for name, value in learned.items()}
        self.updates = 0

    def update(self) -> None:
        self.updates += 1
        # or the first steps' noise would stay
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self.learned.items():
            kept = self.shadow[name]
            kept.lerp_(value, 1 - decay) if kept.is_floating_point() else kept.copy_(value)

    def swap(self) -> None:
        """Exchange the model's values and the averages in place; a second call exchanges them back."""
        for name, value in self.learned.items():
            own = value.clone()
            value.copy_(self.shadow[name])
            self.shadow[name].copy_(own)


def train_steps(
    forward: Callable[[Tensor, Tensor], Tensor],
    batches: Callable[[int], Iterable],
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    *,
    config: Config,
    fold: int,
    accelerator: Accelerator,
    begin_epoch: Callable[[], object],
    sizes: Callable[[int], Sequence[Sequence[int]]],
    average: Average | None = None,
    smooth: float = 0.0,
    first_epoch: int = 0,
    first_step: int = 0,
) -> Iterator[Step]:
    """Train, yielding after each step. batches(epoch) gives that epoch's batches; begin_epoch() puts the
    model in training mode.

    sizes(epoch): the images in each batch, step by step of the optimizer: a sampler may give an epoch more or
    fewer. Each image of a step counts alike, whatever batch it is in. Raises NotFinite with the images at
    fault. A continued training begins at first_epoch, whose batches(first_epoch) come without its first_step
    ones.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    # torch.manual_seed writes a stack trace for each kind of GPU that isn't there: a third of a head's step
    reseed = torch.default_generator.manual_seed if accelerator.device.type == "cpu" else torch.manual_seed
    for epoch in range(first_epoch, config.epochs):
        begin_epoch()
        last, plan = None, sizes(epoch)
        places = [
            (step, sum(parts), part == len(parts) - 1)
            for step, parts in enumerate(plan)
            for part in range(len(parts))
        ]
        for number, batch in enumerate(batches(epoch), first_step if epoch == first_epoch else 0):
            # dropout and mixing of this step
            reseed(seed_of(config.seed, fold, epoch, number))
            step, images, has_updated = places[number]
            image, target, weight = mix(batch.image, batch.target, batch.weight, config)
            if smooth:
                target = target * (1 - smooth) + smooth / target.shape[1]
            with accelerator.autocast():
                logits = forward(image, batch.extra)
            losses = loss_fn(logits.float(), target)  # (B,)
            loss = (losses * weight).sum()
            value = loss.item() / len(losses)
            if not np.isfinite(value):
                worst = batch.index[~torch.isfinite(losses.detach())].tolist()[:5]
                raise NotFinite(epoch, number, worst)
            accelerator.backward(loss / images)
            if has_updated:
                set_rates(optimizer, epoch * len(plan) + step, len(plan), config)
                if config.clip_grad:
                    accelerator.clip_grad_norm_(parameters, config.clip_grad)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if average:
                    average.update()
            last = Step(epoch, number, value, batch.is_last, has_updated)
            # or the graph lives through the validation
            del logits, losses, loss
            yield last
        assert last is not None and last.ends_epoch, "an epoch must end with a batch marked is_last"


class NotFinite(Exception):
    """The loss became NaN or infinite; `rows` are the positions in the table of the images at fault."""

    def __init__(self, epoch: int, step: int, rows: list[int]) -> None:
        super().__init__(f"the loss is not finite in epoch {epoch}, step {step}")
        self.rows = rows


@torch.inference_mode()
def predict(
    forward: Callable[[Tensor, Tensor], Tensor], batches: Iterable, *, accelerator: Accelerator
) -> tuple[np.ndarray, np.ndarray]:
    """(positions (N,), logits (N, T)) of all batches; the caller compares the positions with those it asked
    for (FIELD B2). The model is in eval.
    """
    positions, logits = [], []
    for batch in batches:
        with accelerator.autocast():
            logits.append(forward(batch.image, batch.extra).float().cpu())
        positions.append(batch.index.cpu())
    return torch.cat(positions).numpy(), torch.cat(logits).numpy()


def unused(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[set[int], set[int]]:
    """(learning parameters missing from the optimizer, parameters of the optimizer that don't learn), by
    identity: both must be empty (FIELD B15).
    """
    learning = {id(p) for p in model.parameters() if p.requires_grad}
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return learning - optimized, optimized - learning
