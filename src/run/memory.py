"""Memory: batches that fit in it, and between folds the finished fold's is given back, with a check that
nothing which learned in it is alive.

Call watch(model) in the fold, let every name of the model go out of scope, then free(...) and judge(...). A
shared trunk stays alive on purpose.
"""

import ctypes
import gc
import resource
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from src.run import ranks
from src.run.errors import warn

T = TypeVar("T")
MIB = 2**20
ADVICE = (
    "keep loss.item(), output.detach().cpu() and value.clone() of a fold, but none of its own tensors;"
    " `make holders` names the variable that holds them"
)


class BatchSize:
    """How many images are computed at once: halved where memory runs out, and so for all that follows. Of
    several processes all halve together, wherever it was.

    work: whose batches they are, for the warning; accumulated: how a smaller batch is made up for.
    """

    def __init__(self, images: int, work: str, accumulated: str = "") -> None:
        self.images, self.work, self.accumulated = images, work, accumulated

    def fit(self, compute: Callable[[int], T]) -> T:
        """compute(images); where that runs out of memory again with half as many, a quarter ... Raises what
        compute raises, if only for one image.
        """
        while True:
            try:
                result = compute(self.images)
                ranks.agree()  # the others may still run out of it
                return result
            except RuntimeError as error:
                is_last = self.images == 1 and ranks.count() == 1
                if not is_out_of_memory(error) or is_last:
                    raise
                is_known = isinstance(error, ranks.OutOfMemory)
            # only here, for the error's traceback holds the tensors that filled the memory
            if not is_known:
                ranks.agree(out_of_memory=True)
            if self.images == 1:
                raise ranks.OutOfMemory(f"out of memory: {self.work} has no room for a single image")
            self.images //= 2
            clear_device_cache(garbage_collection=True)
            warn(f"out of memory: {self.work} goes on with a batch of {self.images}{self.accumulated}")


def is_out_of_memory(error: RuntimeError) -> bool:
    """On any device, cuBLAS included, which finds no room for its workspace."""
    return (
        isinstance(error, torch.OutOfMemoryError | ranks.OutOfMemory)
        or should_reduce_batch_size(error)
        or "CUBLAS_STATUS_ALLOC_FAILED" in str(error)
    )


class Watch(NamedTuple):
    """What learned, held weakly. Both are needed: a kept loss holds a parameter, a kept state_dict only its
    storage.
    """

    tensors: dict[str, weakref.ref]
    storages: dict[str, StorageWeakRef]  # not data_ptr: new tensors soon lie at a freed address

    def alive(self) -> list[str]:
        """The names of those whose tensor or storage still exists."""
        return [
            name
            for name, tensor in self.tensors.items()
            if tensor() is not None or not self.storages[name].expired()
        ]


class MemoryHeld(RuntimeError):
    """Something of a finished fold is still alive, on this device."""

    def __init__(self, problem: str, watch: Watch, device: torch.device | str) -> None:
        self.problem, self.watch, self.device = problem, watch, device
        super().__init__(f"{problem}: {ADVICE}")


def keep_freed() -> None:
    """Let this process keep the memory that it frees, because the next step needs it again. See mallopt(3).

    glibc gives every large block back to the system otherwise, and each step waits for its page faults: a
    fully learning lite0 on two cores made 1.5 times the steps, its peak unchanged.
    """
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):
        # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        for option, value in ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**28)):
            libc.mallopt(option, value)


def watch(model: nn.Module, shared: nn.Module | None = None) -> Watch:
    """Remember the parameters that learn and the buffers, but nothing that `shared` holds. Call it when the
    model is on its device.
    """
    skipped = {id(tensor) for tensor in [*shared.parameters(), *shared.buffers()]} if shared else set()
    learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    tensors = {name: t for name, t in [*learning, *model.named_buffers()] if id(t) not in skipped}
    return Watch(
        {name: weakref.ref(tensor) for name, tensor in tensors.items()},
        {name: StorageWeakRef(tensor.untyped_storage()) for name, tensor in tensors.items()},
    )


def baseline(device: torch.device | str) -> int:
    """CUDA bytes in use before the folds; each fold must come back to it. Call it when everything that the
    folds share is loaded.
    """
    gc.collect()
    gc.freeze()  # so that no collection after a fold looks through what was loaded before
    return empty_cuda(device)


def empty_cuda(device: torch.device | str) -> int:
    """Free what is cached and begin a new peak; returns the bytes that are really in use, 0 without CUDA."""
    if torch.device(device).type != "cuda":
        return 0
    torch._C._cuda_clearCublasWorkspaces()  # matrix products leave their scratch space allocated
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def free(
    watch: Watch, accelerator: Accelerator | None = None, *, device: torch.device | str
) -> dict[str, float]:
    """Free the fold; returns its peak on the GPU and the process's memory now, in MiB."""
    peak = torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else 0
    if accelerator is not None:
        accelerator.free_memory()  # it lists all that it prepared
    gc.collect()  # before the cache is emptied: a reference cycle still holds its tensors
    if watch.alive():
        gc.unfreeze()  # perhaps a cycle through something older
        gc.collect()
    empty_cuda(device)
    return {"peak_mib": round(peak / MIB, 1), "rss_mib": round(process_bytes() / MIB, 1)}


def judge(watch: Watch, *, device: torch.device | str, baseline: int) -> None:
    """Raises MemoryHeld when the fold is still alive, or has left more on the GPU than there was before."""
    extra = empty_cuda(device) - baseline
    if names := watch.alive():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        problem = f"the finished fold is still in memory ({', '.join(names[:3])}{more})"
        raise MemoryHeld(problem, watch, device)
    if extra > MIB:  # a gradient scaler and the like may stay
        raise MemoryHeld(f"the finished fold left {extra / MIB:.1f} MiB on {device}", watch, device)


def process_bytes() -> int:
    """Memory of this process now; on macOS, which has no /proc, its highest so far."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
