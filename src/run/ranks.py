"""The processes that train a fold together (GPUS with spread=fold): who this one is, and what they tell each
other. torchrun starts them; of a process by itself all of this is nothing.

Each exchange begins with agree(). A process whose memory has run out tells it in the same way, wherever it
is, and the others learn it at their next exchange: so none waits for one that has turned back.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

T = TypeVar("T")
# How long one may wait for the others, as for a main process that decodes. One that has ended is noticed at
# once.
PATIENCE = timedelta(days=1)
BUCKET = 2**24  # values that are summed at once
MAIN = 0  # the number of the process that writes files and prints


class Lost(Exception):
    """Another process has ended, so this one can't go on. The command that started both says why."""

    EXIT_CODE = 76


class OutOfMemory(RuntimeError):
    """Memory has run out in a process, and all of them know it."""


def count() -> int:
    """How many processes train this fold."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def num_here() -> int:
    """How many of them are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if count() > 1 else 1


def is_main() -> bool:
    """Whether this is the process that writes files and prints."""
    return rank() == MAIN


def is_orphan() -> bool:
    """Whether the command that started this process has ended, as by SIGKILL."""
    command = os.environ.get("PODIUM_COMMAND")
    return count() > 1 and command is not None and os.getppid() != int(command)


def begin(device: str) -> None:
    """Meet the others. What is told goes by gloo, and the gradients of GPUs by NCCL."""
    import torch
    from torch import distributed

    if count() == 1 or distributed.is_initialized():
        return
    if not is_main():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    with losing():
        distributed.init_process_group(backend, timeout=PATIENCE)


@contextmanager
def losing() -> Iterator[None]:
    """Raises Lost where the connection to another process breaks."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(str(error)) from error


# -- what they tell each other


def agree(flag: bool = False, *, out_of_memory: bool = False) -> bool:
    """Whether any process says so; all have come to this point. Raises OutOfMemory where memory has run out
    in another process, and Lost.
    """
    if count() == 1:
        return flag
    import torch

    said = torch.tensor([flag, out_of_memory], dtype=torch.uint8)
    reduce(said, "MAX")
    if said[1] and not out_of_memory:
        raise OutOfMemory("out of memory in another process")
    return bool(said[0])


def from_main(compute: Callable[[], T]) -> T:
    """What the main process computes, for all. Raises Lost."""
    if count() == 1:
        return compute()
    from torch import distributed

    values: list[Any] = [compute() if is_main() else None]
    agree()
    with losing():
        distributed.broadcast_object_list(values)
    return values[0]


def main_first(compute: Callable[[], T]) -> T:
    """Each process computes it, the others when the main one has: where it may repair what it reads."""
    if is_main():
        value = compute()
        agree()
    else:
        agree()
        value = compute()
    agree()
    return value


def gather(value: T) -> list[T]:
    """The values of all processes, by rank. Raises Lost."""
    if count() == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * count()
    agree()
    with losing():
        distributed.all_gather_object(values, value)
    return values


def first(text: str) -> str:
    """The first text that is not empty, "" where all are."""
    return next(filter(None, gather(text)), "") if agree(bool(text)) else ""


# -- what they add up


def reduce(tensor: "Tensor", how: str = "SUM") -> None:
    """Replace the tensor by the sum, or the like, of those of all processes. Raises Lost."""
    from torch import distributed

    with losing():
        distributed.all_reduce(tensor, getattr(distributed.ReduceOp, how))


def total(values: "ndarray") -> "ndarray":
    """The sum of the arrays of all processes."""
    import torch

    tensor = torch.from_numpy(values.copy())
    reduce(tensor)
    return tensor.numpy()


def add_up(tensors: Sequence["Tensor"]) -> None:
    """Replace each tensor by the sum of those of all processes, BUCKET values at a time."""
    import torch

    for bucket in buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        reduce(flat)
        for tensor, values in zip(bucket, flat.split([tensor.numel() for tensor in bucket])):
            tensor.copy_(values.view_as(tensor))


def buckets(tensors: Sequence["Tensor"]) -> Iterator[list["Tensor"]]:
    """Consecutive tensors of one type, of at most BUCKET values, or a larger one alone."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        is_full = sum(one.numel() for one in bucket) + tensor.numel() > BUCKET
        if bucket and (is_full or bucket[0].dtype != tensor.dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def copy_main(tensors: Sequence["Tensor"]) -> None:
    """Replace each tensor by that of the main process."""
    if count() == 1:
        return
    from torch import distributed

    agree()
    for tensor in tensors:
        values = tensor.contiguous()  # weights in channels_last order are not
        with losing():
            distributed.broadcast(values, src=0)
        tensor.copy_(values)


# -- who does what


def share(number: int) -> range:
    """Which of so many things are this process's: parts in order, as equal as can be."""
    start, end = (-(-number * place // count()) for place in (rank(), rank() + 1))
    return range(start, end)


@functools.cache
def num_beside_main() -> int:
    """How many processes are on the main one's machine."""
    return from_main(num_here)


def pieces(begin: int, end: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(start, end of this process's next piece, how far all are after it): the lines of an array from
    `begin` on, a piece of `size` each at a time. It is empty on other machines than the main one's, for two
    that write into one file may spoil each other's pages, and where nothing is left.
    """
    num_writers = num_beside_main()
    place = rank() if rank() < num_writers else num_writers
    for start in range(begin, end, size * num_writers):
        done = min(start + size * num_writers, end)
        own = min(start + size * place, done)
        yield own, min(own + size, done), done
