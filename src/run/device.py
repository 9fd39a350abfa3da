"""Which device and precision a run computes with, and how it is set up."""

import os
import re
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import get_grad_scaler
from torch.optim import Optimizer

from src.config import Machine
from src.run import memory


def make_accelerator(machine: Machine) -> Accelerator:
    """The device that was asked for, or the best there is; with precision=auto bf16 from compute capability
    8.0 on, fp16 below, full precision on MPS and CPU. Raises ValueError where the device is missing, or can't
    compute what is asked: nothing moves to the CPU by itself.
    """
    memory.keep_freed()
    device = choose_device(machine.device)
    if device == "cuda":
        check_card()
        # the fastest of cuDNN's algorithms, tried per shape; TF32 in float32 products where the card has it
        torch.backends.cudnn.benchmark = not machine.deterministic
        torch.set_float32_matmul_precision("high")
    if machine.deterministic:
        set_deterministic()
    if machine.sync_batchnorm and device != "cuda":
        raise ValueError(
            f"sync_batchnorm=true needs CUDA, and device={device} is used: torch has SyncBatchNorm for GPUs"
            " alone; leave it out, and each process takes the statistics of its own images"
        )
    accelerator = Accelerator(
        cpu=device == "cpu", mixed_precision=choose_precision(machine.precision, device)
    )
    if accelerator.device.type != device:
        raise ValueError(
            f"the device should be {device}, but accelerate chose {accelerator.device.type}: unset the"
            " environment's ACCELERATE_ variables"
        )
    return accelerator


def choose_device(asked: str) -> str:
    """cuda, mps or cpu. Raises ValueError where the one that is asked for is missing."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(name for name in has if has[name])
    if not has[asked]:
        raise ValueError(
            f'MACHINE="device={asked}": torch {torch.__version__} finds no such device here: '
            "device=auto takes what there is, device=cpu the processor"
        )
    return asked


def choose_precision(asked: str, device: str) -> str:
    """no, fp16 or bf16. Raises ValueError for fp16 on a CPU, which accelerate would leave out silently."""
    if asked == "fp16" and device == "cpu":
        raise ValueError('MACHINE="precision=fp16" needs a GPU, and device=cpu is used: precision=auto or no')
    if asked != "auto":
        return asked
    if device != "cuda":
        return "no"
    return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"


def check_card() -> None:
    """Raises ValueError where this torch has no code for the GPU: every operation on it would fail."""
    capability, built_for = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    if not has_kernels(capability, built_for):
        raise ValueError(
            f"{torch.cuda.get_device_name()} (sm_{capability[0]}{capability[1]}) can't be used: torch"
            f" {torch.__version__} has code for {', '.join(built_for)} alone. On Kaggle choose the"
            " accelerator GPU T4 x2; elsewhere install a torch built for this GPU (pytorch.org, previous"
            ' versions), or let the processor compute: MACHINE="device=cpu"'
        )


def has_kernels(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether a torch built for these architectures, such as sm_75 and compute_90, runs on a GPU of this
    compute capability: machine code (sm_) on GPUs of its major version and no lower minor one, PTX (compute_)
    on all that are not older. See "binary compatibility" and "PTX compatibility" in NVIDIA's CUDA C++
    Programming Guide. True where nothing is known, as on AMD's.

    Kaggle's P100 has sm_60, for which its torch has no code: github.com/Kaggle/kaggle-cli/issues/1151.
    """
    architectures = re.findall(r"(sm|compute)_(\d+)", " ".join(built_for))
    for kind, number in architectures:
        version = divmod(int(number), 10)
        if version <= capability and (kind == "compute" or version[0] == capability[0]):
            return True
    return not architectures


def set_deterministic() -> None:
    """The same bits from the same run on a GPU too. An operation that has no such form raises RuntimeError.
    See torch's notes on reproducibility.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read before the first product
    torch.use_deterministic_algorithms(True)


def prepared(accelerator: Accelerator, optimizer: Optimizer) -> Optimizer:
    """The optimizer, under fp16 with a gradient scaler of its own.

    accelerate keeps, and unscales, every optimizer that it ever prepared, and a scaler remembers one that ran
    out of memory between its gradients and its step: so both begin anew.
    """
    if not accelerator.scaler:
        return optimizer  # accelerate's wrapper costs a sixth of a head's step
    accelerator.free_memory()
    accelerator.scaler = get_grad_scaler(accelerator.distributed_type)
    return accelerator.prepare(optimizer)
