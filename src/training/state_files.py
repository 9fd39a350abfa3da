"""A training's state as files: state/<epoch>-<batch>.safetensors holds the tensors, the .json beside it all
else and a hash of both. Each is whole or absent, the last two are kept, and nothing is pickled.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.run.files import Damaged, atomic, file_sha, read_json, sha256, write_json

KEPT = 2  # the newest may be the one that a dying disk has spoilt
TENSOR = "<tensor>"


def save(folder: Path, state: dict) -> None:
    """Write a state, named by its `epoch` and `batch`, and remove all but the last two. Raises ValueError for
    what json and safetensors can't hold.
    """
    tensors: dict[str, Tensor] = {}
    packed = pack(state, tensors)
    path = folder / f"{state['epoch']:05}-{state['batch']:07}.json"
    with atomic(path.with_suffix(".safetensors")) as part:
        save_file(tensors, part)
        sha = sha256([file_sha(part), packed])
    write_json({"sha": sha, **packed}, path)  # last: a state without it does not count
    kept = {path.stem for path in sorted(folder.glob("*.json"))[-KEPT:]}
    for file in folder.iterdir():
        if file.name.partition(".")[0] not in kept:
            file.unlink()


def load(folder: Path) -> dict | None:
    """The newest sound state, None without one. A damaged one is named and removed, or it would remain the
    newest.
    """
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            return read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = error.why if isinstance(error, Damaged) else str(error).splitlines()[0]
            print(f"{path} is damaged ({reason}); the one before it is taken", flush=True)
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


def pack(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """The value as json can hold it. Its tensors go to `tensors`; their strides stay here, since the last
    digits of a sum depend on the order in memory.
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
        tensor = tensors[name]
        return torch.empty_strided(tensor.shape, value[TENSOR], dtype=tensor.dtype).copy_(tensor)
    return {key: unpack(inner, tensors, f"{name}/{key}") for key, inner in value.items()}
