"""Who keeps a finished fold in memory? Trains the run's next fold and names the variable.

Run: make holders SET="limit=200 epochs=1", or python -m src holders runs/<name>
"""

import gc
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from src import train
from src.data.run import Run
from src.run.errors import CheckFailed
from src.run.memory import MIB, MemoryHeld, Watch

NOWHERE = "a place that has no name in Python"
DEEPEST = 16  # levels of holders: more are seen in no real leak


class Holder(NamedTuple):
    """A live tensor that keeps something of the fold alive."""

    tensor: Tensor
    description: str
    instead: str = ""  # what to keep in its place


def explain(held: MemoryHeld) -> str:
    """The problem, and in which variables the tensors are."""
    if held.watch.alive():
        return f"{held.problem}, held by {'; and by '.join(holders(held.watch))}"
    return f"{held.problem}; the largest tensors: {'; '.join(largest(held.device))}"


def holders(watch: Watch) -> list[str]:
    """One sentence per place. Losses and other results come first, then tensors that share a storage, then
    whatever has the parameters themselves; a kind is looked for only while no place is known.
    """
    tensors = live_tensors()
    places: dict[str, str] = {}
    for kind in kinds(watch, tensors):
        if any(places):
            break
        for holder in kind[:2]:
            where = place(holder.tensor, tensors, kind, holder)
            sentence = f"{holder.description} in {where or NOWHERE}"
            places.setdefault(
                where, f"{sentence}: keep {holder.instead} instead" if holder.instead else sentence
            )
    return list(places.values()) or ["something that Python does not see"]


def kinds(watch: Watch, tensors: list[Tensor]) -> tuple[list[Holder], list[Holder], list[Holder]]:
    """The results computed from what learned, the tensors that share its storage, and the parameters."""
    names = {storage.cdata: name for name, storage in watch.storages.items() if not storage.expired()}
    names |= {id(tensor()): name for name, tensor in watch.tensors.items() if tensor() is not None}
    results, shares, parameters = [], [], []
    for tensor in tensors:
        if id(tensor) in names:
            parameters.append(Holder(tensor, names[id(tensor)]))
        elif name := names.get(tensor.untyped_storage()._cdata):
            shares.append(Holder(tensor, f"a state_dict or tensor sharing storage with {name}", "a clone()"))
        elif tensor.grad_fn is not None and len(results) < 2 and (name := origin(tensor.grad_fn, names)):
            is_loss = tensor.numel() == 1
            result = "a loss tensor" if is_loss else f"a result of shape {tuple(tensor.shape)}"
            instead = "loss.item()" if is_loss else "its detach().cpu()"
            results.append(Holder(tensor, f"{result} (grad_fn reaches {name})", instead))
    return results, shares, parameters


def live_tensors() -> list[Tensor]:
    return [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), Tensor) and thing.layout == torch.strided
    ]


def origin(grad_fn: torch.autograd.graph.Node, names: dict[int, str]) -> str:
    """The first learned parameter that a result was computed from: gc does not know, only the graph of
    grad_fn leads there.
    """
    waiting, seen = [grad_fn], {grad_fn}
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", None)  # of AccumulateGrad, where the graph ends
        if leaf is not None and (name := names.get(id(leaf)) or names.get(leaf.untyped_storage()._cdata)):
            return name
        new = {before for before, _ in node.next_functions if before is not None} - seen
        seen |= new
        waiting += new
    return ""


def place(thing: object, *hidden: object) -> str:
    """The variable through which a thing is reached, going up from holder to holder; "" when there is none.
    `hidden`: lists of this module that hold it too.
    """
    modules = {
        id(vars(module)): name
        for name, module in reversed(list(sys.modules.items()))
        if isinstance(module, ModuleType)
    }
    running = [(frame, frame.f_locals) for frame in running_frames()]  # gc does not see their variables
    levels, error = [[thing]], ""
    seen = {id(own) for own in [thing, levels[0], *hidden, *(variables for _, variables in running)]}
    while levels[-1] and len(levels) < DEEPEST:
        ids = {id(holder) for holder in levels[-1]}
        above: list = []
        for frame, variables in running:
            if name := key_of(variables, ids):
                return error + variable(name, variables, frame)
        for holder in gc.get_referrers(*levels[-1]):
            if id(holder) in seen or holder is levels:
                continue
            if id(holder) in modules:
                return f"{error}variable {key_of(holder, ids)!r} of module {modules[id(holder)]}"
            if isinstance(holder, type):
                return f"{error}attribute {key_of(vars(holder), seen)!r} of class {holder.__qualname__}"
            if isinstance(holder, FrameType) and not error:
                inside = variable(key_of(holder.f_locals, ids), holder.f_locals, holder)
                error = f"the traceback of a kept exception: {inside}; the exception is in "
            seen.add(id(holder))
            above.append(holder)
        seen.add(id(above))
        levels.append(above)  # kept, so that no id is given out again
    return error.removesuffix("; the exception is in ")


def key_of(variables: Mapping, ids: set[int]) -> str:
    """The name of the first variable whose value is one of these."""
    return next((name for name, value in variables.items() if id(value) in ids), "")


def variable(name: str, variables: Mapping, frame: FrameType) -> str:
    where = f"{frame.f_code.co_qualname}, {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    return f"variable {name!r} ({type(variables.get(name)).__name__}) of function {where}"


def running_frames() -> list[FrameType]:
    """The functions that run now, in all threads; not this file's."""
    frames = []
    for frame in sys._current_frames().values():
        current: FrameType | None = frame
        while current is not None:
            if current.f_globals is not globals() and current.f_code.co_name != "<module>":
                frames.append(current)
            current = current.f_back
    return frames


def largest(device: torch.device | str) -> list[str]:
    """The three largest tensors on a GPU, and where they are."""
    gc.unfreeze()
    kind = torch.device(device).type
    size = {t: t.untyped_storage().nbytes() for t in live_tensors() if t.device.type == kind}
    tensors = sorted(size, key=lambda tensor: -size[tensor])[:3]
    return [
        f"{size[t] / MIB:.1f} MiB, shape {tuple(t.shape)}, in {place(t, tensors, size) or NOWHERE}"
        for t in tensors
    ]


def command(run: Run, options: Namespace) -> None:
    settings = replace(run.settings, machine=replace(run.machine, memory="strict"))
    before = len(run.paths.finished())
    try:
        train.train(replace(run, settings=settings))
    except MemoryHeld as held:
        raise CheckFailed(explain(held)) from held
    if before == len(run.paths.finished()):
        raise ValueError(f"all folds of {run.paths.root} are finished: give another RUN, such as RUN=holders")
    print("each fold gave its memory back")
