"""Between folds nothing that learned may stay alive."""

import copy
import gc
import platform
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from small_fold import Net, make_trunk, train_fold
from torch import nn

from src.run import memory
from src.run.memory import MemoryHeld, Watch, watch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _baseline():
    # as the stage does before its folds; each test would scan all of pytest's objects otherwise
    memory.baseline("cpu")


def finish(
    seen: Watch, accelerator: Accelerator | None = None, *, device: str = "cpu", baseline: int = 0
) -> dict[str, float]:
    """What the train stage does between folds, strictly."""
    numbers = memory.free(seen, accelerator, device=device)
    memory.judge(seen, device=device, baseline=baseline)
    return numbers


def test_a_finished_fold_is_given_back_and_measured():
    seen, _ = train_fold()
    numbers = finish(seen)
    assert (
        set(numbers) == {"peak_mib", "rss_mib"}
        and numbers["peak_mib"] == 0
        and 50 < numbers["rss_mib"] < 20_000
    )


def test_what_learned_is_watched_and_the_shared_trunk_is_not():
    trunk = make_trunk()
    seen, _ = train_fold(trunk=trunk)
    norm = {
        f"tail.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert set(seen.tensors) == {"tail.0.weight", "tail.0.bias", "head.weight", "head.bias"} | norm
    finish(seen)
    assert trunk[0].weight is not None  # alive, and that is no complaint
    assert "trunk.1.running_mean" in train_fold()[0].tensors  # not shared: its statistics must go too


def test_the_watch_itself_keeps_nothing_alive():
    model = nn.Linear(2, 2)
    seen, there = watch(model), weakref.ref(model.weight)
    assert seen.alive() == ["weight", "bias"]
    del model
    gc.collect()
    assert there() is None and seen.alive() == []


def test_new_tensors_at_a_freed_address_are_no_leak():
    """The allocator gives the same address again: comparing data_ptr would complain about innocent tensors."""
    for _ in range(20):
        seen, _ = train_fold()
        kept = [torch.zeros(8, 8) for _ in range(50)]
        finish(seen)
    assert kept


def test_what_the_accelerator_prepared_is_freed():
    accelerator = Accelerator(cpu=True)
    seen, _ = train_fold(accelerator=accelerator)
    finish(seen, accelerator)
    assert not accelerator._optimizers and not seen.alive()


def test_a_reference_cycle_is_no_leak():
    def keep(fold):
        fold["model"].optimizer = fold["optimizer"]
        fold["optimizer"].model = fold["model"]

    seen, _ = train_fold(keep)
    finish(seen)
    assert not seen.alive()


def test_plain_numbers_and_copies_may_be_kept():
    def keep(fold):
        fine = [fold["loss"].item(), fold["loss"].detach(), *[output.detach() for output in fold["outputs"]]]
        return fine, copy.deepcopy(fold["model"].state_dict())

    seen, kept = train_fold(keep)
    finish(seen)
    assert kept


def test_a_cycle_through_something_older_than_the_folds_is_no_leak():
    class Older:
        pass

    cycle = [Older()]
    cycle[0].me = cycle[0]
    memory.baseline("cpu")
    seen, _ = train_fold(lambda fold: setattr(cycle[0], "model", fold["model"]))
    cycle.clear()
    finish(seen)
    assert not seen.alive()


@pytest.mark.parametrize("name", ["loss", "outputs", "optimizer", "model"])
def test_a_fold_that_is_kept_is_named_with_what_to_keep_and_what_to_type(name):
    seen, kept = train_fold(lambda fold: fold[name])
    with pytest.raises(MemoryHeld, match=r"still in memory \(.*\): keep loss.item\(\).*`make holders` names"):
        finish(seen)
    assert kept is not None


def test_a_kept_state_dict_is_seen_though_it_holds_no_parameter():
    seen, kept = train_fold(lambda fold: fold["model"].state_dict())
    with pytest.raises(MemoryHeld, match="still in memory"):
        finish(seen)
    assert kept


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_allocation_is_back_at_the_baseline():
    before = memory.baseline("cuda")

    def fold(keep) -> tuple[Watch, object]:
        model = Net(make_trunk()).cuda()
        seen = watch(model)
        big = torch.rand(4096, 1024, device="cuda")  # 16 MiB
        model(torch.rand(5, 4, device="cuda")).sum().backward()
        return seen, big if keep else None

    numbers = finish(fold(False)[0], device="cuda", baseline=before)
    assert numbers["peak_mib"] >= 16
    seen, kept = fold(True)
    with pytest.raises(MemoryHeld, match="left 16.0 MiB on cuda"):
        finish(seen, device="cuda", baseline=before)
    assert kept is not None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have other ways")
def test_freed_memory_is_used_again_without_asking_the_system():
    code = """
import resource, sys, torch
from src.run import memory
if sys.argv[1] == "keep":
    memory.keep_freed()
def step():
    for size in (3, 40, 60):
        torch.ones(size * 2**18)
step(), step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", code, how], capture_output=True, text=True, check=True, cwd=ROOT
            ).stdout
        )
        for how in ("keep", "not")
    }
    assert faults["keep"] < 100 < 1000 < faults["not"]
