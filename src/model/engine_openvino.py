"""Optional: OpenVINO runs the frozen trunk on a CPU, several times faster than torch. Nothing to set: pip
install -r requirements-cpu.txt.

src/data/features.py asks for it by name, compares it with torch for each trunk, and falls back. Neither the
batch size nor the number of threads changes its bits (tried).
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
    # or importing openvino would report that to its maker, unasked
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces by torch.jit, which warns that it is deprecated
        model = openvino.convert_model(module, example_input=example)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # or a CPU with bfloat16 would use that
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    return lambda image: torch.from_numpy(request.infer([image.contiguous().numpy()], share_inputs=True)[0])
