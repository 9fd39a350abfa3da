"""AdamP as the package adamp computes it, bit for bit, in portions that fit the cache: small tensors
together, big ones in bands.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import adamp
import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = Sequence[Tensor]
# elements handled at once: on a CPU what stays in its cache, elsewhere what keeps a GPU busy
CPU_PORTION, PORTION = 2**18, 2**26
# so many rows show nearly always that a matrix needs no projection by rows
LOOK = 16


class AdamP(adamp.AdamP):
    """Drop-in for adamp.AdamP: same arguments, state and results; weights in channels_last work too."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        loss = torch.enable_grad()(closure)() if closure else None
        for group in self.param_groups:
            # what one foreach call can take; a parameter that missed a step counts its own
            alike: dict[tuple, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    if not state:
                        state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                    state["step"] += 1
                    alike.setdefault((state["step"], p.device, p.dtype), []).append(p)
            for (step, device, _), params in alike.items():
                size = CPU_PORTION if device.type == "cpu" else PORTION
                for some in portions(params, size):
                    views = find_projections(some, size, group["delta"], group["eps"])
                    columns = zip(
                        *((p, p.grad, self.state[p]["exp_avg"], self.state[p]["exp_avg_sq"]) for p in some)
                    )
                    # a projection of the whole layer can't be cut
                    height = math.inf if by_layer in views else size
                    for cut in zip(*(cut_all(column, height) for column in columns)):
                        update(*cut, views=views, step=step, group=group)
        return loss


def portions(params: list[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Lists of small tensors, about `size` elements together, and each bigger tensor by itself."""
    small, total = [], 0
    for p in params:
        if p.numel() > size:
            yield [p]
            continue
        small.append(p)
        total += p.numel()
        if total >= size:
            yield small
            small, total = [], 0
    yield small  # empty at times, which does nothing


def cut_all(tensors: Tensors, size: float) -> Iterator[tuple[Tensor, ...]]:
    """Band by band: small tensors uncut in one tuple, a big one alone as many views of some rows each, of
    about `size` elements.
    """
    # never a single row: torch sums a lone row in another order
    return zip(
        *(
            x.tensor_split(max(1, min(x.numel() // size, len(x) // 2))) if x.numel() > size else (x,)
            for x in tensors
        )
    )


def by_row(x: Tensor) -> Tensor:
    return x.flatten(1)  # of a channels_last tensor a copy, in the order that the sums are made in


def by_layer(x: Tensor) -> Tensor:
    return x.reshape(1, -1)


def cosine(grad: Tensor, p: Tensor, view: Callable[[Tensor], Tensor], eps: float) -> Tensor:
    return F.cosine_similarity(view(grad), view(p), dim=1, eps=eps).abs_().max()


def find_projections(
    params: list[Tensor], size: int, delta: float, eps: float
) -> list[Callable[[Tensor], Tensor] | None]:
    """Per parameter by_row, by_layer or None: whether, and over what, its gradient is nearly orthogonal to
    it.
    """
    matrices = [p for p in params if p.ndim > 1]
    if not matrices:
        return [None] * len(params)
    seen: list[Tensor] = []
    for p in matrices:
        pairs = (map(torch.flatten, pair) for pair in cut_all([p.grad, p], size))
        products = [(g.dot(w), g.dot(g), w.dot(w)) for g, w in pairs]
        seen.append(cosine(p.grad[:LOOK], p[:LOOK], by_row, eps))
        seen += map(sum, zip(*products)) if len(products) > 1 else products[0]
    numbers = iter(torch.stack(seen).tolist())  # one wait for the device
    ways = {}
    for p in matrices:
        first_rows, dot, gg, pp = (next(numbers) for _ in range(4))
        row_limit, layer_limit = delta / math.sqrt(p.numel() / len(p)), delta / math.sqrt(p.numel())
        if first_rows < row_limit and all(
            cosine(g, w, by_row, eps) < row_limit for g, w in cut_all([p.grad, p], size)
        ):
            ways[p] = by_row
        elif (
            (clear := clearly_below(dot, gg, pp, layer_limit, eps))
            or clear is None
            and cosine(p.grad, p, by_layer, eps) < layer_limit
        ):
            ways[p] = by_layer
    return [ways.get(p) for p in params]


def clearly_below(dot: float, gg: float, pp: float, limit: float, eps: float) -> bool | None:
    """Is the layer's |cosine| below the limit? None where only the package's own sums can tell: near it, or
    with odd norms.
    """
    norms, least = math.sqrt(gg * pp), 100 * max(eps, 1e-8)  # the package clamps each norm to eps
    if not least**2 < min(gg, pp) <= max(gg, pp) < 1e30 or limit / 2 <= abs(dot) / norms <= 2 * limit:
        return None  # float32 sums err by far less than that factor of 2
    return abs(dot) < limit * norms


def update(
    params: Tensors,
    grads: Tensors,
    exp_avgs: Tensors,
    exp_avg_sqs: Tensors,
    *,
    views: list,
    step: int,
    group: dict,
) -> None:
    """One step on tensors that are alike, in the package's order of operations."""
    beta1, beta2 = group["betas"]
    torch._foreach_mul_(exp_avgs, beta1)
    torch._foreach_add_(exp_avgs, grads, alpha=1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, value=1 - beta2)
    denoms = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denoms, math.sqrt(1 - beta2**step))
    torch._foreach_add_(denoms, group["eps"])
    if group["nesterov"]:
        perturbs = torch._foreach_mul(exp_avgs, beta1)
        torch._foreach_add_(perturbs, torch._foreach_mul(grads, 1 - beta1))
        torch._foreach_div_(perturbs, denoms)
    else:
        perturbs = torch._foreach_div(exp_avgs, denoms)
    del denoms
    for p, perturb, view in zip(params, perturbs, views):
        if view:
            column = (-1, *[1] * (p.ndim - 1))
            p_n = p / view(p).norm(dim=1).view(column).add_(group["eps"])
            perturb -= p_n.mul_(view(p_n * perturb).sum(dim=1).view(column))
    if group["weight_decay"] > 0:
        torch._foreach_mul_(
            params,
            [1 - group["lr"] * group["weight_decay"] * (group["wd_ratio"] if view else 1) for view in views],
        )
    torch._foreach_add_(params, perturbs, alpha=-group["lr"] / (1 - beta1**step))
