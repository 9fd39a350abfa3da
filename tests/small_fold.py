"""A small fold, trained as the stage does, for tests of what it leaves in memory."""

import torch
from accelerate import Accelerator
from torch import nn

from src.run.memory import Watch, watch


class Net(nn.Module):
    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.tail = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.tail(self.trunk(x)))


def make_trunk() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).eval().requires_grad_(False)


def forget(fold: dict):
    """Nothing is kept."""


def train_fold(
    keep=forget, trunk: nn.Module | None = None, accelerator: Accelerator | None = None
) -> tuple[Watch, object]:
    """One fold as the stage trains it; `keep` takes what it wants from the fold's variables: that is the
    leak.
    """
    torch.manual_seed(0)
    model = Net(trunk or make_trunk())
    seen = watch(model, shared=trunk)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    if accelerator is not None:
        model, optimizer = accelerator.prepare(model, optimizer)
    outputs = []
    hook = model.tail.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    for _ in range(2):
        loss = model(torch.rand(5, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    hook.remove()
    return seen, keep({"model": model, "optimizer": optimizer, "loss": loss, "outputs": outputs})
