"""The optimizer with its parameter groups, and the rates of each step."""

from torch import nn
from torch.optim import Optimizer

from src.config import Config
from src.training.schedules import SCHEDULES


def parameter_groups(learning: list[tuple[str, nn.Parameter, int]], config: Config) -> list[dict]:
    """One group per depth and kind: the head at `lr`, the backbone at `body_lr` times layer_decay per layer
    group away from the output.

    Vectors (biases, norms) are not decayed. `rate` is the group's full rate, which `set_rates` scales.
    """
    groups: dict[tuple[int, bool], dict] = {}
    for _, parameter, depth in learning:
        rate = float(config.lr) if depth < 0 else float(config.body_lr) * float(config.layer_decay) ** depth
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        group = groups.setdefault(
            (depth, parameter.ndim > 1),
            {"params": [], "lr": rate, "rate": rate, "weight_decay": decay, "is_head": depth < 0},
        )
        group["params"].append(parameter)
    return list(groups.values())


def make_optimizer(learning: list[tuple[str, nn.Parameter, int]], config: Config) -> Optimizer:
    """AdamP (Heo et al. 2021, arXiv:2006.08217), or any optimizer of timm by name, over exactly what learns.
    Raises ValueError for an unknown one.
    """
    groups = parameter_groups(learning, config)
    if config.optimizer == "adamp":
        from src.training.adamp import AdamP  # not above: predicting must not need the package

        return AdamP(groups, lr=config.lr, weight_decay=config.weight_decay)
    from timm.optim import create_optimizer_v2, list_optimizers

    if config.optimizer not in list_optimizers():
        raise ValueError(
            f"optimizer {config.optimizer!r} is unknown; adamp, or one of timm's:"
            f" {', '.join(list_optimizers()[:12])} ...; or add it in make_optimizer, src/training/optim.py"
        )
    return create_optimizer_v2(groups, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay)


def set_rates(optimizer: Optimizer, step: int, steps_per_epoch: int, config: Config) -> None:
    """Set each group's rate for this step (0, 1, ...). The backbone waits for head_epochs, then warms up by
    itself.
    """
    total, schedule = steps_per_epoch * config.epochs, SCHEDULES[config.schedule]
    for group in optimizer.param_groups:
        start = 0 if group["is_head"] else config.head_epochs * steps_per_epoch
        whole = max(total - start, 1)
        warmup = min(config.warmup_epochs * steps_per_epoch / whole, 0.5)
        # step + 1: the first step moves something, and the last one is just above 0
        group["lr"] = (
            0.0 if step < start else group["rate"] * schedule((step + 1 - start) / (whole + 1), warmup)
        )


def body_rate(optimizer: Optimizer) -> dict[str, float]:
    """The rate now of the last learning layers of the body, by name; nothing where the head learns alone."""
    rates = [group["lr"] for group in optimizer.param_groups if not group["is_head"]]
    return {"body_lr": max(rates)} if rates else {}
