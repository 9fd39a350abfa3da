"""What the loop reads: the images of a table decoded once, and where the backbone has a trunk, the trunk's output for each view, computed once."""
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
import timm
import torch
from accelerate import Accelerator

from src import runs
from src.competitions import Competition
from src.config import Settings
from src.data import augment, images
from src.data.arrays import Array, gigabytes, make_array
from src.data.augment import AUGMENTS, VIEWS, Transform, seeded
from src.data.batches import draw
from src.model import backbone
from src.model.classifier import Classifier, pick


def content(settings: Settings, table: pd.DataFrame) -> list[str]:
    """A hash of each image of the table."""
    return images.content_hashes([settings.folder / path for path in table["path"]], settings.memory)


def code_of(thing: Callable | ModuleType) -> str:
    """A hash of the source: who edits a reader or an augmentation must not be served what the old one made."""
    return runs.sha256(inspect.getsource(thing))


class Pictures(NamedTuple):
    """The decoded images of a table, and a hash of their contents and of how they were decoded."""

    decoded: Array      # (N, size, size, 3) uint8
    key: str


def decode(competition: Competition, settings: Settings, table: pd.DataFrame) -> Pictures:
    """Decode the table's images at the experiment's size, unless it was done before."""
    size, reader = settings.config.image_size, competition.read_image
    key = runs.sha256([size, code_of(reader or images.read_picture), code_of(images.square), content(settings, table)])
    path = settings.cache / settings.comp / f"images-{size}px-{key}.npy"
    if not path.exists():
        print(f"decoding {len(table)} images at {size} px, {gigabytes((len(table), size, size, 3), 'uint8'):.2f} GB in {settings.cache}", flush=True)
    records = table.assign(file=[str(settings.folder / p) for p in table["path"]]).to_dict("records")
    decoded = images.decode(records, size, path, read_image=reader, max_pixels=competition.max_pixels, workers=max(settings.machine.workers, 1))
    return Pictures(decoded, key)


def flips_of(competition: Competition, settings: Settings) -> str:
    """Which mirrors keep the label: the setting, or the competition's own."""
    return {"auto": competition.flips, "none": ""}.get(settings.config.flips, settings.config.flips)


def training_views(competition: Competition, settings: Settings, *, has_trunk: bool) -> dict[str, Transform | None]:
    """The transforms by view. With a trunk: the plain image and views-1 fixed draws of the augmentation, the same for all folds and seeds.
    Without one, or with views=0: a single one named "", drawn afresh each epoch."""
    config = settings.config
    flips = flips_of(competition, settings)
    transform = pick(AUGMENTS, config.augment, "augment")(config.image_size, flips)
    if config.augment == "none":
        return {"plain": None}
    if not has_trunk or config.views == 0:
        return {"": transform}
    return {"plain": None} | {f"{config.augment}-{flips}-{number}": transform for number in range(1, config.views)}


def test_views(settings: Settings) -> dict[str, Transform | None]:
    return {"plain": None} | {name: pick(VIEWS, name, "tta view") for name in settings.config.tta}


def can_cache(model: Classifier, settings: Settings, num_images: int, num_views: int) -> bool:
    """Does the trunk's output stand in a cache? Says in one line why not, when a trunk was to be expected."""
    if not model.cut_at:
        if settings.config.trainable != "all":
            print(f"no trunk to cache: {model.why}")
        return False
    size = num_views * gigabytes((num_images, *feature_shape(model, settings.config.image_size)), "float32")
    if size > settings.machine.cache_gb:
        print(f"trunk cache skipped: {size:.1f} GB for {num_views} views is above cache_gb={settings.machine.cache_gb:g}")
        return False
    return True


def feature_shape(model: Classifier, size: int) -> tuple[int, ...]:
    """The trunk's output per image, as it is stored: (H, W, C) for maps, so that it is read back in channels_last order."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    found = model.features(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device))[0]
    return tuple(found.permute(1, 2, 0).shape if found.ndim == 3 else found.shape)


def trunk_outputs(
    model: Classifier, pictures: Pictures, views: Mapping[str, Transform | None], settings: Settings, accelerator: Accelerator,
) -> list[Array]:
    """One Array per view, (N, H, W, C) or (N, ...) float32: the trunk's output for each image. Made once, then found by its key."""
    state = b"".join(v.detach().cpu().contiguous().numpy().tobytes() for _, v in sorted(model.trunk.state_dict().items()))
    size, num_images = settings.config.image_size, len(pictures.decoded.values)
    how = [settings.config.backbone, model.cut_at, settings.config.pool_type, runs.sha256(state), pictures.key, code_of(backbone),
           accelerator.device.type, accelerator.mixed_precision, torch.__version__, timm.__version__]
    shape = (num_images, *feature_shape(model, size))
    found = []
    for view, transform in views.items():
        key = runs.sha256([*how, view, "" if transform is None else code_of(augment)])
        path = settings.cache / settings.comp / f"trunk-{view}-{key}.npy"
        if not path.exists():
            print(f"trunk: {num_images} images, view {view}, {gigabytes(shape, 'float32'):.2f} GB in {settings.cache}", flush=True)
        found.append(make_array(path, shape, "float32", partial(run_trunk, model, pictures.decoded, transform, view, accelerator)))
    return found


def run_trunk(
    model: Classifier, decoded: Array, transform: Transform | None, view: str, accelerator: Accelerator, values: np.ndarray, batch_size: int = 64,
) -> None:
    """Fill `values` with the trunk's output, one pass over the images."""
    with torch.inference_mode():
        for start in range(0, len(values), batch_size):
            image = torch.from_numpy(np.array(decoded.values[start:start + batch_size])).permute(0, 3, 1, 2)
            if transform is not None:
                image = torch.stack([seeded(transform, one, draw("view", view, start + i)) for i, one in enumerate(image)])
            with accelerator.autocast():
                output = model.features(image.to(accelerator.device)).float().cpu()
            values[start:start + len(output)] = (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy()


def make_accelerator(settings: Settings) -> Accelerator:
    """Device and precision: bf16 from compute capability 8.0 on, fp16 below, full precision on MPS and CPU."""
    machine = settings.machine
    precision = machine.precision
    has_cuda = torch.cuda.is_available() and machine.device in ("auto", "cuda")
    if precision == "auto":
        precision = "no" if not has_cuda else "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    use_cpu = machine.device == "cpu" or not has_cuda and not (torch.backends.mps.is_available() and machine.device in ("auto", "mps"))
    return Accelerator(cpu=use_cpu, mixed_precision=precision)
