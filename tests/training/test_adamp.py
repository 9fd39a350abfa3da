"""The batched AdamP against its oracle, the package: equal bit for bit."""

import copy
import math

import adamp
import pytest
import timm
import torch
from torch import Tensor, nn

from src.training.adamp import LOOK, AdamP, by_layer, by_row, clearly_below, cosine, find_projections


def shapes(backbone: str, shrink: int = 1) -> list[tuple[int, ...]]:
    """The parameters' shapes, channels divided by `shrink`."""
    with torch.device("meta"):
        model = timm.create_model(backbone)
    return [tuple(max(1, n // shrink) if n > 16 else n for n in p.shape) for p in model.parameters()]


def orthogonal(grad: Tensor, p: Tensor, view) -> Tensor:
    """Without what points along the weights, per row or over the whole layer."""
    g, w = view(grad), view(p)
    return (g - w * (g * w).sum(1, keepdim=True) / w.square().sum(1, keepdim=True)).view_as(grad)


def mixed_gradient(p: Tensor) -> Tensor | None:
    """One of what training can bring: none, ordinary, parallel, orthogonal by row, over the layer or nearly
    so, dying, zero.
    """
    kind = torch.randint(10, ()).item()
    grad = torch.randn(p.shape) * 0.01
    if p.ndim < 2 or kind < 4:
        return None if kind == 0 else grad
    p = p.detach()
    if kind == 4:
        return p + 0.01 * grad
    if kind in (5, 6):
        return orthogonal(grad, p, by_row if kind == 5 else by_layer)
    if kind == 7:  # around the layer's limit, 0.1 / sqrt(n), where only the package's own sums can tell
        factor = 0.1 / math.sqrt(p.numel()) * (0.3 + 2.2 * torch.rand(()))
        return orthogonal(grad, p, by_layer) + factor * grad.norm() / p.norm() * p
    return grad * (1e-11 if kind == 8 else 0)


def run(optimizers: list, copies: list[list[nn.Parameter]], steps: int) -> set:
    """Step all optimizers with the same mixed gradients; the projections that have fired."""
    fired = set()
    for _ in range(steps):
        for same in zip(*copies, strict=True):
            grad = mixed_gradient(same[0])
            for p in same:
                p.grad = (
                    None
                    if grad is None
                    else grad.clone(memory_format=torch.preserve_format).to(memory_format=layout(p))
                )
        fired.update(find_projections([p for p in copies[-1] if p.grad is not None], 2**18, 0.1, 1e-8))
        for optimizer in optimizers:
            optimizer.step()
    return fired


def layout(p: Tensor) -> torch.memory_format:
    return torch.contiguous_format if p.is_contiguous() else torch.channels_last


def parameters(sizes: list[tuple[int, ...]], copies: int = 2) -> list[list[nn.Parameter]]:
    torch.manual_seed(0)
    values = [0.05 * torch.randn(size) for size in sizes]
    return [[nn.Parameter(value.clone()) for value in values] for _ in range(copies)]


def make(optimizer: type, params: list[nn.Parameter], **settings):
    """As training groups them: weight decay on matrices alone."""
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in params if p.ndim < 2]},
    ]
    return optimizer(groups, **{"lr": 3e-3} | settings)


def assert_equal(theirs: list[nn.Parameter], ours: list[nn.Parameter], package, fast) -> None:
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))
    for a, b in zip(theirs, ours, strict=True):
        x, y = package.state[a], fast.state[b]
        assert x.keys() == y.keys() and x.get("step") == y.get("step")
        assert all(torch.equal(x[name], y[name]) for name in x if name != "step")


@pytest.mark.parametrize(
    ("backbone", "shrink"), [("tf_efficientnet_lite0", 2), ("convnext_tiny", 6), ("vgg19", 16)]
)
def test_fifty_steps_with_mixed_gradients_equal_the_package(backbone, shrink):
    theirs, ours = parameters(shapes(backbone, shrink))
    package, fast = make(adamp.AdamP, theirs), make(AdamP, ours)
    assert run([package, fast], [theirs, ours], 50) == {None, by_row, by_layer}
    assert_equal(theirs, ours, package, fast)


