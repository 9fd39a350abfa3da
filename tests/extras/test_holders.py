"""Planted leaks of a fold: each is found, and the variable that holds it named."""

import sys

import pytest
import torch
from accelerate import Accelerator
from conftest import fast
from small_fold import Net, make_trunk, train_fold

from src import train_fold as stage
from src.__main__ import run_commands
from src.extras import holders
from src.run import memory
from src.run.errors import CheckFailed
from src.run.memory import MemoryHeld, Watch, watch


@pytest.fixture(autouse=True)
def _baseline():
    # as the stage does before its folds; each test would scan all of pytest's objects otherwise
    memory.baseline("cpu")


def complaint(seen: Watch) -> str:
    memory.free(seen, device="cpu")
    with pytest.raises(MemoryHeld) as caught:
        memory.judge(seen, device="cpu", baseline=0)
    return holders.explain(caught.value)


LOSSES = []


class History:
    """A class attribute, shared by all folds."""

    outputs: list = []


def test_a_kept_loss_tensor():
    seen, kept = train_fold(lambda fold: fold["loss"])
    message = complaint(seen)
    assert "a loss tensor (grad_fn reaches " in message and "keep loss.item() instead" in message
    assert "variable 'kept' (Tensor) of function test_a_kept_loss_tensor, test_holders.py:" in message
    assert kept.requires_grad


def test_a_list_of_losses_in_a_module():
    seen, _ = train_fold(lambda fold: LOSSES.append(fold["loss"]))
    message = complaint(seen)
    LOSSES.clear()
    assert (
        "a loss tensor (grad_fn reaches " in message and f"variable 'LOSSES' of module {__name__}" in message
    )


def test_a_kept_hook_output():
    seen, kept = train_fold(lambda fold: {"features": fold["outputs"]})
    message = complaint(seen)
    assert (
        "a result of shape (5, 8) (grad_fn reaches tail." in message
        and "keep its detach().cpu() instead" in message
    )
    assert "variable 'kept' (dict) of function test_a_kept_hook_output" in message
    assert kept


def test_a_class_attribute():
    seen, _ = train_fold(lambda fold: History.outputs.extend(fold["outputs"]))
    message = complaint(seen)
    History.outputs.clear()
    assert "attribute 'outputs' of class History" in message


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
    message = complaint(seen)
    assert (
        "the traceback of a kept exception: variable 'model' (Net) of function" in message
        and "fail_with, test_holders.py:" in message
    )
    assert "the exception is in variable 'kept' (list) of function test_a_kept_traceback" in message


def test_a_kept_state_dict():
    seen, kept = train_fold(lambda fold: fold["model"].state_dict())
    message = complaint(seen)
    assert "a state_dict or tensor sharing storage with" in message and "keep a clone() instead" in message
    assert "variable 'kept' (OrderedDict) of function test_a_kept_state_dict" in message
    assert kept


def test_a_model_whose_weights_were_moved_after_the_watch():
    def keep(fold):
        for parameter in fold["model"].parameters():
            parameter.data = parameter.data.double()  # what .to(device) does
        return fold["model"].head

    seen, kept = train_fold(keep)
    assert "held by head." in (message := complaint(seen)) and "variable 'kept' (Linear)" in message
    assert kept


def test_numpy_views_of_the_weights():
    seen, kept = train_fold(
        lambda fold: {name: value.numpy() for name, value in fold["model"].state_dict().items()}
    )
    message = complaint(seen)
    assert "sharing storage with" in message
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
def test_what_a_fold_left_on_a_gpu_is_named():
    before = memory.baseline("cuda")
    seen = watch(Net(make_trunk()).cuda())
    kept = torch.rand(4096, 1024, device="cuda")  # 16 MiB
    memory.free(seen, device="cuda")
    with pytest.raises(MemoryHeld) as caught:
        memory.judge(seen, device="cuda", baseline=before)
    message = holders.explain(caught.value)
    assert "left 16.0 MiB on cuda" in message and "shape (4096, 1024), in variable 'kept'" in message
    assert kept is not None


def test_the_next_fold_of_a_run_is_trained_and_its_holder_named(bench, monkeypatch):
    kept, real = [], stage.write_fold

    def write_fold(paths, model, *rest):
        kept.append(model)
        real(paths, model, *rest)

    paths = bench.configure(fast("folds=2 epochs=1"))
    bench.stage("split", paths)
    monkeypatch.setattr(stage, "write_fold", write_fold)
    with pytest.raises(
        CheckFailed, match=r"held by .* in variable 'kept' \(list\) of function test_the_next"
    ):
        run_commands(["holders", str(paths.root)])
    monkeypatch.setattr(stage, "write_fold", real)
    run_commands(["holders", str(paths.root)])
    with pytest.raises(ValueError, match="all folds of .* are finished: give another RUN"):
        run_commands(["holders", str(paths.root)])
