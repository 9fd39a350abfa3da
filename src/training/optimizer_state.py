"""What an optimizer remembers, by the order of its parameters: any optimizer, also one that wraps another or
keeps values in attributes of its own. torch's own load_state_dict makes float32 of all and loses strides, so
that a continued training would not end with the same bytes.
"""

from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor
from torch.optim import Optimizer

PARAMETER = "<parameter>"
# the attributes that every optimizer has
USUAL = {*vars(torch.optim.SGD([torch.zeros(1)], lr=1.0)), "param_groups", "state", "defaults"}


def state_dict(optimizer: Optimizer) -> dict:
    """Its state by parameter, by group and in attributes of its own. Raises ValueError for what a file can't
    hold: a training that goes on without it would not end like one that was never stopped.
    """
    optimizer = unwrapped(optimizer)
    parameters = parameters_of(optimizer)
    order = {id(p): number for number, p in enumerate(parameters)}
    state = optimizer.state
    parts = {
        "groups": [
            {key: value for key, value in group.items() if key != "params" and not callable(value)}
            for group in optimizer.param_groups
        ],
        "state": [dict(state[p]) if p in state else {} for p in parameters],
        "common": {key: value for key, value in state.items() if not isinstance(key, Tensor)},
        "own": {
            name: value
            for name, value in vars(optimizer).items()
            if name not in USUAL and (isinstance(value, Tensor) or not callable(value))
        },
    }
    return {key: by_number(value, order, f"{type(optimizer).__name__}.{key}") for key, value in parts.items()}


def load_state_dict(optimizer: Optimizer, saved: dict) -> None:
    """Give it back what state_dict returned; its parameters are the same, in the same order."""
    optimizer = unwrapped(optimizer)
    parameters = parameters_of(optimizer)
    device = parameters[0].device
    for group, values in zip(optimizer.param_groups, saved["groups"], strict=True):
        for key, value in values.items():
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
    for p, values in zip(parameters, saved["state"], strict=True):
        if values:
            optimizer.state[p] = on_device(p.device, "", values, parameters)
    optimizer.state.update(on_device(device, "", saved["common"], parameters))
    for name, value in saved["own"].items():
        current = getattr(optimizer, name, None)
        if isinstance(current, Optimizer):
            load_state_dict(current, value)
        elif isinstance(current, dict):  # in place: it may be a defaultdict
            current.clear()
            current.update(on_device(device, name, value, parameters))
        else:
            new = on_device(device, name, value, parameters)
            setattr(optimizer, name, tuple(new) if isinstance(current, tuple) else new)


def unwrapped(optimizer: Optimizer) -> Optimizer:
    return optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def by_number(value: Any, order: dict[int, int], name: str) -> Any:
    """The value with each parameter as its number, and an optimizer as what it remembers."""
    if isinstance(value, Optimizer):
        return state_dict(value)
    if isinstance(value, Tensor) and id(value) in order:
        return {PARAMETER: order[id(value)]}
    if isinstance(value, list | tuple):
        return [by_number(inner, order, name) for inner in value]
    if isinstance(value, dict):
        keys = {key: f"{PARAMETER}{order[id(key)]}" if id(key) in order else key for key in value}
        if strange := [key for key in keys.values() if not isinstance(key, str)]:
            raise ValueError(
                f"the optimizer keeps {name} by {strange[0]!r:.60}, which can't be saved: choose another"
                " optimizer, or keep it by name or by parameter"
            )
        return {keys[key]: by_number(inner, order, f"{name}.{keys[key]}") for key, inner in value.items()}
    if isinstance(value, bool | int | float | str | None | Tensor):
        return value
    raise ValueError(
        f"the optimizer keeps {name} = {value!r:.60}, which can't be saved: choose another optimizer, "
        "or keep it in numbers and tensors"
    )


def on_device(device: torch.device, key: str, value: Any, parameters: list[Tensor]) -> Any:
    """A value of the optimizer's on the device of its parameter; counters named step stay on the CPU, as
    torch has it.
    """
    if isinstance(value, list):
        return [on_device(device, key, inner, parameters) for inner in value]
    if isinstance(value, dict) and PARAMETER in value:
        return parameters[value[PARAMETER]]
    if isinstance(value, dict):
        names = {
            name: parameters[int(name.removeprefix(PARAMETER))] if name.startswith(PARAMETER) else name
            for name in value
        }
        return {names[name]: on_device(device, name, inner, parameters) for name, inner in value.items()}
    return value.to(device) if isinstance(value, Tensor) and key != "step" else value
