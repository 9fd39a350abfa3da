"""Extra: OpenVINO runs the frozen trunk on a CPU, several times faster than torch. Nothing to set: pip
install -r requirements-cpu.txt.

prepare.py asks for it by name, compares it with torch for each trunk, and falls back. Neither batch nor
threads change its bits (tried).
"""

import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor, nn

# ImportError where it is not installed; loading it takes a second, which a full cache saves
NAME = f"openvino {version('openvino')}"


def compile(module: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
    """The module in eval mode as a function on the CPU, for batches of any length. Raises whatever openvino
    does for a module it can't convert.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]    # or importing it would report that to its maker, unasked
    import openvino

    with warnings.catch_warnings():
        # it traces by torch.jit, which tells everyone that it is old
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(module, example_input=example)
    # full precision is said, since a CPU that has bfloat16 would be given that
    how = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }
    request = openvino.compile_model(converted, "CPU", how).create_infer_request()
    return lambda image: torch.from_numpy(request.infer([image.contiguous().numpy()], share_inputs=True)[0])
