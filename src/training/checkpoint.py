"""The state of a fold in training: written whole, the last two kept, read back if it is sound. And when to
save it, and when to stop.

state/<epoch>-<step>.safetensors holds the tensors; the .json beside it all else and a hash of both. No
pickle.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.run.files import Damaged, atomic, file_sha, read_json, sha256, write_json

KEPT = 2  # the newest may be the one that a dying disk has spoilt
TENSOR = "<tensor>"


def pack(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """The value as json can hold it; its tensors go to `tensors`, and their strides stay, for sums depend on
    the order in memory.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {TENSOR: list(value.stride())}
    if isinstance(value, dict):
        return {key: pack(inner, tensors, f"{name}/{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [pack(inner, tensors, f"{name}/{number}") for number, inner in enumerate(value)]
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError(
            f"the state holds {name[1:]} = {value!r:.60}, which can't be saved: choose another optimizer"
        )
    return value


def unpack(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """What was packed; a tuple comes back as a list."""
    if isinstance(value, list):
        return [unpack(inner, tensors, f"{name}/{number}") for number, inner in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        found = tensors[name]
        return torch.empty_strided(found.shape, value[TENSOR], dtype=found.dtype).copy_(found)
    return {key: unpack(inner, tensors, f"{name}/{key}") for key, inner in value.items()}


def save(folder: Path, content: dict) -> None:
    """Write a state, named by its `epoch` and `step`, and remove all but the last two."""
    tensors: dict[str, Tensor] = {}
    packed = pack(content, tensors)
    path = folder / f"{content['epoch']:05}-{content['step']:07}.json"
    with atomic(path.with_suffix(".safetensors")) as part:
        save_file(tensors, part)
        sha = sha256([file_sha(part), packed])
    write_json({"sha": sha, **packed}, path)  # last: a state without it does not count
    kept = {path.stem for path in sorted(folder.glob("*.json"))[-KEPT:]}
    for file in folder.iterdir():
        if file.name.partition(".")[0] not in kept:
            file.unlink()


def load(folder: Path) -> dict | None:
    """The newest sound state, None without one. A damaged one is said and removed, or it would stand as the
    newest.
    """
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            return read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            why = error.why if isinstance(error, Damaged) else str(error).splitlines()[0]
            print(f"{path} is damaged ({why}); the one before it is taken", flush=True)
            path.unlink()
    return None


def read(path: Path) -> dict:
    packed, tensors = read_json(path), path.with_suffix(".safetensors")
    sha = packed.pop("sha") if isinstance(packed, dict) else ""
    if sha256([file_sha(tensors), packed]) != sha:
        raise ValueError("its hash is another")
    return unpack(packed, load_file(tensors))


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


# -- the optimizer, by the order of its parameters

PARAMETER = "<parameter>"
# what every optimizer has
PLAIN = {*vars(torch.optim.SGD([torch.zeros(1)], lr=1.0)), "param_groups", "state", "defaults"}


def of_optimizer(optimizer: torch.optim.Optimizer) -> dict:
    """All that it remembers, whatever its names: by parameter, by group, and in attributes of its own, an
    optimizer inside it among them.

    Raises ValueError for what a state can't hold: a run that goes on without it would not end like one that
    was never stopped.
    """
    optimizer = (
        getattr(optimizer, "optimizer", optimizer)
        if isinstance(optimizer, AcceleratedOptimizer)
        else optimizer
    )
    parameters = parameters_of(optimizer)
    order = {id(p): number for number, p in enumerate(parameters)}
    state = optimizer.state
    found = {
        "groups": [
            {key: value for key, value in group.items() if key != "params" and not callable(value)}
            for group in optimizer.param_groups
        ],
        "state": [dict(state[p]) if p in state else {} for p in parameters],
        "common": {key: value for key, value in state.items() if not isinstance(key, Tensor)},
        "own": {
            name: value for name, value in vars(optimizer).items() if name not in PLAIN and is_state(value)
        },
    }
    return {key: by_number(value, order, f"{type(optimizer).__name__}.{key}") for key, value in found.items()}


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def is_state(value: Any) -> bool:
    """Functions and the like are code."""
    return not callable(value) or isinstance(value, Tensor)


def by_number(value: Any, order: dict[int, int], name: str) -> Any:
    """The value with each parameter as its number, and an optimizer as what it remembers."""
    if isinstance(value, torch.optim.Optimizer):
        return of_optimizer(value)
    if isinstance(value, Tensor) and id(value) in order:
        return {PARAMETER: order[id(value)]}
    if isinstance(value, list | tuple):
        return [by_number(inner, order, name) for inner in value]
    if isinstance(value, dict):
        keys = {
            key: f"{PARAMETER}{order[id(key)]}" if isinstance(key, Tensor) and id(key) in order else key
            for key in value
        }
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


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    optimizer = (
        getattr(optimizer, "optimizer", optimizer)
        if isinstance(optimizer, AcceleratedOptimizer)
        else optimizer
    )
    parameters = parameters_of(optimizer)
    for group, values in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update(
            {
                key: tuple(value) if isinstance(group.get(key), tuple) else value
                for key, value in values.items()
            }
        )
    for p, values in zip(parameters, saved["state"], strict=True):
        # not by load_state_dict: it makes float32 of all and loses strides
        if values:
            optimizer.state[p] = on(p.device, "", values, parameters)
    optimizer.state.update(on(parameters[0].device, "", saved["common"], parameters))
    for name, value in saved["own"].items():
        old = getattr(optimizer, name, None)
        if isinstance(old, torch.optim.Optimizer):
            restore_optimizer(old, value)
        # perhaps one that makes what is asked for
        elif isinstance(old, dict):
            old.clear()
            old.update(on(parameters[0].device, name, value, parameters))
        else:
            new = on(parameters[0].device, name, value, parameters)
            setattr(optimizer, name, tuple(new) if isinstance(old, tuple) else new)


def on(device: torch.device, key: str, value: Any, parameters: list[Tensor]) -> Any:
    """A value of the optimizer's on the device of its parameter; counters named step stay on the CPU, as
    torch has it.
    """
    if isinstance(value, list):
        return [on(device, key, one, parameters) for one in value]
    if isinstance(value, dict) and PARAMETER in value:
        return parameters[value[PARAMETER]]
    if isinstance(value, dict):
        names = {
            name: parameters[int(name.removeprefix(PARAMETER))] if name.startswith(PARAMETER) else name
            for name in value
        }
        return {names[name]: on(device, name, inner, parameters) for name, inner in value.items()}
    return value.to(device) if isinstance(value, Tensor) and key != "step" else value
