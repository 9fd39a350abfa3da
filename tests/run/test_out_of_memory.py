"""Where memory runs out, the batch is halved: in training, validation, the trunk and prediction."""

import gc
import weakref

import numpy as np
import pytest
import torch
from conftest import fast, open_run
from torch import nn

from src.model.classifier import Classifier
from src.run import predictions
from src.run.files import read_json
from src.run.memory import BatchSize, is_out_of_memory

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


def test_the_batch_is_halved_until_it_fits_and_stays_so(capsys):
    batch, asked = BatchSize(64, "the trunk"), []

    def compute(images: int) -> int:
        asked.append(images)
        if images > 16:
            raise torch.OutOfMemoryError(FULL)
        return images

    assert batch.fit(compute) == batch.fit(compute) == 16 and asked == [64, 32, 16, 16]
    assert "out of memory: the trunk goes on with a batch of 32" in capsys.readouterr().err


def test_one_image_that_does_not_fit_is_an_error_and_so_is_any_other():
    def too_large(images: int) -> None:
        raise torch.OutOfMemoryError(FULL)

    def wrong(images: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(torch.OutOfMemoryError):
        BatchSize(4, "training").fit(too_large)
    with pytest.raises(RuntimeError, match="mat1"):
        BatchSize(4, "training").fit(wrong)


@pytest.mark.parametrize(
    "message",
    [
        FULL,
        "MPS backend out of memory (MPS allocated: 9.05 GB)",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried",
    ],
)
def test_each_device_says_it_in_its_own_words(message):
    assert is_out_of_memory(RuntimeError(message)) and not is_out_of_memory(RuntimeError("out of range"))


def test_what_filled_the_memory_is_gone_before_the_next_attempt():
    kept: list[weakref.ref] = []

    def compute(images: int) -> bool:
        assert all(reference() is None for reference in kept)
        model = nn.Linear(2, 2)
        kept.append(weakref.ref(model))
        if images > 1:
            raise torch.OutOfMemoryError(FULL)
        return True

    gc.disable()  # the traceback must go by itself, and cycles by the collection between two attempts
    try:
        assert BatchSize(4, "training").fit(compute) and len(kept) == 3
    finally:
        gc.enable()


def limit(monkeypatch, method: str, most: int) -> None:
    """Let a method of the classifier fail as on a GPU that holds no more than `most` images."""
    real = getattr(Classifier, method)

    def tight(self, image, *others):
        if len(image) > most:
            raise torch.OutOfMemoryError(FULL)
        return real(self, image, *others)

    monkeypatch.setattr(Classifier, method, tight)


@pytest.mark.parametrize("settings", ["epochs=1", "views=0 augment=light epochs=1"])
def test_a_run_that_fits_nowhere_ends_like_one_that_does(bench, monkeypatch, capsys, settings):
    settings = fast(f"{settings} trainable=head folds=2 tta=hflip flips=h")
    plenty = bench.run(settings, "plenty")
    expected = predictions.read(plenty.oof), predictions.read(plenty.test)
    plenty.root.rename(bench.folder / "elsewhere")
    limit(monkeypatch, "features", 4)
    limit(monkeypatch, "logits", 3)
    paths = bench.run(settings, "tight", cache="other-cache")
    said = capsys.readouterr().err
    assert "fold 0 goes on with a batch of 2, accumulated to 8" in said
    assert "the validation of fold 0 goes on with a batch of 2" in said
    assert "prediction goes on with a batch of 2" in said
    assert "the trunk goes on with a batch of 4" in said  # of the test images, where views=0
    assert read_json(paths.fold(1).done)["batch_size"] == 2
    for frame, other in zip(expected, (predictions.read(paths.oof), predictions.read(paths.test))):
        assert np.allclose(frame, other.loc[frame.index], atol=1e-4)
    assert open_run(paths).config.batch_size == 8
