"""The learning-rate range test, with a plot: which rate the data suggest, beside the one that is set."""

import copy
import time

import numpy as np
import torch
from torch import Tensor

from src.extras.doctor.plots import draw_curve
from src.extras.doctor.setup import NUM_IMAGES, Check, Forward, Setup
from src.extras.findings import Finding, fail, good, warn
from src.run.device import prepared
from src.training.optim import make_optimizer

SECONDS = 30.0  # for all its steps


def rate_range(setup: Setup) -> Finding:
    """The loss while the rate rises from 1e-6 to 10, as a plot; the rate of its fastest fall beside the one
    set. Smith 2017, arXiv:1506.01186.
    """
    rates, losses = sweep(setup)
    if len(rates) < 10:
        seen = f"a step takes too long to try more than {len(rates)} rates"
        return warn(seen, "run make doctor on a GPU, or with a smaller image_size")
    smooth = smoothed(losses)
    lowest = int(np.argmin(smooth))
    slopes = np.gradient(smooth[: lowest + 2], np.log(rates[: lowest + 2])) if lowest else np.zeros(1)
    suggested, ours = rates[int(np.argmin(slopes))], float(setup.config.lr)
    limit = max(2 * smooth[0], smooth[lowest] + 1)
    diverging = [rate for rate, loss in zip(rates[lowest:], smooth[lowest:]) if loss > limit]
    highest = diverging[0] if diverging else rates[-1]
    path = setup.paths.root / "doctor" / "rate.png"
    title = f"{setup.paths.name}: loss of a batch of {NUM_IMAGES} while the head's learning rate rises"
    marks = {f"set: lr={ours:.2g}": ours, f"falls fastest: {suggested:.2g}": suggested}
    draw_curve(path, rates, losses, smooth, title=title, marks=marks)
    seen = (
        f"lr={ours:.2g} is set; the loss falls fastest at {suggested:.2g}, is lowest at {rates[lowest]:.2g},"
        f" {'diverges at' if diverging else 'does not diverge up to'} {highest:.2g}: {path}"
    )
    if diverging and ours > highest:
        level = fail if ours > 3 * highest else warn
        return level(seen, f'SET="lr={suggested:.1g}", and body_lr in proportion')
    if ours < suggested / 100:
        return warn(seen, f'SET="lr={suggested / 3:.1g}": at the rate that is set the epochs may not suffice')
    return good(seen)


def sweep(setup: Setup, most: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """(rates of the head, losses) of steps at a growing rate, all in proportion; fewer where a step takes
    long; ends where the loss explodes.
    """
    batch, model = setup.features_of(setup.sample(128)), copy.deepcopy(setup.model)
    optimizer = prepared(setup.accelerator, make_optimizer(model.learning(), setup.config))
    forward, rng, began = setup.forward(model), np.random.default_rng(0), time.thread_time()
    rates, losses = [1e-6], []
    model.train()
    while len(losses) < len(rates):
        chosen = torch.from_numpy(rng.permutation(len(batch.target))[:NUM_IMAGES])
        for group in optimizer.param_groups:
            group["lr"] = rates[len(losses)] * group["rate"] / float(setup.config.lr)
        image, target, extra = (values[chosen] for values in (batch.image, batch.target, batch.extra))
        losses.append(step(setup, forward, optimizer, image, target, extra))
        seconds, top = time.thread_time() - began, 3 * max(losses[0], 1)
        if len(losses) == 1:  # how many there is time for
            rates = np.geomspace(1e-6, 10, int(np.clip(SECONDS / seconds, 8, most))).tolist()
        if not np.isfinite(losses[-1]) or np.mean(losses[-5:]) > top or seconds > 2 * SECONDS:
            break
    return np.array(rates[: len(losses)]), np.nan_to_num(np.array(losses), nan=top, posinf=top).clip(max=top)


def step(
    setup: Setup,
    forward: Forward,
    optimizer: torch.optim.Optimizer,
    image: Tensor,
    target: Tensor,
    extra: Tensor,
) -> float:
    with setup.accelerator.autocast():
        logits = forward(image, extra)
    loss = setup.loss_fn(logits.float(), target).mean()
    optimizer.zero_grad(set_to_none=True)
    setup.accelerator.backward(loss)
    optimizer.step()
    return float(loss.detach())


def smoothed(values: np.ndarray, width: int = 7) -> np.ndarray:
    """The mean of each value and its neighbours on both sides, so that nothing moves to the right."""
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


RATE: dict[str, Check] = {"rate": rate_range}