@pytest.mark.parametrize(
    "settings", [{}, {"nesterov": True}, {"betas": (0.8, 0.95), "eps": 1e-5, "delta": 0.3, "wd_ratio": 0.7}]
)
def test_big_matrices_in_bands_and_odd_sizes_equal_the_package(settings):
    cut, tall, few_rows = (
        [(1031, 517), (640, 21, 5, 5)],
        [(300_007,), (5, 1)],
        [(1, 300_001), (3, 200_003), (17, 40_000)],
    )
    theirs, ours = parameters([*cut, *tall, *few_rows, (37, 13, 3, 3), (1, 7), (3,), ()])
    package, fast = make(adamp.AdamP, theirs, **settings), make(AdamP, ours, **settings)
    run([package, fast], [theirs, ours], 30)
    assert_equal(theirs, ours, package, fast)


def test_a_state_goes_from_the_package_to_ours_and_back():
    sizes = [(600, 500), (64, 3, 3, 3), (40,)]
    theirs, ours = parameters(sizes)
    package, fast = make(adamp.AdamP, theirs), make(AdamP, ours)
    for source, target in ((package, fast), (fast, package)):
        run([source], [theirs if source is package else ours], 5)
        target.load_state_dict(copy.deepcopy(source.state_dict()))
        for a, b in zip(theirs, ours, strict=True):
            (b if source is package else a).data.copy_(a if source is package else b)
        run([package, fast], [theirs, ours], 10)
        assert_equal(theirs, ours, package, fast)


def test_weights_in_channels_last_move_as_contiguous_ones_do():
    theirs, ours = parameters([(64, 3, 3, 3), (300, 100, 3, 3), (96, 1, 5, 5), (50, 64, 1, 1), (64,)])
    ours = [
        nn.Parameter(p.detach().to(memory_format=torch.channels_last)) if p.ndim == 4 else p for p in ours
    ]
    package, fast = make(adamp.AdamP, theirs), make(AdamP, ours)
    assert run([package, fast], [theirs, ours], 50) == {None, by_row, by_layer}
    assert_equal(theirs, ours, package, fast)
    assert ours[1].is_contiguous(memory_format=torch.channels_last)


def test_a_layer_is_only_called_clear_where_the_package_agrees():
    torch.manual_seed(0)
    for numel in (10, 1_000, 300_000):
        limit = 0.1 / math.sqrt(numel)
        for factor in (0.0, 0.3, 0.49, 0.9, 0.999, 1.001, 1.1, 2.01, 3.0):
            p, grad = torch.randn(2, 2, numel // 2)
            grad = orthogonal(grad, p, by_layer)
            grad += factor * limit / math.sqrt(1 - (factor * limit) ** 2) * grad.norm() / p.norm() * p
            clear = clearly_below(
                *(x.flatten().dot(y.flatten()).item() for x, y in ((grad, p), (grad, grad), (p, p))),
                limit,
                1e-8,
            )
            assert clear in (None, bool(cosine(grad, p, by_layer, 1e-8) < limit))
            assert (clear is None) == (0.5 < factor < 2)
    nothing = (float("nan"), 0.0, float("inf"))
    assert all(clearly_below(0.0, gg, pp, 0.1, 1e-8) is None for gg in nothing for pp in (*nothing, 1.0))


def test_a_row_after_the_first_ones_decides_against_a_projection():
    p = torch.randn(LOOK + 2, 50)
    grad = orthogonal(torch.randn(LOOK + 2, 50), p, by_row)
    grad[-1] += p[-1]
    parameter = nn.Parameter(p)
    parameter.grad = grad
    assert find_projections([parameter], 2**18, 0.1, 1e-8) != [by_row]
    parameter.grad[-1] -= p[-1]
    assert find_projections([parameter], 2**18, 0.1, 1e-8) == [by_row]


def test_a_closure_runs_with_gradients_and_its_loss_is_returned():
    p = nn.Parameter(torch.ones(3))
    optimizer = AdamP([p], lr=0.1)

    def closure() -> Tensor:
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert (p < 1).all()
