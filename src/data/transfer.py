"""Batches on their way to the device: what stays in its memory, what is read ahead, and how long it is waited
for.
"""

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from src.data.arrays import Array
from src.data.on_the_fly import Files
from src.run import ranks

SHARE = 0.4  # of a GPU's memory that images or the trunk's outputs may take
PIECE = 1024  # images that are copied there at once
# What is read ahead from a disk. A block of lines may have gaps of so many lines, and is asked for where it
# has so many bytes that are needed. On a virtual SSD, 150 kB an image, a shuffled order was read at 160 MB/s,
# windows at 270, and at 390 to 500 MB/s where the next window was asked for.
AHEAD = 2**30  # bytes; a smaller array is left to the system
GAP, USEFUL = 8, 2**16
Item = TypeVar("Item")


def room_for_arrays(device: torch.device) -> float:
    """Bytes of the device's memory that arrays may take; 0 where the processor's memory is as near."""
    if device.type != "cuda":
        return 0.0
    return SHARE * torch.cuda.get_device_properties(device).total_memory


def resident(arrays: Sequence[Array | Files], device: torch.device) -> list[Tensor]:
    """The arrays in the device's memory, where all of them have room there; else []."""
    size = sum(array.values.nbytes for array in arrays)
    if size >= room_for_arrays(device):
        return []
    print(f"images: {size / 1e9:.2f} GB stay in the memory of {device}", flush=True)
    tensors = []
    for array in arrays:
        dtype = as_tensor(array.read(np.arange(1))).dtype
        on_device = torch.empty(array.values.shape, dtype=dtype, device=device)
        for part in np.array_split(np.arange(len(array)), -(-len(array) // PIECE)):
            on_device[part[0] : part[-1] + 1] = as_tensor(array.read(part)).to(device)
        array.close()
        tensors.append(on_device)
    return tensors


def as_tensor(values: np.ndarray) -> Tensor:
    """Of an array as it is stored: numpy has no bfloat16, so its bits are kept as int16."""
    tensor = torch.from_numpy(values)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without waiting only from pinned memory to CUDA: elsewhere the copy may read memory that has changed by
    then.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def prefetched(items: Iterable[Item], ahead: int = 2) -> Iterator[Item]:
    """The items, made by a thread while the reader works on those before. Nothing that draws from torch's
    generator may run in it.
    """
    ready: queue.Queue = queue.Queue(maxsize=ahead)
    is_left = threading.Event()

    def put(kind: str, value: object) -> bool:
        while not is_left.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # raised again where the items are read
            put("error", error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        is_left.set()
        thread.join()


def asked_for(parts: Sequence[np.ndarray], arrays: Sequence[Array | Files]) -> Iterator[np.ndarray]:
    """The parts, batches of positions in the order in which they are read. While one window of them is read,
    the system is asked for the blocks of the next, a few per batch. arrays: what is read; of several each has
    only some of them, and none is asked for.
    """
    array = arrays[0]
    if not isinstance(array, Array) or len(arrays) > 1 or array.values.nbytes < AHEAD:
        yield from parts
        return
    size = array.values.nbytes // len(array)
    window_of = np.cumsum([len(part) for part in parts]) * size // AHEAD
    places = np.split(np.arange(len(parts)), np.flatnonzero(np.diff(window_of)) + 1)
    windows = [[parts[place] for place in window] for window in places]
    array.ask_for(blocks_of(windows[0], size))
    for window, following in zip(windows, [*windows[1:], []]):
        blocks = blocks_of(following, size)
        for number, part in enumerate(window):
            array.ask_for(blocks[number :: len(window)])
            yield part


def blocks_of(parts: Sequence[np.ndarray], size: int) -> list[tuple[int, int]]:
    """The blocks of lines (first, behind the last) that hold these positions; [] where they are so scattered
    that asking would take longer than it saves. size: bytes of a line.
    """
    if not parts:
        return []
    positions = np.sort(np.concatenate(parts))
    breaks = np.flatnonzero(np.diff(positions) > GAP) + 1
    if len(positions) * size < USEFUL * (len(breaks) + 1):
        return []
    blocks = np.split(positions, breaks)
    return [(int(block[0]), int(block[-1]) + 1) for block in blocks]


class Waiting:
    """How fast a training is fed: images, seconds in all, and those in which it waited for its next batch."""

    def __init__(self) -> None:
        self.images, self.seconds, self.waited = 0, 0.0, 0.0

    def over(self, batches: Iterable) -> Iterator:
        """The batches, timed."""
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            arrived = time.perf_counter()
            self.waited += arrived - began
            if batch is not None:
                yield batch
                self.images += num_trained(batch)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return

    def figures(self) -> dict[str, float]:
        """For done.json."""
        seconds = max(self.seconds, 1e-9)
        return {"images_per_second": self.images / seconds, "share_waiting": self.waited / seconds}

    def line(self) -> str:
        figures = self.figures()
        return (
            f"{figures['images_per_second']:,.0f} images a second while training,"
            f" {figures['share_waiting']:.0%} of the time waiting for data"
        )


def num_trained(batch: Any) -> int:
    """Images that all processes have trained on since the batch before: they meet at the end of a step."""
    if ranks.count() == 1:
        return len(batch.index)
    return batch.step_size if batch.ends_step else 0
