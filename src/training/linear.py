"""A linear model solved exactly: any loss plus a penalty on the weights, by L-BFGS in double precision. With
cross entropy that is logistic regression, with mse ridge regression.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# the strongest penalty first; C as scikit-learn has it, for features of spread 1
CS = tuple(10.0 ** (power / 2) for power in range(-7, 5))  # 0.0003, 0.001 ... 100
LossFn = Callable[[Tensor, Tensor], Tensor]  # (logits (n, T), targets (n, T)) -> (n,)


class Examples(NamedTuple):
    """What a linear model learns from, on the CPU, in float64 (float32 where C is chosen)."""

    x: Tensor  # (n, F)
    target: Tensor  # (n, T)
    weight: Tensor  # (n,)

    def where(self, chosen: np.ndarray) -> "Examples":
        return Examples(*(values[torch.from_numpy(chosen)] for values in self))


class Axes(NamedTuple):
    """The features centred, scaled to a spread of 1 and turned onto their principal axes: the penalty is the
    same there, and a solution is found in a fifth of the iterations. Of more features than examples only the
    axes are kept on which examples differ (R of them, else R = F): on the others every weight would be 0.
    """

    mean: Tensor  # (F,)
    spread: Tensor  # (F,)
    directions: Tensor  # (F, R), orthogonal
    variance: Tensor  # (R,) of each direction

    @classmethod
    def of(cls, x: Tensor) -> "Axes":
        mean, spread = x.mean(dim=0), x.std(dim=0, correction=0)
        spread = torch.where(spread > 1e-6, spread, 1.0)
        scaled, number = (x - mean) / spread, len(x)
        if number > x.shape[1]:
            variance, directions = torch.linalg.eigh(scaled.T @ scaled / number)
            return cls(mean, spread, directions, variance.clamp(min=0))
        variance, of_examples = torch.linalg.eigh(scaled @ scaled.T / number)
        differ = variance > 1e-9 * variance[-1]
        variance, of_examples = variance[differ], of_examples[:, differ]
        return cls(mean, spread, scaled.T @ of_examples / (number * variance).sqrt(), variance)

    def apply(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.spread @ self.directions

    def undo(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """weight (T, F) and bias (T,) of a layer on the plain features, of a solution (R + 1, T) here."""
        weight = (self.directions @ solution[:-1]).T / self.spread
        return weight, solution[-1] - weight @ self.mean


def solve(
    examples: Examples,
    variance: Tensor,
    loss_fn: LossFn,
    c: float,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
) -> Tensor:
    """The weights and, in the last row, the bias (F + 1, T) that minimise

        sum of weighted losses + |weights|^2 / (2 c).

    variance (F,): of each column of x. start: where to begin, such as the solution for another c. Each weight
    is searched in steps of one over the root of its curvature, about a tenth of the variance and the penalty.
    """
    if start is None:
        start = examples.x.new_zeros(examples.x.shape[1] + 1, examples.target.shape[1])
    total = examples.weight.sum()
    step = (0.1 * variance + 1 / (c * total)).rsqrt()[:, None]  # (F, 1)
    scaled = torch.cat([start[:-1] / step, start[-1:]]).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [scaled],
        max_iter=1000,
        tolerance_grad=tolerance,
        tolerance_change=tolerance / 100,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        weights = step * scaled[:-1]
        losses = loss_fn(examples.x @ weights + scaled[-1], examples.target) * examples.weight
        value = (losses.sum() + weights.square().sum() / (2 * c)) / total
        value.backward()
        return value

    optimizer.step(objective)
    return torch.cat([step * scaled[:-1], scaled[-1:]]).detach()


def choose_c(examples: Examples, variance: Tensor, loss_fn: LossFn, folds: np.ndarray) -> float:
    """The C of CS with the smallest loss in cross-validation. folds (n,): each number is held out in turn, -1
    never. C grows until the loss rises: what follows would only cost time.
    """
    solutions: dict[int, Tensor | None] = dict.fromkeys(sorted({*folds.tolist()} - {-1}))
    losses: dict[float, float] = {}
    for c in CS:
        total = 0.0
        for fold, before in solutions.items():
            training, held_out = examples.where(folds != fold), examples.where(folds == fold)
            solution = solve(training, variance, loss_fn, c, start=before, tolerance=1e-3)
            logits = held_out.x @ solution[:-1] + solution[-1]
            total += float((loss_fn(logits, held_out.target) * held_out.weight).sum())
            solutions[fold] = solution
        if losses and total > min(losses.values()):
            break
        losses[c] = total
    return min(losses, key=losses.__getitem__)
