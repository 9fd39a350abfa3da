"""Between folds nothing that learned may stay alive, and what does is named (FIELD B21)."""

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
from torch import nn

from src.run import memory
from src.run.memory import MemoryHeld, Watch, watch


def give_back(
    watch: Watch, accelerator=None, *, device: torch.device | str, baseline: int
) -> dict[str, float]:
    """What the train stage does between folds, strictly."""
    numbers = memory.free(watch, accelerator, device=device)
    memory.judge(watch, device=device, baseline=baseline)
    return numbers


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _baseline():
    # as the stage does before its folds; each test would scan all of pytest's objects otherwise
    memory.baseline("cpu")


class Net(nn.Module):
    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.tail = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.tail(self.trunk(x)))


def make_trunk() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).eval().requires_grad_(False)


def forget(fold: dict):
    """Nothing is kept."""


def train_fold(
    keep=forget, trunk: nn.Module | None = None, accelerator: Accelerator | None = None
) -> tuple[Watch, object]:
    """One fold as the stage trains it; `keep` takes what it wants from the fold's variables: that is the
    leak.
    """
    torch.manual_seed(0)
    model = Net(trunk or make_trunk())
    seen = watch(model, shared=trunk)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    if accelerator is not None:
        model, optimizer = accelerator.prepare(model, optimizer)
    outputs = []
    hook = model.tail.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    for _ in range(2):
        loss = model(torch.rand(5, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    hook.remove()
    return seen, keep({"model": model, "optimizer": optimizer, "loss": loss, "outputs": outputs})


def finish(seen: Watch, accelerator: Accelerator | None = None) -> dict:
    return give_back(seen, accelerator, device="cpu", baseline=0)


def complaint(seen: Watch) -> str:
    with pytest.raises(MemoryHeld) as caught:
        finish(seen)
    message = str(caught.value)
    print(message)
    return message


# -- nothing held


def test_a_finished_fold_is_given_back_and_measured():
    seen, _ = train_fold()
    told = finish(seen)
    assert set(told) == {"peak_mib", "rss_mib"} and told["peak_mib"] == 0 and 50 < told["rss_mib"] < 20_000


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


# -- planted leaks: found, and the holder named

LOSSES = []


class History:
    """A class attribute, shared by all folds (FIELD B1)."""

    outputs: list = []


def test_a_kept_loss_tensor():
    seen, kept = train_fold(lambda fold: fold["loss"])
    told = complaint(seen)
    assert "a loss tensor (grad_fn reaches " in told and "keep loss.item() instead" in told
    assert "variable 'kept' (Tensor) of function test_a_kept_loss_tensor, test_memory.py:" in told
    assert kept.requires_grad


def test_a_list_of_losses_in_a_module():
    seen, _ = train_fold(lambda fold: LOSSES.append(fold["loss"]))
    told = complaint(seen)
    LOSSES.clear()
    assert "a loss tensor (grad_fn reaches " in told and f"variable 'LOSSES' of module {__name__}" in told


def test_a_kept_hook_output():
    seen, kept = train_fold(lambda fold: {"features": fold["outputs"]})
    told = complaint(seen)
    assert (
        "a result of shape (5, 8) (grad_fn reaches tail." in told
        and "keep its detach().cpu() instead" in told
    )
    assert "variable 'kept' (dict) of function test_a_kept_hook_output" in told
    assert kept


def test_a_class_attribute():
    seen, _ = train_fold(lambda fold: History.outputs.extend(fold["outputs"]))
    told = complaint(seen)
    History.outputs.clear()
    assert "attribute 'outputs' of class History" in told


def test_a_kept_traceback():
    def fail(fold):
        model = fold["model"]
        raise ArithmeticError(f"diverged: {len(list(model.parameters()))}")

    kept = []
    try:
        train_fold(fail)
    except ArithmeticError as error:
        kept.append(error)
    model = Net(make_trunk())
    seen = watch(model)

    def fail_with(model):
        raise ArithmeticError

    try:
        fail_with(model)
    except ArithmeticError as error:
        kept[0] = error
    del model
    told = complaint(seen)
    assert (
        "the traceback of a kept exception: variable 'model' (Net) of function" in told
        and "fail_with, test_memory.py:" in told
    )
    assert "the exception is in variable 'kept' (list) of function test_a_kept_traceback" in told


def test_a_kept_state_dict():
    seen, kept = train_fold(lambda fold: fold["model"].state_dict())
    told = complaint(seen)
    assert "a state_dict or tensor sharing storage with" in told and "keep a clone() instead" in told
    assert "variable 'kept' (OrderedDict) of function test_a_kept_state_dict" in told
    assert kept


def test_a_model_whose_weights_were_moved_after_the_watch():
    def keep(fold):
        for parameter in fold["model"].parameters():
            parameter.data = parameter.data.double()  # what .to(device) does
        return fold["model"].head

    seen, kept = train_fold(keep)
    assert "held by head." in (told := complaint(seen)) and "variable 'kept' (Linear)" in told
    assert kept


def test_numpy_views_of_the_weights():
    seen, kept = train_fold(
        lambda fold: {name: value.numpy() for name, value in fold["model"].state_dict().items()}
    )
    told = complaint(seen)
    assert "sharing storage with" in told
    assert kept


def test_a_holder_that_is_older_than_the_folds():
    cache: dict = {}
    memory.baseline("cpu")
    seen, _ = train_fold(lambda fold: cache.update(best=fold["model"]))
    assert "variable 'cache' (dict) of function test_a_holder_that_is_older_than_the_folds" in complaint(seen)


def test_an_optimizer():
    seen, kept = train_fold(lambda fold: fold["optimizer"])
    assert "variable 'kept' (AdamW) of function test_an_optimizer" in complaint(seen)
    assert kept


def test_a_model_in_an_object_in_a_closure_in_a_generator():
    class Callback:
        pass

    def keep(fold):
        callback = Callback()
        callback.model = fold["model"]

        def steps():
            yield callback.model

        running = steps()
        next(running)
        return running

    seen, kept = train_fold(keep)
    assert "variable 'kept' (generator) of function test_a_model_in_an_object" in complaint(seen)
    assert kept


def test_an_accelerator_that_was_not_freed():
    accelerator = Accelerator(cpu=True)
    seen, _ = train_fold(accelerator=accelerator)
    assert (
        "variable 'accelerator' (Accelerator) of function test_an_accelerator_that_was_not_freed"
        in complaint(seen)
    )


def test_the_interactive_last_exception(monkeypatch):
    """A notebook keeps the last traceback, and with it the fold that failed."""

    def fail(model):
        raise ArithmeticError

    model = Net(make_trunk())
    seen = watch(model)
    try:
        fail(model)
    except ArithmeticError as error:
        monkeypatch.setattr(sys, "last_value", error, raising=False)
    del model
    assert "variable 'last_value' of module sys" in complaint(seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_allocation_is_back_at_the_baseline():
    before = memory.baseline("cuda")

    def fold(keep) -> tuple[Watch, object]:
        model = Net(make_trunk()).cuda()
        seen = watch(model)
        big = torch.rand(4096, 1024, device="cuda")  # 16 MiB
        model(torch.rand(5, 4, device="cuda")).sum().backward()
        return seen, big if keep else None

    told = give_back(fold(False)[0], device="cuda", baseline=before)
    assert told["peak_mib"] >= 16
    seen, kept = fold(True)
    with pytest.raises(MemoryHeld, match=r"left 16.0 MiB on cuda.*shape \(4096, 1024\), in variable 'kept'"):
        give_back(seen, device="cuda", baseline=before)
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
