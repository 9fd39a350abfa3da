"""Between folds: give the finished fold's memory back, and prove that nothing which learned in it is alive;
else say who holds it.

Use: watch(model) in the fold, let every name of it go out of scope, then free(...) and judge(...). A shared
trunk stays alive on purpose.
"""

import ctypes
import gc
import resource
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

MIB = 2**20


def keep_freed() -> None:
    """Let this process keep the memory that it frees, for the next step wants it again. mallopt(3).

    glibc gives every large block back to the system otherwise, and each step waits for its page faults: a
    fully learning lite0 on two cores made 1.5 times the steps, its peak unchanged.
    """
    # not in other systems' libraries
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        for option, value in ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**28)):
            libc.mallopt(option, value)


class MemoryHeld(RuntimeError):
    """Something of a finished fold is still alive; the message names who holds it."""


class Watch(NamedTuple):
    """What learned, held weakly. Both are needed: a kept loss holds a parameter, a kept state_dict only its
    storage.
    """

    tensors: dict[str, weakref.ref]
    storages: dict[str, StorageWeakRef]  # not data_ptr: new tensors soon lie at a freed address

    def alive(self) -> list[str]:
        return [
            name
            for name, tensor in self.tensors.items()
            if tensor() is not None or not self.storages[name].expired()
        ]


def watch(model: nn.Module, shared: nn.Module | None = None) -> Watch:
    """Remember the parameters that learn and the buffers, but nothing that `shared` holds. Call it when the
    model is on its device.
    """
    skip = (
        {id(tensor) for tensor in [*shared.parameters(), *shared.buffers()]} if shared is not None else set()
    )
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad] + list(
        model.named_buffers()
    )
    found = {name: tensor for name, tensor in learned if id(tensor) not in skip}
    return Watch(
        {name: weakref.ref(tensor) for name, tensor in found.items()},
        {name: StorageWeakRef(tensor.untyped_storage()) for name, tensor in found.items()},
    )


def baseline(device: torch.device | str) -> int:
    """CUDA bytes in use before the folds; each fold must come back to it. Call it when all that the folds
    share is there.
    """
    gc.collect()
    # as runs.main did: what was loaded since, so that no collection after a fold looks through it
    gc.freeze()
    return empty_cuda(device)


def empty_cuda(device: torch.device | str) -> int:
    """Free what is cached, begin a new peak; returns the bytes that are really in use, 0 where there is no
    CUDA.
    """
    if torch.device(device).type != "cuda":
        return 0
    torch._C._cuda_clearCublasWorkspaces()  # matrix products leave their scratch space allocated
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def free(watch: Watch, accelerator=None, *, device: torch.device | str) -> dict[str, float]:
    """Free the fold; returns its peak on the GPU and the process's memory now, in MiB."""
    peak = torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else 0
    if accelerator is not None:
        accelerator.free_memory()  # it lists all that it prepared
    # before the cache is emptied: a reference cycle still holds its tensors (FIELD B21)
    gc.collect()
    if watch.alive():
        gc.unfreeze()  # perhaps a cycle through something older
        gc.collect()
    empty_cuda(device)
    return {"peak_mib": round(peak / MIB, 1), "rss_mib": round(process_bytes() / MIB, 1)}


def judge(watch: Watch, *, device: torch.device | str, baseline: int) -> None:
    """Raises MemoryHeld when the fold is still alive, or has left more on the GPU than there was before."""
    extra = empty_cuda(device) - baseline
    if names := watch.alive():
        held = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise MemoryHeld(
            f"the finished fold is still in memory ({held}), held by " + "; and by ".join(holders(watch))
        )
    if extra > MIB:  # a gradient scaler and the like may stay
        raise MemoryHeld(
            f"the finished fold left {extra / MIB:.1f} MiB on {device}; the largest tensors: "
            + "; ".join(largest(device))
        )


