"""Make a head and run a head or a backbone once. Where it breaks, one line says where, with which shape, and
what to write there.
"""

import inspect
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.config import Config
from src.run.sources import ROOT

MAKER = ["feature_shape", "num_outputs", "config", "num_extra"]  # of a head's function
FORWARD = ["features", "extra"]  # of its forward
Shape = tuple[int, ...]


def make_head(
    make: Callable[..., Any], word: str, shape: Shape, num_outputs: int, config: Config, num_extra: int
) -> nn.Module:
    """The head for features of this shape, run once. Raises ValueError in one line for a head that can't be
    used.
    """
    title, name, place = f"head {word!r}", name_of(make, word), place_of(make)
    check_parameters(make, MAKER, f"{title} ({place})", f"def {name}({', '.join(MAKER)}):")
    try:
        head = make(shape, num_outputs, config, num_extra)
    except Exception as error:  # whatever one's own function meets
        call = f"{name}(feature_shape={shape}, num_outputs={num_outputs}, config=..., num_extra={num_extra})"
        raise ValueError(f"{title} can't be made by {call}: {explain(error)}") from error
    check_module(head, title, make)
    if type(head).__module__.startswith("torch.nn"):
        raise ValueError(
            f"{title} ({place}) gives a plain nn.{type(head).__name__}, which can't take the extra columns"
            " beside the features: put it into Joined(...), which flattens the features and joins the columns"
            " to them"
        )
    forward = f"def forward(self, {', '.join(FORWARD)}):"
    check_parameters(head.forward, FORWARD, f"{title} ({place_of(type(head))})", forward)
    logits = run_once(head, (torch.randn(2, *shape), torch.zeros(2, num_extra)), title)
    if logits.shape != (2, num_outputs):
        advice = linear_for(shape, num_outputs, num_extra)
        if logits.ndim == 2 and logits.shape[0] == 2:
            advice = f"its last layer must have num_outputs, here {num_outputs}, outputs"
        raise ValueError(
            f"{title} gives {tuple(logits.shape)} for features {(2, *shape)}, and it must give"
            f" {(2, num_outputs)}: {advice}"
        )
    return head


def check_module(module: object, title: str, make: Callable[..., Any]) -> None:
    """Raises ValueError where a function has returned something else."""
    if not isinstance(module, nn.Module):
        advice = ": is its `return` missing?" if module is None else ""
        place, kind = place_of(make), kind_of(module)
        raise ValueError(f"{title} ({place}) must give an nn.Module, and gives {kind}{advice}")


def check_parameters(function: Callable[..., Any], wanted: list[str], title: str, line: str) -> None:
    """Raises ValueError where the function can't be called with these arguments in this order."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in: it has none
        return
    own = list(signature.parameters)
    try:
        signature.bind(*wanted)
    except TypeError as error:
        raise ValueError(f"{title} takes ({', '.join(own)}): write {line}") from error
    if any(name in wanted and wanted.index(name) != i for i, name in enumerate(own)):
        raise ValueError(f"{title} takes ({', '.join(own)}), in another order: write {line}")


def run_once(module: nn.Module, inputs: tuple[Tensor, ...], title: str) -> Tensor:
    """What the module returns in eval mode for a batch of 2. Raises ValueError in one line where it breaks,
    or returns anything but one tensor with the batch first.
    """
    running: list[tuple[str, nn.Module, Shape]] = []  # the layers in progress, the innermost last

    def begin(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple) -> None:
            has_tensor = bool(args) and isinstance(args[0], Tensor)
            running.append((name, layer, tuple(args[0].shape) if has_tensor else ()))

        return hook

    def end(*_: object) -> None:
        running.pop()

    hooks = [layer.register_forward_pre_hook(begin(name)) for name, layer in module.named_modules()]
    hooks += [layer.register_forward_hook(end) for layer in module.modules()]
    try:
        with torch.no_grad():
            outputs = module.eval()(*inputs)
    except Exception as error:  # whatever one's own forward meets
        place = describe(*running[-1]) if running else "in forward, which was given ()"
        raise ValueError(f"{title} breaks {place} ({explain(error)})") from error
    finally:
        for handle in hooks:
            handle.remove()
    if not isinstance(outputs, Tensor):
        place = place_of(type(module))
        raise ValueError(f"{title} must return one tensor, and returns {kind_of(outputs)} ({place})")
    if outputs.shape[:1] != (2,):  # a view(-1, n) changes the batch size instead of failing
        raise ValueError(
            f"{title} must return one tensor, batch first; for 2 images it gave {tuple(outputs.shape)}:"
            " flatten with x.flatten(1), not x.view(-1, n)"
        )
    return outputs


def describe(name: str, layer: nn.Module, shape: Shape) -> str:
    """The layer that broke, what it was given and, for a single layer, what would fit."""
    if not name or "\n" in repr(layer):
        return f"in forward, which was given {shape}"
    return f"at layer {name} = {layer!r}, which was given {shape}: {advice_for(layer, shape)}"


def advice_for(layer: nn.Module, shape: Shape) -> str:
    """What to change in a layer that was given this shape."""
    channels = shape[1] if len(shape) > 1 else 0
    if isinstance(layer, nn.Linear):
        return linear_for(shape[1:], layer.out_features)
    if isinstance(layer, nn.Conv2d) and len(shape) == 4 and layer.in_channels != channels:
        return f"in_channels={channels} would fit"
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.num_features != channels:
        return f"num_features={channels} would fit"
    return "make the layer before it give what it expects"


def linear_for(shape: Shape, num_outputs: int, num_extra: int = 0) -> str:
    """The layer that makes these outputs of features of this shape, as one would type it."""
    layer = f"nn.Linear(in_features={math.prod(shape) + num_extra}, out_features={num_outputs})"
    if len(shape) > 1:
        return f"insert nn.Flatten(): write nn.Sequential(nn.Flatten(), {layer}) in its place"
    return f"write {layer} in its place"


def name_of(make: Callable[..., Any], word: str) -> str:
    """Of a function, for a line to type; a lambda has none."""
    name = str(getattr(make, "__name__", word))
    return name if name.isidentifier() else word


def kind_of(value: object) -> str:
    """A value in words."""
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def explain(error: BaseException) -> str:
    """The kind of error, its message on one line, and the line of one's own code that it comes from."""
    lines = [
        f", {relative(frame.filename)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "site-packages" not in frame.filename and frame.filename[0] != "<"
    ]
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}{lines[-1] if lines else ''}"


def place_of(thing: Callable[..., Any]) -> str:
    """file:line where it is defined."""
    try:
        return f"{relative(inspect.getsourcefile(thing) or '')}:{inspect.getsourcelines(thing)[1]}"
    except (TypeError, OSError):  # built in, or typed at a prompt
        return f"{getattr(thing, '__module__', 'unknown')}"


def relative(file: str) -> str:
    """A path from the kit's folder on, where it is inside of it."""
    path = Path(file).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else file
