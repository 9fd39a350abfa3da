"""A whole run through the branches for CUDA and fp16, on a GPU that is none (tests/fake_cuda.py)."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fast, open_run
from fake_cuda import FakeCuda

from src.data import transfer, workers
from src.extras.doctor import command as doctor
from src.model.classifier import Classifier
from src.run import predictions
from src.run.files import read_json

MACHINE = "wandb=off workers=0 memory=strict"  # device=auto


@pytest.mark.parametrize("settings", ["trainable=1 views=2 tta=hflip flips=h", "trainable=all views=0"])
def test_a_run_in_half_precision_goes_from_split_to_csv(bench, monkeypatch, settings):
    settings = fast(f"augment=light folds=2 {settings}")
    paths = bench.run(settings, "plain")
    plain = predictions.read(paths.oof)
    paths.root.rename(bench.folder / "elsewhere")  # or its folds would be taken over
    cuda = FakeCuda(monkeypatch)
    paths = bench.run(settings, "half", machine=MACHINE, cache="other-cache")
    done = read_json(paths.fold(1).done)
    assert done["precision"] == "fp16" and done["memory"]["peak_mib"] == 3.0
    assert torch.backends.cudnn.benchmark
    half = predictions.read(paths.oof)
    assert not half.equals(plain) and np.allclose(half, plain.loc[half.index], atol=0.05)
    answer = pd.read_csv(f"submissions/{paths.name}.csv")
    assert len(answer) == 9 and set(answer["colour"]) <= {"blue", "green", "red"}
    batches = [copy for copy in cuda.copies if copy[0]]
    assert len(batches) > 50 and set(batches) == {(True, False)}, "batches are pinned, and nobody waits"


@pytest.mark.parametrize(("share", "processes"), [(0.4, 0), (0.0, 0), (0.0, 1)])
def test_images_that_are_decoded_as_they_are_read_are_augmented_by_the_gpu(
    bench, monkeypatch, share, processes
):
    settings, outputs = fast("trainable=all views=0 augment=light folds=2 epochs=1"), []
    FakeCuda(monkeypatch)
    monkeypatch.setattr(transfer, "SHARE", share)  # 0: no room for the pictures
    loader = workers.DataLoader
    unpinned = {"pin_memory": False}  # or the loader's own thread would ask the driver
    monkeypatch.setattr(workers, "DataLoader", lambda data, **how: loader(data, **how | unpinned))
    for machine in (MACHINE, f"wandb=off decoded_gb=0 workers={processes}"):
        paths = bench.run(settings, machine=machine)
        outputs.append([paths.fold(k).model.read_bytes() for k in (0, 1)] + [paths.oof.read_bytes()])
        shutil.rmtree("runs")
    assert outputs[0] == outputs[1]


def test_where_memory_runs_out_the_next_attempt_begins_with_a_scaler_of_its_own(bench, monkeypatch, capsys):
    FakeCuda(monkeypatch)
    real = Classifier.logits

    def tight(self, features, *others):
        if len(features) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return real(self, features, *others)

    monkeypatch.setattr(Classifier, "logits", tight)
    paths = bench.run(fast("folds=2 epochs=1"), machine=MACHINE)
    assert read_json(paths.fold(1).done)["batch_size"] == 4
    assert "fold 1 goes on with a batch of 4, accumulated to 8" in capsys.readouterr().err


def test_the_quick_checks_wait_until_the_scaler_has_found_its_scale(bench, monkeypatch):
    """The first steps overflow and change nothing: no layer stands still then, and no gradient is huge."""
    paths = bench.configure(fast("trainable=1"), machine=MACHINE)
    bench.stage("split", paths)
    FakeCuda(monkeypatch, first_scale=2.0**30)
    setups = []
    real = doctor.Setup.stepped.func

    def stepped(setup):
        setups.append(setup)
        return real(setup)

    monkeypatch.setattr(doctor.Setup, "stepped", property(stepped))
    findings = list(doctor.examine(open_run(paths), doctor.QUICK))
    assert not [finding for finding in findings if finding.level == "FAIL"]
    setup = setups[0]
    assert setup.accelerator.scaler.get_scale() < 2.0**30, "some steps did overflow"
    largest = stepped(setup).gradients.values()
    assert all(math.isfinite(value) and 0 < value < 100 for value in largest)


def overflowing(real):
    def logits(self, features, *others):
        return (real(self, features, *others).half() * 65504).float()

    return logits


def test_an_overflow_of_half_precision_is_no_matter_of_the_rate(bench, monkeypatch):
    monkeypatch.setattr(Classifier, "logits", overflowing(Classifier.logits))
    paths = bench.configure(fast("folds=2"), "whole")
    bench.stage("split", paths)
    with pytest.raises(ValueError, match=r"fold 0: the loss is not finite .*: lower lr \(now"):
        bench.stage("train", paths)
    FakeCuda(monkeypatch)
    paths = bench.configure(fast("folds=2"), "half", machine=MACHINE)
    bench.stage("split", paths)
    with pytest.raises(ValueError, match='not finite .*fp16 ends at 65504: MACHINE="precision=no"'):
        bench.stage("train", paths)


def test_gradients_that_overflow_at_any_scale_end_the_fold(bench, monkeypatch):
    """A scaler halves its scale for ever, and nothing is learned."""
    FakeCuda(monkeypatch)
    paths = bench.configure(fast("folds=2 epochs=9"), machine=MACHINE)
    bench.stage("split", paths)
    real = torch.amp.GradScaler.scale
    monkeypatch.setattr(torch.amp.GradScaler, "scale", lambda self, loss: real(self, loss) * float("inf"))
    with pytest.raises(ValueError, match='gradients overflow at any scale .*MACHINE="precision=no"'):
        bench.stage("train", paths)


def test_folds_of_differing_precision_are_told(bench, monkeypatch, capsys):
    paths = bench.run(fast("folds=2 epochs=1"))
    done = read_json(paths.fold(1).done)
    assert done["precision"] == "no"
    paths.fold(1).done.write_text(json.dumps(done | {"precision": "fp16"}))
    paths.score.unlink()
    bench.stage("train", paths)
    assert "folds 0 and 1 were trained with differing precision: no and fp16" in capsys.readouterr().err
