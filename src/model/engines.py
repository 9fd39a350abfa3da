"""What runs the frozen trunk: torch, or an engine that is faster on a CPU and proven to give the same."""

import importlib

from accelerate import Accelerator
from torch import Tensor, nn

from src.config import Machine
from src.model.classifier import Classifier

TOLERANCE = 5e-5  # how far an engine may be from torch, as a share of the largest output


class CannotRun(Exception):
    """Why an engine can't take the place of torch for this trunk."""


class Trunk:
    """Runs a classifier's trunk: uint8 images (B, 3, H, W) -> what it hands to the tail, float32 on the CPU.

    `engine` names what runs it: it changes the last digits, so it belongs to the key of a cache.
    """

    def __init__(self, model: Classifier, machine: Machine, accelerator: Accelerator) -> None:
        self.model, self.accelerator = model, accelerator
        self.module = find_engine(machine, accelerator)
        self.engine = self.module.NAME if self.module else "torch"
        self.compiled = None

    @property
    def cut_at(self) -> str:
        """The graph node where the trunk ends."""
        return self.model.cut_at

    def state(self) -> dict[str, Tensor]:
        """The trunk's weights and buffers, by name."""
        return self.model.trunk.state_dict()

    def compile(self, example: Tensor) -> None:
        """Prepare the engine, if there is one; torch takes over, with a line that says why, where it can't
        run this trunk. example: uint8 images (2, 3, H, W).
        """
        if not self.module or self.compiled:
            return
        try:
            self.compiled = compile_proven(self.module, self.model, example)
        except CannotRun as reason:
            print(f"the trunk runs on torch, {self.engine} {reason}")
            self.module, self.engine = None, "torch"

    def __call__(self, image: Tensor) -> Tensor:
        if self.compiled:
            return self.compiled(image)
        with self.accelerator.autocast():
            return self.model.features(image.to(self.accelerator.device)).cpu()


def find_engine(machine: Machine, accelerator: Accelerator):
    """The module src/model/engine_<name>.py that shall run the trunk; None is torch. Raises ValueError where
    the one that was asked for is not installed.
    """
    name = machine.engine
    if name == "torch" or (accelerator.device.type, accelerator.mixed_precision) != ("cpu", "no"):
        return None
    try:
        return importlib.import_module(f"src.model.engine_{name.replace('auto', 'openvino')}")
    except ImportError as error:
        if name == "auto":
            return None
        raise ValueError(
            f'engine={name}: {error}: pip install -r requirements-cpu.txt, or MACHINE="engine=torch"'
        ) from error


def compile_proven(engine, model: Classifier, example: Tensor):
    """The engine's trunk, if its output for the example images (2, 3, H, W) is within TOLERANCE of torch's.
    Raises CannotRun.
    """
    expected = model.features(example)
    try:
        run = engine.compile(nn.Sequential(model.normalise, model.trunk).eval(), example)
        output = run(example)
    except Exception as error:  # whatever its converter meets in a model; the reason is shown
        reason = (str(error).strip() or "?").splitlines()[0][:120]
        raise CannotRun(f"cannot: {type(error).__name__}: {reason}") from error
    if output.shape != expected.shape:
        raise CannotRun(f"gives the shape {tuple(output.shape)}, torch {tuple(expected.shape)}")
    difference = float((output - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:  # also NaN
        raise CannotRun(f"differs by {difference:.1e} of the largest output")
    return run
