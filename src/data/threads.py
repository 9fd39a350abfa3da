"""A batch on the CPU, augmented in parts at once. Torch divides each operation among its threads, which gains
little where an operation is short, and nothing where its kernel has one thread alone (resizing bytes).
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps

import torch
from torch import Tensor

from src.data.draws import Draws, Transform

PART = 32  # images at most: what is computed of them fits the 64 MB that glibc gives a thread's heap at once


def divided(transform: Transform) -> Transform:
    """The same with as many parts of a batch at once as torch has threads here. Each image has the same bits,
    as in any batch; on a GPU, where images do not wait for one another, the batch stays whole.
    """

    @wraps(transform)
    def in_parts(images: Tensor, draws: Draws) -> Tensor:
        threads = torch.get_num_threads()
        number = min(max(threads, -(-len(images) // PART)), len(images))
        if number < 2 or images.device.type != "cpu":
            return transform(images, draws)
        ends = [len(images) * part // number for part in range(number + 1)]
        parts = [slice(start, end) for start, end in zip(ends, ends[1:])]
        return torch.cat(list(pool(threads).map(lambda rows: transform(images[rows], draws[rows]), parts)))

    return in_parts


@cache
def pool(number: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process; in each, an operation of torch has one thread."""
    threads = ThreadPoolExecutor(number, thread_name_prefix="augment")
    here, all_begun = torch.get_num_threads(), threading.Barrier(number)

    def begin(_: int) -> None:
        torch.get_num_threads()  # a thread's first operation takes over what holds for the process
        torch.set_num_threads(1)  # of this thread, and of those that begin after it
        all_begun.wait()

    list(threads.map(begin, range(number)))
    torch.set_num_threads(here)
    return threads
