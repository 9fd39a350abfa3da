"""Batches: every position once, the same draws with any number of workers, the fixed views in turn."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_array
from hypothesis import given
from hypothesis import strategies as st

from src.data import workers
from src.data.augment import AUGMENTS, PerImage
from src.data.batches import SAMPLERS, Batches, Rows, at_once, in_parts, in_steps, in_training_parts
from src.data.draws import Draws
from src.data.extra_columns import ExtraColumns
from src.data.workers import Decoded

CPU = torch.device("cpu")


def rows(n):
    return Rows(np.eye(n, dtype=np.float32), np.ones(n, np.float32), np.zeros((n, 0), np.float32))


@pytest.fixture
def decoded(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (11, 16, 16, 3), dtype=np.uint8)
    return make_array(
        tmp_path / "a.npy", values.shape, "uint8", lambda out: out.__setitem__(slice(None), values)
    )


@given(n=st.integers(1, 40), size=st.integers(1, 12), plain=st.booleans())
def test_every_position_is_in_exactly_one_part(n, size, plain):
    parts = (in_parts if plain else in_training_parts)(np.arange(n), size)
    assert np.concatenate(parts).tolist() == list(range(n))
    assert plain or len(parts) == 1 or len(parts[-1]) > 1 or size == 1 and len(parts[-1]) >= 1


def collect(batches, n, epoch):
    found = list(batches.train_epoch(in_steps(np.arange(n), 4, 4), epoch))
    assert [b.ends_epoch for b in found] == [False] * (len(found) - 1) + [True]
    return torch.cat([b.image for b in found]), torch.cat([b.index for b in found])


def test_a_cpu_predicts_few_pictures_at_once_and_vectors_as_asked(tmp_path):
    def sizes(shape: tuple[int, ...]) -> list[int]:
        array = make_array(tmp_path / f"{len(shape)}.npy", shape, "float32", lambda out: out.fill(1))
        return [
            len(batch.index) for batch in Batches([array], rows(40), device=CPU).evaluation(np.arange(40), 32)
        ]

    assert sizes((40, 2, 2, 3)) == [16, 16, 8] and sizes((40, 6)) == [32, 8]
    assert at_once(torch.device("cuda"), 64) == 64 and at_once(CPU, 8) == 8


def test_a_closed_array_is_read_again(decoded):
    before = decoded.values[3].copy()
    decoded.close()
    assert (decoded.values[3] == before).all()


def test_zero_and_two_workers_give_the_same_images(decoded):
    transforms = {"": AUGMENTS["strong"](16, "h")}
    results = [
        [
            collect(
                Batches([decoded], rows(11), device=CPU, seed=3, transforms=transforms, workers=w), 11, epoch
            )[0]
            for epoch in (0, 1)
        ]
        for w in (0, 2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*results))
    assert not torch.equal(*results[0]), "fresh draws each epoch"


def test_no_two_images_or_folds_draw_alike(tmp_path):
    same = make_array(
        tmp_path / "s.npy",
        (8, 16, 16, 3),
        "uint8",
        lambda out: out.__setitem__(slice(None), np.arange(16, dtype=np.uint8)[None, :, None, None] * 15),
    )
    transforms = {"": AUGMENTS["medium"](16, "h")}
    images, _ = collect(Batches([same], rows(8), device=CPU, fold=0, transforms=transforms), 8, 0)
    others, _ = collect(Batches([same], rows(8), device=CPU, fold=1, transforms=transforms), 8, 0)
    assert len({one.numpy().tobytes() for one in [*images, *others]}) == 16


def test_fixed_views_come_in_turn_and_validation_sees_the_plain_one(decoded, tmp_path):
    views = [
        make_array(
            tmp_path / f"v{v}.npy", (11, 2), "float32", lambda out, v=v: out.__setitem__(slice(None), v)
        )
        for v in range(3)
    ]
    batches = Batches(views, rows(11), device=CPU)
    seen = np.stack([collect(batches, 11, epoch)[0][:, 0].numpy() for epoch in range(3)])
    assert (np.sort(seen, axis=0) == np.arange(3)[:, None]).all(), (
        "each image sees each view once in three epochs"
    )
    assert len(set(seen[0])) > 1, "one epoch mixes the views"
    assert all((batch.image == 0).all() for batch in batches.evaluation(np.arange(11), 4))


def test_fixed_views_without_a_cache_are_the_same_pictures_each_time(decoded):
    light = AUGMENTS["light"](16, "h")
    batches = Batches([decoded], rows(11), device=CPU, seed=1, transforms={"plain": None, "light-h-1": light})
    epochs = [collect(batches, 11, epoch)[0] for epoch in range(4)]
    assert (
        torch.equal(epochs[0], epochs[2])
        and torch.equal(epochs[1], epochs[3])
        and not torch.equal(epochs[0], epochs[1])
    )


def test_maps_are_read_back_in_channels_last(tmp_path):
    stored = np.random.default_rng(0).random((5, 4, 4, 8), dtype=np.float32)
    array = make_array(
        tmp_path / "f.npy", stored.shape, "float32", lambda out: out.__setitem__(slice(None), stored)
    )
    image, _ = collect(Batches([array], rows(5), device=CPU), 4, 0)
    assert image.shape == (4, 8, 4, 4) and np.allclose(image.numpy(), stored[:4].transpose(0, 3, 1, 2))


def drawn(transform, image: torch.Tensor, *seeds: int) -> torch.Tensor:
    """The image with the draws of each seed."""
    return transform(image.expand(len(seeds), -1, -1, -1), Draws(np.array(seeds, np.uint64)))


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_an_augmentation_keeps_size_and_type_and_is_the_same_for_the_same_seed(name):
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    transform = AUGMENTS[name](24, "hv")
    state = torch.get_rng_state()
    one, two = drawn(transform, image, 5)[0], drawn(transform, image, 4, 5, 6)[1]
    assert torch.equal(one, two) and one.shape == image.shape and one.dtype == torch.uint8
    assert torch.equal(state, torch.get_rng_state()), "no other draw is disturbed"
    if name != "none":
        assert len({each.numpy().tobytes() for each in drawn(transform, image, *range(8))}) > 1


def test_digits_are_never_mirrored():
    left = torch.zeros(3, 24, 24, dtype=torch.uint8)
    left[:, :, :12] = 255
    for name in ("light", "medium"):
        for out in drawn(AUGMENTS[name](24, ""), left, *range(30)).float():
            assert out[:, :, :12].mean() > out[:, :, 12:].mean() or name == "medium" and out.std() < 80


def test_samplers_return_as_many_positions_as_images():
    table = pd.DataFrame({"label": ["a"] * 90 + ["b"] * 10})
    rng = np.random.default_rng(0)
    assert sorted(SAMPLERS["shuffle"](table, 0, rng)) == list(range(100))
    drawn = SAMPLERS["balanced"](table, 0, rng)
    assert len(drawn) == 100 and 30 < (drawn >= 90).sum() < 70


def test_extra_columns_are_fitted_on_the_training_part_only():
    table = pd.DataFrame({"age": ["10", "20", "", "1000"], "sex": ["m", "f", "m", "x"]})
    training = np.array([True, True, True, False])
    fitted = ExtraColumns.fit(table, ["age", "sex"], training)
    encoded = fitted.encode(table)
    assert encoded.shape == (4, fitted.size) == (4, 4)
    assert encoded[:3, 0].tolist() == [-1.0, 1.0, 0.0], "mean 15, deviation 5, a gap is the mean"
    assert fitted.encode(pd.DataFrame({"age": ["15"], "sex": ["new"]}))[0].tolist() == [0, 0, 0, 0]


# -- the shared memory through which workers hand over their batches


def augmented(decoded, number):
    return Batches(
        [decoded], rows(11), device=CPU, transforms={"": PerImage(lambda image: image)}, workers=number
    )


def test_without_shared_memory_the_way_out_is_told_before_anything_starts(decoded, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path / "shm")
    with pytest.raises(
        ValueError,
        match='2 workers share memory by .*shm, which is not there or not writable: MACHINE="workers=0"',
    ):
        collect(augmented(decoded, 2), 11, 0)
    assert len(collect(augmented(decoded, 0), 11, 0)[0]) == 11


def test_too_little_shared_memory_for_the_batches_is_told_before_anything_starts(decoded, monkeypatch):
    need = 2 * 2 * 4 * 16 * 16 * 3  # two batches of four pictures by each of two workers
    for free in (need - 1, need):
        monkeypatch.setattr(
            workers.shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(free, 0, free)
        )
        if free < need:
            with pytest.raises(
                ValueError,
                match='shm has 0 MB free, 2 workers need 0 MB there: MACHINE="workers=0" does without',
            ):
                collect(augmented(decoded, 2), 11, 0)
        else:
            assert len(collect(augmented(decoded, 2), 11, 0)[0]) == 11


@pytest.mark.parametrize(
    "problem",
    [
        "Caught RuntimeError in DataLoader worker process 0.\n ... unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory.",
    ],
)
def test_shared_memory_that_ends_on_the_way_is_told_too(decoded, monkeypatch, problem):
    def fails(*args):
        raise RuntimeError(problem)

    monkeypatch.setattr(Decoded, "__getitem__", fails)
    with pytest.raises(ValueError, match='/dev/shm is full, 0 workers .*MACHINE="workers=0" does without'):
        collect(augmented(decoded, 0), 11, 0)
    problem = "another"
    with pytest.raises(RuntimeError, match="another"):
        collect(augmented(decoded, 0), 11, 0)


@pytest.mark.parametrize("device, is_async", [("cuda", True), ("mps", False), ("cpu", False)])
def test_only_pinned_memory_is_copied_without_waiting_and_only_to_cuda(
    decoded, monkeypatch, device, is_async
):
    """On MPS such a copy reads memory that may have been freed."""
    copies = []

    def copy(tensor, to, non_blocking=False):
        copies.append((to.type, non_blocking, getattr(tensor, "is_in_pinned", False)))
        return tensor

    def pin(tensor):
        tensor.is_in_pinned = True
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", copy)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch = next(
        Batches([decoded], rows(11), device=torch.device(device)).evaluation(np.arange(4), batch_size=4)
    )
    assert len(batch.image) == 4 and copies == [(device, is_async, is_async)] * 5
