"""The device, its precision and how it is set up: what is asked for, or an error; never a quiet CPU."""

import copy
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from src.config import Machine
from src.run import device
from src.run.device import choose_precision, has_kernels, make_accelerator, prepared

TODAY = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.mark.parametrize(
    "capability, built_for, runs",
    [
        ((6, 0), TODAY, False),  # Kaggle's P100
        ((7, 5), TODAY, True),  # T4
        ((8, 9), TODAY, True),  # L4: code for 8.6 runs there
        ((8, 0), ["sm_86"], False),  # no lower minor version
        ((13, 0), TODAY, True),  # PTX is translated for newer cards
        ((13, 0), TODAY[:-1], False),
        ((9, 0), ["sm_90a"], True),
        ((9, 4), ["gfx90a", "gfx942"], True),  # AMD: nothing is known
        ((7, 5), [], True),
    ],
)
def test_a_card_runs_what_was_built_for_it_or_is_ptx_of_no_newer_one(capability, built_for, runs):
    assert has_kernels(capability, built_for) == runs


@pytest.fixture
def cuda(monkeypatch):
    """A T4, as far as torch's questions go, and what the accelerator was asked for."""
    asked = {}

    def accelerator(cpu, mixed_precision):
        asked.update(cpu=cpu, precision=mixed_precision)
        return SimpleNamespace(device=torch.device("cpu" if cpu else "cuda"), mixed_precision=mixed_precision)

    answers = {
        "is_available": True,
        "get_device_capability": (7, 5),
        "get_arch_list": TODAY,
        "get_device_name": "Tesla",
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    monkeypatch.setattr(device, "Accelerator", accelerator)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda word: asked.update(products=word))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on: asked.update(deterministic=on))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    return asked


def test_a_gpu_computes_in_half_precision_with_the_fastest_of_cudnn(cuda, monkeypatch):
    make_accelerator(Machine())
    assert cuda == {"cpu": False, "precision": "fp16", "products": "high"} and torch.backends.cudnn.benchmark
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    make_accelerator(Machine())
    assert cuda["precision"] == "bf16"


def test_deterministic_sets_what_torch_offers(cuda, monkeypatch):
    make_accelerator(Machine(deterministic=True))
    assert cuda["deterministic"] is True and not torch.backends.cudnn.benchmark
    assert device.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_card_without_kernels_is_named_with_the_way_out(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 0))
    with pytest.raises(ValueError, match=r"Tesla \(sm_60\) can't be used: .*sm_75.*T4 x2.*device=cpu"):
        make_accelerator(Machine())
    assert not cuda  # nothing was made, not on the CPU either
    make_accelerator(Machine(device="cpu"))
    assert cuda["cpu"] is True


def test_another_device_than_the_one_chosen_is_an_error(cuda, monkeypatch):
    elsewhere = SimpleNamespace(device=torch.device("cpu"))
    monkeypatch.setattr(device, "Accelerator", lambda **how: elsewhere)
    with pytest.raises(ValueError, match="should be cuda, but accelerate chose cpu: unset .*ACCELERATE_"):
        make_accelerator(Machine())


def test_fp16_on_a_cpu_is_an_error_since_accelerate_would_leave_it_out():
    with pytest.raises(ValueError, match="precision=fp16.* needs a GPU"):
        choose_precision("fp16", "cpu")
    assert choose_precision("bf16", "cpu") == "bf16" and choose_precision("auto", "mps") == "no"


@pytest.fixture
def half(monkeypatch) -> Accelerator:
    """An accelerator that scales gradients as under fp16, on the CPU."""
    accelerator = Accelerator(cpu=True)
    accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu"), True
    monkeypatch.setattr(type(accelerator), "mixed_precision", "fp16")
    monkeypatch.setattr(device, "get_grad_scaler", lambda kind: torch.amp.GradScaler("cpu"))
    return accelerator


def one_step(accelerator: Accelerator, *, until: str = "") -> torch.Tensor:
    """The weight after a step of an optimizer that accelerate prepared; it may run out of memory before."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = prepared(accelerator, torch.optim.SGD(model.parameters(), lr=0.1))
    accelerator.backward(model(torch.ones(2, 3)).sum())
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    if until == "unscaled":
        raise torch.OutOfMemoryError("CUDA out of memory.")
    optimizer.step()
    return model.weight.detach()


def test_a_failed_attempts_optimizer_and_scaler_are_let_go(half):
    """Else accelerate unscales the gradients of both, and the scaler says that it has done so already."""
    alone = one_step(half)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            one_step(half, until="unscaled")
    assert torch.equal(one_step(half), alone) and len(half._optimizers) == 1


def test_each_fold_begins_with_the_first_scale(half):
    one_step(half)
    half.scaler.load_state_dict(half.scaler.state_dict() | {"scale": 2.0})
    assert half.scaler.get_scale() == 2
    one_step(half)
    assert half.scaler.get_scale() == 2.0**16


def test_without_a_scaler_the_optimizer_stays_as_it_is():
    optimizer = torch.optim.SGD(copy.deepcopy(nn.Linear(2, 2)).parameters(), lr=0.1)
    assert prepared(Accelerator(cpu=True), optimizer) is optimizer
