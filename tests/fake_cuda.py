"""A GPU as far as the kit can tell: a T4 whose tensors lie on the CPU. What asks for a device, copies to it
or measures it is replaced; everything else is real, so a whole run goes through the branches for CUDA and fp16.
"""

from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator

from src.run import device

CPU = torch.device("cpu")
ANSWERS = {
    "is_available": True,
    "get_device_capability": (7, 5),
    "get_arch_list": ["sm_75"],
    "get_device_name": "Tesla T4",
    "get_device_properties": SimpleNamespace(total_memory=16 * 2**30),
    "device_count": 1,
    "memory_allocated": 0,
    "max_memory_allocated": 3 * 2**20,
    "reset_peak_memory_stats": None,
    "empty_cache": None,
    "synchronize": None,
}


class HalfAccelerator(Accelerator):
    """Half precision with scaled gradients, as accelerate has it on a T4."""

    def __init__(self, cpu: bool, mixed_precision: str) -> None:
        assert (cpu, mixed_precision) == (False, "fp16")
        super().__init__(cpu=True)
        self.scaler, self.native_amp = device.get_grad_scaler(self.distributed_type), True

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", 0)

    @property
    def mixed_precision(self) -> str:
        return "fp16"

    def autocast(self, autocast_handler: Any = None) -> AbstractContextManager:
        return torch.autocast("cpu", dtype=torch.float16)


class FakeCuda:
    """copies: (is the tensor pinned, does the copy wait) of each tensor that went to the device."""

    def __init__(self, monkeypatch, first_scale: float = 2.0**16) -> None:
        self.copies: list[tuple[bool, bool]] = []
        for name, answer in ANSWERS.items():
            monkeypatch.setattr(torch.cuda, name, lambda *of, answer=answer: answer)
        monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
        monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda word: None)
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
        monkeypatch.setattr(
            device, "get_grad_scaler", lambda kind: torch.amp.GradScaler("cpu", init_scale=first_scale)
        )
        monkeypatch.setattr(device, "Accelerator", HalfAccelerator)
        monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
        real = torch.Tensor.to

        def to(tensor: torch.Tensor, *place: Any, **how: Any) -> torch.Tensor:
            if any(is_cuda(one) for one in [*place, how.get("device")]):
                self.copies.append((getattr(tensor, "is_in_pinned", False), not how.get("non_blocking")))
            place = tuple(CPU if is_cuda(one) else one for one in place)
            return real(tensor, *place, **{key: CPU if is_cuda(one) else one for key, one in how.items()})

        monkeypatch.setattr(torch.Tensor, "to", to)
        empty = torch.empty
        monkeypatch.setattr(
            torch,
            "empty",
            lambda *shape, device=None, **how: empty(
                *shape, device=CPU if is_cuda(device) else device, **how
            ),
        )


def pin(tensor: torch.Tensor) -> torch.Tensor:
    tensor.is_in_pinned = True
    return tensor


def is_cuda(place: Any) -> bool:
    return isinstance(place, torch.device | str) and str(place).startswith("cuda")