def process_bytes() -> int:
    """Memory of this process now; on macOS, which has no /proc, its highest so far."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# -- who holds it


def live_tensors() -> list[Tensor]:
    return [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), Tensor) and thing.layout == torch.strided
    ]


def holders(watch: Watch) -> list[str]:
    """In words: losses and other results first, then tensors that share a storage, then whatever has the
    parameters themselves.
    """
    names = {storage.cdata: name for name, storage in watch.storages.items() if not storage.expired()}
    names |= {id(tensor()): name for name, tensor in watch.tensors.items() if tensor() is not None}
    tensors, results, shares, parameters = live_tensors(), [], [], []
    for i, tensor in enumerate(tensors):
        if id(tensor) in names:
            parameters.append((i, names[id(tensor)], ""))
        elif name := names.get(tensor.untyped_storage()._cdata):
            shares.append(
                (i, f"a state_dict or tensor sharing storage with {name}", ": keep a clone() instead")
            )
        elif tensor.grad_fn is not None and len(results) < 2 and (name := reaches(tensor.grad_fn, names)):
            is_loss = tensor.numel() == 1
            what = "a loss tensor" if is_loss else f"a result of shape {tuple(tensor.shape)}"
            results.append(
                (
                    i,
                    f"{what} (grad_fn reaches {name})",
                    f": keep {'loss.item()' if is_loss else 'its detach().cpu()'} instead",
                )
            )
    # one sentence per place; a kind further down is asked only while no place is known
    told: dict[str, str] = {}
    for kind in (results, shares, parameters):
        for i, what, instead in [] if any(told) else kind[:2]:
            where = place(tensors[i], tensors)
            told.setdefault(where, f"{what} in {where or 'a place that has no name in Python'}{instead}")
    return list(told.values()) or ["something that Python does not see"]


def reaches(grad_fn, names: dict[int, str]) -> str:
    """The first learned parameter that a result was computed from: gc does not know, only the graph of
    grad_fn leads there.
    """
    todo, seen = [grad_fn], {grad_fn}
    while todo:
        node = todo.pop()
        leaf = getattr(node, "variable", None)  # of AccumulateGrad, where the graph ends
        if leaf is not None and (name := names.get(id(leaf)) or names.get(leaf.untyped_storage()._cdata)):
            return name
        new = {before for before, _ in node.next_functions if before is not None} - seen
        seen |= new
        todo += new
    return ""


def place(thing: object, *hidden: object) -> str:
    """The variable through which a thing is reached, going up from holder to holder; "" when there is none.
    `hidden`: our own lists.
    """
    modules = {
        id(vars(module)): name
        for name, module in reversed(list(sys.modules.items()))
        if isinstance(module, ModuleType)
    }
    # gc does not see the variables of a running function
    running = [(frame, frame.f_locals) for frame in running_frames()]
    levels, kept_error = [[thing]], ""
    seen = {id(own) for own in [thing, levels[0], *hidden, *(variables for _, variables in running)]}
    while levels[-1] and len(levels) < 16:
        ids = {id(holder) for holder in levels[-1]}
        above: list = []
        for frame, variables in running:
            if name := key_of(variables, ids):
                return kept_error + variable(name, variables, frame)
        for holder in gc.get_referrers(*levels[-1]):
            if id(holder) in seen or holder is levels:
                continue
            if id(holder) in modules:
                return f"{kept_error}variable {key_of(holder, ids)!r} of module {modules[id(holder)]}"
            if isinstance(holder, type):
                return f"{kept_error}attribute {key_of(vars(holder), seen)!r} of class {holder.__qualname__}"
            if isinstance(holder, FrameType) and not kept_error:
                name = key_of(holder.f_locals, ids)
                kept_error = (
                    f"the traceback of a kept exception: {variable(name, holder.f_locals, holder)}; the"
                    " exception is in "
                )
            seen.add(id(holder))
            above.append(holder)
        seen.add(id(above))
        levels.append(above)  # kept, so that no id is given out again
    return kept_error.removesuffix("; the exception is in ")


def key_of(variables: Mapping, ids: set[int]) -> str:
    return next((name for name, value in variables.items() if id(value) in ids), "")


def variable(name: str, variables: Mapping, frame: FrameType) -> str:
    where = f"{frame.f_code.co_qualname}, {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    return f"variable {name!r} ({type(variables.get(name)).__name__}) of function {where}"


def running_frames() -> list[FrameType]:
    """The functions that run now, in all threads; not this file's."""
    frames: list[FrameType] = []
    frame: FrameType | None
    for frame in sys._current_frames().values():
        while frame is not None:
            frames += (
                [frame] if frame.f_globals is not globals() and frame.f_code.co_name != "<module>" else []
            )
            frame = frame.f_back
    return frames


def largest(device: torch.device | str) -> list[str]:
    """The three largest tensors on a GPU, and where they are."""
    gc.unfreeze()
    size = {
        tensor: tensor.untyped_storage().nbytes()
        for tensor in live_tensors()
        if tensor.device.type == torch.device(device).type
    }
    tensors = sorted(size, key=lambda tensor: -size[tensor])[:3]
    return [
        f"{size[t] / MIB:.1f} MiB, shape {tuple(t.shape)}, in"
        f" {place(t, tensors, size) or 'a place that has no name'}"
        for t in tensors
    ]
