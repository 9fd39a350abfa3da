"""The learning-rate range test, with a plot: which rate the data suggest, beside the one that is set."""

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from src.extras.doctor.case import NUM_IMAGES, Case, Check
from src.extras.doctor.plots import draw_curve
from src.extras.findings import Finding, fail, good, warn
from src.training.optim import make_optimizer

SECONDS = 30.0  # for all its steps


def rate_range(case: Case) -> Finding:
    """The loss while the rate rises from 1e-6 to 10, as a plot; the rate of its fastest fall beside the one
    set. Smith 2017, arXiv:1506.01186.
    """
    rates, losses = sweep(case)
    if len(rates) < 10:
        return warn(
            f"a step takes too long to try more than {len(rates)} rates",
            "make doctor on the GPU, or with a smaller image_size",
        )
    smooth = smoothed(losses)
    lowest = int(np.argmin(smooth))
    slopes = np.gradient(smooth[: lowest + 2], np.log(rates[: lowest + 2])) if lowest else np.zeros(1)
    suggested = rates[int(np.argmin(slopes))]
    above = [
        rate
        for rate, loss in zip(rates[lowest:], smooth[lowest:])
        if loss > max(2 * smooth[0], smooth[lowest] + 1)
    ]
    breaks, ours = above[0] if above else rates[-1], float(case.config.lr)
    path = case.paths.root / "doctor" / "rate.png"
    draw_curve(
        path,
        rates,
        losses,
        smooth,
        title=f"{case.job.paths.name}: loss of a batch of {NUM_IMAGES} while the head's rate rises",
        marks={f"set: lr={ours:.2g}": ours, f"falls fastest: {suggested:.2g}": suggested},
    )
    seen = (
        f"lr={ours:.2g} is set; the loss falls fastest at {suggested:.2g}, lowest at {rates[lowest]:.2g},"
        f" breaks out at {breaks:.2g}: {path}"
    )
    if above and ours > breaks:
        return (fail if ours > 3 * breaks else warn)(seen, f"lr={suggested:.1g}, and body_lr in proportion")
    if ours < suggested / 100:
        return warn(seen, f"lr={suggested / 3:.1g}: at this rate the epochs may not suffice")
    return good(seen)


def sweep(case: Case, most: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """(rates of the head, losses) of steps at a growing rate, all in proportion; fewer where a step takes
    long; ends where the loss explodes.
    """
    batch, model = case.features_of(case.sample(128)), copy.deepcopy(case.model)
    optimizer = make_optimizer(model.learning(), case.config)
    forward, rng, began = case.forward(model), np.random.default_rng(0), time.thread_time()
    rates, losses = [1e-6], []
    model.train()
    while len(losses) < len(rates):
        rate = rates[len(losses)]
        chosen = torch.from_numpy(rng.permutation(len(batch.target))[:NUM_IMAGES])
        image, target, extra = batch.image[chosen], batch.target[chosen], batch.extra[chosen]
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"] / float(case.config.lr)
        loss = step(case, forward, optimizer, image, target, extra)
        losses.append(loss)
        spent, top = time.thread_time() - began, 3 * max(losses[0], 1)
        if len(losses) == 1:  # how many there is time for
            rates = np.geomspace(1e-6, 10, int(np.clip(SECONDS / spent, 8, most))).tolist()
        if not np.isfinite(loss) or np.mean(losses[-5:]) > top or spent > 2 * SECONDS:
            break
    return np.array(rates[: len(losses)]), np.nan_to_num(np.array(losses), nan=top, posinf=top).clip(max=top)


def step(
    case: Case,
    forward: Callable,
    optimizer: torch.optim.Optimizer,
    image: Tensor,
    target: Tensor,
    extra: Tensor,
) -> float:
    with case.job.accelerator.autocast():
        logits = forward(image, extra)
    loss = case.loss_fn(logits.float(), target).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def smoothed(values: np.ndarray, width: int = 7) -> np.ndarray:
    """The mean of each value and its neighbours on both sides, so that nothing moves to the right."""
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


RATE: dict[str, Check] = {"rate": rate_range}
