"""Arrays larger than memory: read in windows of blocks, each image once, and asked for ahead."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fast, make_array
from hypothesis import given
from hypothesis import strategies as st

from src.data import arrays, batches, transfer
from src.data.arrays import Array
from src.data.batches import BLOCK, SAMPLERS, WINDOW, Batches, Rows, in_parts, in_steps

CPU = torch.device("cpu")


def order_of(n: int, epoch: int = 0, seed: int = 0) -> np.ndarray:
    return SAMPLERS["windows"](pd.DataFrame({"label": np.zeros(n)}), epoch, np.random.default_rng(seed))


@given(n=st.integers(1, 3 * BLOCK * WINDOW), seed=st.integers(0, 9))
def test_windows_show_each_image_once_and_mix_whole_blocks(n, seed):
    order = order_of(n, seed=seed)
    assert np.array_equal(np.sort(order), np.arange(n))
    num_blocks = -(-n // BLOCK)
    is_first = np.unique(order // BLOCK, return_index=True)[1]  # the place where each block begins
    last = n - 1 - np.unique(order[::-1] // BLOCK, return_index=True)[1]
    assert (last - is_first < BLOCK * WINDOW).all() and len(is_first) == num_blocks


def test_windows_differ_by_epoch_and_are_shuffled_within():
    one, two = order_of(40 * BLOCK, seed=1), order_of(40 * BLOCK, seed=2)
    assert not np.array_equal(one, two)
    assert (np.abs(np.diff(one)) > BLOCK).mean() > 0.9, "neighbours in a window come from other blocks"


@given(
    positions=st.sets(st.integers(0, 3000), min_size=1, max_size=400),
    size=st.sampled_from([1, 10_000, 200_000]),
)
def test_blocks_hold_all_positions_and_little_else(positions, size):
    parts = in_parts(np.random.default_rng(0).permutation(sorted(positions)), 32)
    blocks = transfer.blocks_of(parts, size)
    if not blocks:
        assert size < transfer.USEFUL
        return
    lines = np.concatenate([np.arange(first, end) for first, end in blocks])
    assert len({*lines.tolist()}) == len(lines) and positions <= {*lines.tolist()}
    assert len(lines) <= len(positions) * transfer.GAP


def test_a_scattered_order_of_small_lines_is_not_asked_for():
    scattered = [np.arange(0, 100_000, 100)]
    assert transfer.blocks_of(scattered, 5_000) == [] and len(transfer.blocks_of(scattered, 200_000)) == 1000


@pytest.fixture
def large(tmp_path, monkeypatch):
    """An array of 700 lines of 40 bytes, with limits so small that it counts as a large one."""
    monkeypatch.setattr(transfer, "AHEAD", 4_000)
    monkeypatch.setattr(transfer, "USEFUL", 40)
    monkeypatch.setattr(arrays, "MAPPED", 3_000)
    monkeypatch.setattr(batches, "BLOCK", 16)
    monkeypatch.setattr(batches, "WINDOW", 4)
    values = np.arange(7000, dtype=np.float32).reshape(700, 10)
    return make_array(
        tmp_path / "a.npy", values.shape, "float32", lambda out: out.__setitem__(slice(None), values)
    )


def read(array: Array, order: np.ndarray, skip: int = 0) -> tuple[np.ndarray, np.ndarray]:
    n = len(array)
    rows = Rows(np.zeros((n, 1), np.float32), np.ones(n, np.float32), np.zeros((n, 0), np.float32))
    found = list(Batches([array], rows, device=CPU).train_epoch(in_steps(order, 8, 8), 0, skip))
    return torch.cat([b.image for b in found]).numpy(), torch.cat([b.index for b in found]).numpy()


def test_each_window_is_asked_for_before_it_is_read(large, monkeypatch):
    asked, order = np.zeros(len(large), int), order_of(len(large))
    ask_for = Array.ask_for

    def note(self, blocks):
        for first, end in blocks:
            asked[first:end] += 1
        ask_for(self, blocks)

    monkeypatch.setattr(Array, "ask_for", note)
    monkeypatch.setattr(Array, "read", lambda self, part: check(part, self.values[part]))

    def check(part, lines):
        assert (asked[part] > 0).all()
        return lines

    images, index = read(large, order)
    assert np.array_equal(images, large.values[index]) and (asked > 0).all()


def test_a_resumed_epoch_reads_the_same_rest(large):
    order = order_of(len(large))
    whole, rest = read(large, order), read(large, order, skip=31)
    assert all(np.array_equal(a[31 * 8 :], b) for a, b in zip(whole, rest))


def test_a_file_is_unmapped_after_so_many_bytes_and_while_it_is_made(large, tmp_path, monkeypatch):
    opened = []
    for start in range(0, 210, 30):
        large.read(np.arange(start, start + 30))
        opened.append(large._opened is not None)
    assert opened == [True, True, False, True, True, False, True]
    unmapped, unmap = [], arrays.unmap
    monkeypatch.setattr(arrays, "unmap", lambda values: unmapped.append(unmap(values)))

    def fill(values, begun):
        for start in range(0, 700, 50):
            values[start : start + 50] = start
            yield {"done": start + 50}

    made = arrays.make_in_steps(tmp_path / "b.npy", (700, 10), "float32", fill, None)
    assert len(unmapped) == 7 and np.array_equal(made.values[:, 0], np.arange(700) // 50 * 50)


def test_a_run_in_windows_goes_from_split_to_csv(bench):
    paths = bench.run(fast("sampler=windows epochs=1"))
    assert len(pd.read_parquet(paths.oof)) == 36
