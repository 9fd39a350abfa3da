"""A run as one ONNX file: a decoded picture -> the mean prediction of all its models, their trunk run once.
It is checked on real images against torch.  runs/<name>/ -> runs/<name>/export/{model.onnx,model.json}

Run: python -m src export runs/<name>        make export RUN=name; needs requirements-export.txt
"""

import copy
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from src.competition import tables
from src.competition.facts import Competition
from src.config import Config
from src.data.run import Run, at_test_size
from src.model.classifier import Classifier, build
from src.predict_chunks import read_pictures
from src.run.errors import CheckFailed
from src.run.files import atomic, write_json

if TYPE_CHECKING:
    import onnxruntime

TOLERANCE = 1e-4  # of a probability, or as a share of a number's spread
NUM_CHECKED = 100  # images
BATCH = 16
INSTALL = "make export needs onnx, onnxscript and onnxruntime: pip install -r requirements-export.txt"


class Mean(nn.Module):
    """The mean prediction of several models that share their trunk: uint8 (B, 3, H, W) -> (B, T)."""

    def __init__(self, model: Classifier, files: list[Path], task: str) -> None:
        super().__init__()
        self.normalise, self.trunk, self.task = model.normalise, model.trunk, task
        self.tails, self.heads, self.units = nn.ModuleList(), nn.ModuleList(), []
        for file in files:
            model.load(file)
            self.tails.append(copy.deepcopy(model.tail))
            self.heads.append(copy.deepcopy(model.head))
            self.units.append(torch.from_numpy(model.unit))

    def forward(self, image: Tensor) -> Tensor:
        features = self.trunk(self.normalise(image))
        extra = torch.zeros(image.shape[0], 0)
        members = []
        for tail, head, unit in zip(self.tails, self.heads, self.units):
            members.append(activated(head(tail(features), extra), unit, self.task))
        return torch.stack(members).mean(dim=0)


def activated(logits: Tensor, unit: Tensor, task: str) -> Tensor:
    """Logits (B, T) -> predictions, as src/competition/tasks.py does with arrays."""
    if task in ("multiclass", "binary"):
        return logits.softmax(dim=1)
    if task == "multilabel":
        return logits.sigmoid()
    if task == "bounded":
        return unit[0] + unit[1] * logits.sigmoid()
    return unit[0] + unit[1] * logits


def load(run: Run) -> Mean:
    """All models of the run, on the CPU, in eval mode. Raises ValueError for a run with extra columns, or
    without models.
    """
    competition, paths = run.competition, run.paths
    if competition.features:
        raise ValueError(
            f"{paths.root} learned from extra columns ({', '.join(competition.features)}), which each"
            " fold scales in its own way: make export takes runs of images alone"
        )
    numbers = paths.predicting(run.config.refit)
    files = [paths.fold(k).model for k in numbers if paths.fold(k).done.exists()]
    if not files or len(files) < len(numbers):
        raise ValueError(f"{paths.root} lacks models to export: make submit RUN={paths.name} first")
    model = build(run.config, len(competition.outputs), is_proven=True)
    return Mean(model, files, competition.task).eval()


def to_onnx(model: nn.Module, image: Tensor, path: Path) -> None:
    """Write the model for batches of any length. image: uint8 (2, 3, H, W), an example. Raises ValueError
    where the packages are missing.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(INSTALL) from error
    torch.onnx.export(
        model,
        (image,),
        path,
        input_names=["image"],
        output_names=["prediction"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def difference(model: nn.Module, session: "onnxruntime.InferenceSession", images: np.ndarray) -> float:
    """The largest between ONNX and torch, in units of 1 or of the predictions' spread, for uint8 images
    (N, 3, H, W), in batches and the first alone.
    """
    largest = 0.0
    for part in (images[:1], *np.array_split(images, range(BATCH, len(images), BATCH))):
        with torch.inference_mode():
            expected = model(torch.from_numpy(part)).numpy()
        (output,) = session.run(None, {"image": part})
        scale = np.maximum(1, expected.std(axis=0))
        largest = max(largest, float((np.abs(output - expected) / scale).max()))
    return largest


def real_images(run: Run, num: int) -> np.ndarray:
    """(N, 3, H, W) uint8: the first test images that can be read, as the models see them."""
    size, table = run.config.image_size, tables.make_test(run.inputs, run.competition)[:num]
    images, unreadable = read_pictures(run, table, run.inputs, size)
    return images[~table["id"].isin(unreadable).to_numpy()].transpose(0, 3, 1, 2).copy()


def note_of(competition: Competition, config: Config) -> dict:
    """How the file is to be used, for model.json."""
    size = config.image_size
    return {
        "input": f"image: uint8 RGB (batch, 3, {size}, {size}), not normalised: the picture turned upright"
        f" by its EXIF tag, made square by {config.resize} in src/data/images.py",
        "output": "prediction: float32 (batch, outputs)",
        "task": competition.task,
        "outputs": list(competition.outputs),
        "image_size": size,
    }


def export(run: Run) -> float:
    """Write and check the file; the largest difference. Raises ValueError, and CheckFailed above
    TOLERANCE, and then there is no file.
    """
    run = at_test_size(run)
    model, images = load(run), real_images(run, NUM_CHECKED)
    path = run.paths.root / "export" / "model.onnx"
    with atomic(path) as part:
        to_onnx(model, torch.from_numpy(images[:2]), part)
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(INSTALL) from error
        session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        largest = difference(model, session, images)
        if not largest <= TOLERANCE:  # also NaN
            raise CheckFailed(f"export: ONNX differs from torch by {largest:.1e}, above {TOLERANCE:g}")
    note = note_of(run.competition, run.config)
    write_json(note | {"difference": largest, "images": len(images)}, path.with_suffix(".json"))
    size = path.stat().st_size / 1e6
    print(f"{path}: {len(model.heads)} models, {size:.1f} MB")
    print(f"within {largest:.1e} of torch on {len(images)} test images")
    return largest


def command(run: Run, options: Namespace) -> None:
    export(run)
