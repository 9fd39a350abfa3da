"""The training loop and prediction. They know no files, folds or trackers: train_epoch yields after each
batch, and the stage decides to log, to save or to stop.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from src.config import Config
from src.run import ranks
from src.run.seeds import seed_of
from src.training.ema import Ema
from src.training.mix import mix
from src.training.optim import set_rates
from src.training.parallel import Statistics, losses_of_step, sum_gradients
from src.training.sam import at_highest_loss

# (images or features (B, ...), extra columns (B, E), in training targets (B, T)) -> logits (B, T)
Forward = Callable[..., Tensor]


class Learner(NamedTuple):
    """What all epochs of a fold share."""

    forward: Forward
    loss_fn: Callable[[Tensor, Tensor], Tensor]  # (logits (B, T), targets (B, T)) -> (B,)
    optimizer: torch.optim.Optimizer
    ema: Ema
    accelerator: Accelerator
    config: Config
    label_smoothing: float = 0.0
    fold: int = 0  # draws depend on it
    buffers: Sequence[Tensor] = ()  # what a forward pass moves: BatchNorm's statistics
    in_lockstep: bool = False  # processes meet in each forward pass, as SyncBatchNorm lets them


class Step(NamedTuple):
    """What has been done after a batch."""

    number: int  # of the batch in its epoch
    loss: float  # mean over its images
    num_images: int
    has_updated: bool  # the weights: no gradient waits for the next batch, so the state can be saved
    ends_epoch: bool


class NotFinite(Exception):
    """A number became NaN or infinite. rows: the positions in the table of images at fault; advice: what to
    change.
    """

    def __init__(self, learner: Learner, problem: str, rows: list[int]) -> None:
        super().__init__(problem)
        self.rows, self.advice = rows[:5], f"lower lr (now {learner.config.lr:g}) or set clip_grad"
        if learner.accelerator.mixed_precision == "fp16":
            self.advice = 'fp16 ends at 65504: MACHINE="precision=no", or precision=bf16 where the GPU has it'


def train_epoch(learner: Learner, batches: Iterable, epoch: int) -> Iterator[Step]:
    """Train for one epoch (0, 1, ...), yielding after each batch; the model is in training mode.

    A batch says what step of the optimizer it belongs to: gradients of its batches are accumulated, and each
    image of a step counts alike, on whatever process it is. Raises NotFinite.
    """
    config, optimizer, accelerator = learner.config, learner.optimizer, learner.accelerator
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    of_step: list[Any] = []  # its batches so far, where they are needed twice
    losses: dict[int, float] = {}  # by batch, of those that no Step has told yet
    statistics, num_images = Statistics(learner.buffers), 0
    for batch in batches:
        losses[batch.number] = backward(learner, batch, epoch)
        num_images += len(batch.index)
        if config.sam:
            of_step.append(batch)
        if batch.ends_step:
            sum_gradients(parameters)
            if config.sam:
                with at_highest_loss(parameters, learner.buffers, config.sam):
                    for one in of_step:
                        backward(learner, one, epoch)
                    sum_gradients(parameters)
                of_step.clear()
            set_rates(optimizer, epoch * batch.num_steps + batch.step, batch.num_steps, config)
            if config.clip_grad:
                accelerator.clip_grad_norm_(parameters, config.clip_grad)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if accelerator.optimizer_step_was_skipped and accelerator.scaler.get_scale() < 1:
                problem = f"the gradients overflow at any scale in epoch {epoch}, batch {batch.number}"
                raise NotFinite(learner, problem, batch.index.tolist())
            statistics.average(num_images / batch.step_size)
            num_images = 0
            learner.ema.update(epoch, ends_epoch=batch.ends_epoch)
        yield from steps_done(batch, losses)


def steps_done(batch: Any, losses: dict[int, float]) -> Iterator[Step]:
    """What there is to tell after this batch, and no longer in `losses`. Of several processes it is the whole
    step at its end: to each of them the batches of all.
    """
    if ranks.count() == 1:
        yield Step(
            batch.number, losses.pop(batch.number), len(batch.target), batch.ends_step, batch.ends_epoch
        )
    elif batch.ends_step:
        number = len(batch.sizes)
        for place, loss in enumerate(losses_of_step(losses, batch.first, number).tolist()):
            is_last = place == number - 1
            yield Step(batch.first + place, loss, batch.sizes[place], is_last, is_last and batch.ends_epoch)
        losses.clear()


def backward(learner: Learner, batch: Any, epoch: int) -> float:
    """Add a batch's gradients to those of its step; returns its mean loss. What is drawn depends on the batch
    alone, so that a second pass has the same dropout and mixing. Without an image it adds nothing. Raises
    NotFinite.
    """
    config, accelerator = learner.config, learner.accelerator
    if not len(batch.index) and not learner.in_lockstep:
        return 0.0
    # torch.manual_seed writes a stack trace for each kind of GPU that isn't there: a third of a head's step
    reseed = torch.default_generator.manual_seed if accelerator.device.type == "cpu" else torch.manual_seed
    reseed(seed_of(config.seed, learner.fold, epoch, batch.number))
    image, target, weight = mix(batch.image, batch.target, batch.weight, config)
    target = smooth(target, learner.label_smoothing)
    with accelerator.autocast():
        logits = learner.forward(image, batch.extra, target)
    losses = learner.loss_fn(logits.float(), target)  # (B,)
    loss = (losses * weight).sum()
    accelerator.backward(loss / batch.step_size)
    mean_loss = loss.item() / max(len(losses), 1)  # waits for the GPU, which has its work by now
    if not np.isfinite(mean_loss):
        at_fault = batch.index[~torch.isfinite(losses.detach())].tolist()
        raise NotFinite(learner, f"the loss is not finite in epoch {epoch}, batch {batch.number}", at_fault)
    return mean_loss


def smooth(target: Tensor, share: float) -> Tensor:
    """Targets (B, T) with this share spread evenly over the columns. Szegedy et al. 2016,
    arXiv:1512.00567.
    """
    return target * (1 - share) + share / target.shape[1] if share else target


class Growing:
    """Arrays joined as they come, in one array that is doubled when it is full. A list of them would be many
    small blocks that stay, each in the gap that a batch of images has left: the next batch finds no gap that
    is large enough, and the heap grows by all images.
    """

    def __init__(self) -> None:
        self.buffer, self.size = np.empty(0), 0

    def append(self, lines: np.ndarray) -> None:
        end = self.size + len(lines)
        if end > len(self.buffer):
            buffer = np.empty((2 * end, *lines.shape[1:]), lines.dtype)
            if self.size:
                buffer[: self.size] = self.values
            self.buffer = buffer
        self.buffer[self.size : end] = lines
        self.size = end

    @property
    def values(self) -> np.ndarray:
        return self.buffer[: self.size]


@torch.inference_mode()
def predict(forward: Forward, batches: Iterable, accelerator: Accelerator) -> tuple[np.ndarray, np.ndarray]:
    """(positions (N,), logits (N, T)) of all batches, the model in eval mode. The caller compares the
    positions with those it asked for: predictions belong to rows by position, never by order.
    """
    positions, logits = Growing(), Growing()
    for batch in batches:
        with accelerator.autocast():
            logits.append(forward(batch.image, batch.extra).float().cpu().numpy())
        positions.append(batch.index.cpu().numpy())
    return positions.values, logits.values


def unused(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[set[int], set[int]]:
    """(learning parameters that the optimizer lacks, parameters of the optimizer that don't learn), by id.
    Both must be empty: a layer set to learn after the optimizer was made would stay as it is, without a word.
    """
    learning = {id(p) for p in model.parameters() if p.requires_grad}
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return learning - optimized, optimized - learning
