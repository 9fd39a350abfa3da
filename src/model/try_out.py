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
from src.run.sources import SRC

MAKER = ["feature_shape", "num_outputs", "config", "num_extra"]  # of a head's function
FORWARD = ["features", "extra"]  # of its forward
Shape = tuple[int, ...]


def make_head(
    make: Callable[..., Any], word: str, shape: Shape, num_outputs: int, config: Config, num_extra: int
) -> nn.Module:
    """The head for features of this shape, run once. Raises ValueError in one line for a head that can't be
    used.
    """
    what, name = f"head {word!r}", name_of(make, word)
    check_parameters(make, MAKER, f"{what} ({place_of(make)})", f"def {name}({', '.join(MAKER)}):")
    try:
        head = make(shape, num_outputs, config, num_extra)
    except Exception as error:  # whatever one's own function meets
        called = (
            f"{name}(feature_shape={shape}, num_outputs={num_outputs}, config=..., num_extra={num_extra})"
        )
        raise ValueError(f"{what} can't be made by {called}: {explain(error)}") from error
    check_module(head, what, make)
    if type(head).__module__.startswith("torch.nn"):
        raise ValueError(
            f"{what} ({place_of(make)}) gives a plain nn.{type(head).__name__}, which can't take the extra"
            " columns beside the features: put it into Joined(...), which flattens the features and joins"
            " the columns to them"
        )
    check_parameters(
        head.forward, FORWARD, f"{what} ({place_of(type(head))})", f"def forward(self, {', '.join(FORWARD)}):"
    )
    logits = run_once(head, (torch.randn(2, *shape), torch.zeros(2, num_extra)), what)
    if logits.shape != (2, num_outputs):  # FIELD B6: a view(-1, n) changes the batch size instead of failing
        given = (
            f"{what} gives {tuple(logits.shape)} for features {(2, *shape)}, and it must give (2,"
            f" {num_outputs})"
        )
        flat = logits.ndim == 2 and logits.shape[0] == 2
        advice = (
            f"its last layer must have num_outputs, here {num_outputs}, outputs"
            if flat
            else linear_for(shape, num_outputs, num_extra)
        )
        raise ValueError(f"{given}: {advice}")
    return head


def check_module(module: object, what: str, make: Callable[..., Any]) -> None:
    if not isinstance(module, nn.Module):
        forgotten = ": is its `return` missing?" if module is None else ""
        raise ValueError(
            f"{what} ({place_of(make)}) must give an nn.Module, and gives {kind_of(module)}{forgotten}"
        )


def check_parameters(function: Callable[..., Any], wanted: list[str], what: str, line: str) -> None:
    """Raises ValueError where the function can't be called with these arguments in this order."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in: it has none
        return
    own = list(signature.parameters)
    try:
        signature.bind(*wanted)
    except TypeError as error:
        raise ValueError(f"{what} takes ({', '.join(own)}): write {line}") from error
    if any(name in wanted and wanted.index(name) != number for number, name in enumerate(own)):
        raise ValueError(f"{what} takes ({', '.join(own)}), in another order: write {line}")


def run_once(module: nn.Module, inputs: tuple[Tensor, ...], what: str) -> Tensor:
    """What the module gives in eval. Raises ValueError in one line where it breaks, or gives anything but one
    tensor with the batch first.
    """
    running: list[tuple[str, nn.Module, Shape]] = []  # the layers in progress, the innermost last

    def begin(name: str, layer: nn.Module) -> Callable[..., None]:
        return lambda _, args: running.append(
            (name, layer, tuple(args[0].shape) if args and isinstance(args[0], Tensor) else ())
        )

    def end(*_: object) -> None:
        running.pop()

    hooks = [layer.register_forward_pre_hook(begin(name, layer)) for name, layer in module.named_modules()]
    hooks += [layer.register_forward_hook(end) for layer in module.modules()]
    try:
        with torch.no_grad():
            outputs = module.eval()(*inputs)
    except Exception as error:  # whatever one's own forward meets
        name, layer, shape = running[-1] if running else ("", module, ())
        is_small = name and "\n" not in repr(layer)
        where = (
            f"at layer {name} = {layer!r}, which was given {shape}"
            if is_small
            else f"in forward, which was given {shape}"
        )
        advice = f": {advice_for(layer, shape)}" if is_small else ""
        raise ValueError(f"{what} breaks {where}{advice} ({explain(error)})") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"{what} must return one tensor, and returns {kind_of(outputs)} ({place_of(type(module))})"
        )
    if outputs.shape[:1] != (2,):
        raise ValueError(
            f"{what} must return one tensor, batch first; for 2 images it gave {tuple(outputs.shape)}: "
            "flatten with x.flatten(1), not x.view(-1, n)"
        )
    return outputs


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
    return (
        f"insert nn.Flatten(): write nn.Sequential(nn.Flatten(), {layer}) in its place"
        if len(shape) > 1
        else f"write {layer} in its place"
    )


def name_of(make: Callable[..., Any], word: str) -> str:
    """Of a function, for a line to type; a lambda has none."""
    name = str(getattr(make, "__name__", word))
    return name if name.isidentifier() else word


def kind_of(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def explain(error: BaseException) -> str:
    """The kind of error, its message on one line, and the line of one's own code that it comes from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    own = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename and not frame.filename.startswith("<")
    ]
    place = f", {relative(own[-1].filename)}:{own[-1].lineno}" if own else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}{place}"


def place_of(thing: Callable[..., Any]) -> str:
    """file:line where it is defined."""
    try:
        return f"{relative(inspect.getsourcefile(thing) or '')}:{inspect.getsourcelines(thing)[1]}"
    except (TypeError, OSError):  # built in, or typed at a prompt
        return f"{getattr(thing, '__module__', 'unknown')}"


def relative(file: str) -> str:
    path = Path(file).resolve()
    return str(path.relative_to(SRC.parent)) if path.is_relative_to(SRC.parent) else file
