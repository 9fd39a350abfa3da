"""Batches on their way to the device: what stays there, what is read ahead, what is waited for."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import fast, make_array

from src.data import transfer
from src.data.augment import AUGMENTS, PerImage
from src.data.batches import Batches, Rows, in_steps
from src.data.transfer import Waiting, as_tensor, prefetched, resident
from src.run.files import read_json

CPU = torch.device("cpu")


def rows(number: int) -> Rows:
    return Rows(
        np.eye(number, dtype=np.float32), np.ones(number, np.float32), np.zeros((number, 0), np.float32)
    )


def arrays(folder, number: int, shape: tuple[int, ...], dtype: str):
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 255, (11, *shape)).astype(dtype) for _ in range(number)]
    return [
        make_array(folder / f"{n}.npy", v.shape, dtype, lambda out, v=v: out.__setitem__(slice(None), v))
        for n, v in enumerate(values)
    ]


def test_arrays_stay_in_the_devices_memory_where_they_have_room(tmp_path, monkeypatch, capsys):
    one = arrays(tmp_path, 1, (8, 8, 3), "uint8")
    size = one[0].values.nbytes
    assert resident(one, CPU) == [], "the processor's memory is as near"
    monkeypatch.setattr(transfer, "room_for_arrays", lambda device: size)
    assert resident(one, CPU) == []
    monkeypatch.setattr(transfer, "room_for_arrays", lambda device: size + 1)
    monkeypatch.setattr(transfer, "PIECE", 4)
    (on_device,) = resident(one, CPU)
    assert (
        on_device.numpy() == one[0].values
    ).all() and "stay in the memory of cpu" in capsys.readouterr().out
    monkeypatch.undo()
    card = SimpleNamespace(total_memory=1000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert transfer.room_for_arrays(torch.device("cuda")) == 400


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
@pytest.mark.parametrize("number", [1, 3])
def test_batches_are_the_same_from_the_devices_memory(tmp_path, monkeypatch, dtype, number):
    if dtype == "uint8" and number > 1:
        pytest.skip("images have one array")
    those = arrays(tmp_path, number, (8, 8, 3), dtype)
    monkeypatch.setattr(transfer, "room_for_arrays", lambda device: 1e9)
    transforms = {"": AUGMENTS["medium"](8, "h")} if dtype == "uint8" else None
    steps = in_steps(np.random.default_rng(1).permutation(11), 4, 4)

    def read(on_device) -> list[torch.Tensor]:
        batches = Batches(those, rows(11), device=CPU, transforms=transforms, on_device=on_device)
        read = [*batches.train_epoch(steps, 1), *batches.evaluation(np.arange(11), 4)]
        return [part for batch in read for part in (batch.image, batch.target, batch.index)]

    mapped, there = read([]), read(resident(those, CPU))
    assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(mapped, there))
    assert mapped[0].dtype == (torch.uint8 if dtype == "uint8" else torch.float32)


def test_what_is_read_ahead_comes_in_order_and_one_error_reaches_the_reader():
    assert list(prefetched(iter(range(50)))) == list(range(50))

    def fails():
        yield 1
        raise ValueError("no third")

    reader = prefetched(fails())
    assert next(reader) == 1
    with pytest.raises(ValueError, match="no third"):
        next(reader)
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_a_reader_that_leaves_ends_the_thread():
    made = []

    def endless():
        while True:
            made.append(len(made))
            yield made[-1]

    reader = prefetched(endless(), ahead=2)
    assert [next(reader), next(reader)] == [0, 1]
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    assert len(made) <= 6, "no more than it may be ahead"


def test_a_gpu_is_read_ahead_for_but_not_while_this_process_draws_from_torchs_generator(tmp_path):
    those = arrays(tmp_path, 1, (8, 8, 3), "uint8")

    def is_ahead(device: str, transform) -> bool:
        batches = Batches(those, rows(11), device=torch.device(device), transforms={"": transform}, workers=0)
        items = [1]
        return batches.read_ahead(items) is not items

    single = PerImage(lambda image: image)
    assert is_ahead("cuda", AUGMENTS["strong"](8, "h")) and not is_ahead("cuda", single)
    assert not is_ahead("cpu", AUGMENTS["strong"](8, "h")) and not is_ahead("mps", AUGMENTS["light"](8, "h"))


def test_waiting_counts_images_and_the_share_of_time_without_a_batch(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(transfer.time, "perf_counter", lambda: now[0])

    def batches():
        for _ in range(4):
            now[0] += 1.0
            yield SimpleNamespace(index=range(30))

    waiting = Waiting()
    for _ in waiting.over(batches()):
        now[0] += 3.0
    assert waiting.figures() == {"images_per_second": 120 / 16, "share_waiting": 0.25}
    assert waiting.line() == "8 images a second while training, 25% of the time waiting for data"


def test_a_fold_says_how_fast_it_was_fed(bench, capsys):
    paths = bench.configure(fast("augment=light trainable=all epochs=1"))
    bench.stage("split", paths)
    bench.stage("train", paths)
    lines = [line for line in capsys.readouterr().out.splitlines() if "waiting for data" in line]
    assert len(lines) == 3 and lines[0].startswith("fold 0: ")
    done = read_json(paths.fold(0).done)
    assert done["images_per_second"] > 0 and 0 < done["share_waiting"] < 1


def test_what_the_trunk_gives_in_half_precision_is_kept_so_and_nothing_is_lost(bench, monkeypatch):
    """bfloat16 as the bits of int16, which numpy has."""
    files = {}
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # one process has one precision otherwise
    for precision, lr in (("no", 0.01), ("bf16", 0.02)):  # another recipe, or its folds would be taken over
        paths = bench.configure(
            fast(f"trainable=1 augment=none views=1 lr={lr}"),
            precision,
            machine=f"wandb=off workers=0 device=cpu engine=torch precision={precision}",
            cache=f"runs/{precision}",
        )
        bench.stage("split", paths)
        AcceleratorState._shared_state.clear()
        bench.stage("train", paths)
        (files[precision],) = (bench.folder / f"runs/{precision}/tiny").glob("trunk-*.npy")
    whole, half = np.load(files["no"]), np.load(files["bf16"])
    assert whole.dtype == np.float32 and half.dtype == np.int16 and half.nbytes == whole.nbytes / 2
    values = as_tensor(half).float()
    assert torch.allclose(values, torch.from_numpy(whole), rtol=0.1, atol=0.1 * float(np.abs(whole).max()))
