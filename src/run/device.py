"""Which device and precision a run computes with."""

import torch
from accelerate import Accelerator

from src.config import Machine
from src.run import memory


def make_accelerator(machine: Machine) -> Accelerator:
    """The device that was asked for, or the best there is; with precision=auto bf16 from compute capability
    8.0 on, fp16 below, full precision on MPS and CPU. Raises ValueError where the device is missing.
    """
    memory.keep_freed()
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = machine.device
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if has[name])
    if not has[device]:
        raise ValueError(
            f'MACHINE="device={device}": torch {torch.__version__} finds no such device here: '
            "device=auto takes what there is, device=cpu the processor"
        )
    precision = machine.precision
    if precision == "auto" and device == "cuda":
        precision = "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    elif precision == "auto":
        precision = "no"
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)
