"""The feature cache: where the backbone has a frozen trunk, its output for each image and view, computed
once.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from accelerate import Accelerator
from torch import nn

from src.config import Config
from src.data import cache
from src.data.arrays import Array, gigabytes, make_in_steps
from src.data.augment import Transform
from src.data.batches import at_once, view_seeds
from src.data.cache_gain import DRAW_SECONDS, READ_GB, count_work, saves_time, trunk_seconds
from src.data.cache_notes import Earlier, Note
from src.data.decoding import Pictures
from src.data.draws import Draws
from src.data.on_the_fly import Files
from src.data.recipe import augment_code, backbone_code
from src.data.run import Run
from src.data.views import TrainingViews
from src.data.warp import resize
from src.run import hashing, ranks
from src.run.clock import Clock
from src.run.files import sha256
from src.run.memory import BatchSize

TIMED = 4  # batches of the trunk, before the time of all is printed
TRIED = 2  # images at once, as when a model is built: a CPU's kernels for that are there


def pays_to_cache(
    model: nn.Module,
    run: Run,
    num_images: int,
    num_views: int,
    passes: int,
    *,
    num_drawn: int = 0,
    device: str = "",
) -> bool:
    """Whether the trunk's output is worth a cache, and a line that says so. passes: how often each image
    would go through the trunk otherwise; num_drawn: of the views, those that are augmented; device: where it
    will run, if the model is not there yet.

    It is not where the trunk is quicker than reading its output back (only the stem is frozen), or where the
    output would not fit.
    """
    if not model.cut_at:
        if run.config.trainable != "all":
            print(f"no trunk to cache: {model.why}")
        return False
    output, work = count_work(model.trunk, model.normalise(tried_images(model, run.config)))
    shape = stored_shape(output)
    size = num_views * gigabytes((num_images, *shape), "float32")
    what = f"{num_views} views of {num_images} images, {size:.2f} GB"
    if size > run.machine.cache_gb:
        print(f"trunk cache skipped, above cache_gb={run.machine.cache_gb:g}: {what}")
        return False
    if not saves_time(
        trunk=trunk_seconds(work, device or device_of(model).type),
        read=gigabytes(shape, "float32") / READ_GB,
        draw=DRAW_SECONDS * run.config.image_size**2,
        num_views=num_views,
        num_drawn=num_drawn,
        passes=passes,
    ):
        print(f"trunk cache skipped, {passes} passes of this trunk cost less: {what}")
        return False
    print(f"trunk cache: {what}; {num_views} passes of the trunk instead of {passes}", flush=True)
    return True


def device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def tried_images(model: nn.Module, config: Config) -> torch.Tensor:
    """Black images (TRIED, 3, H, W) on the model's device."""
    size = config.image_size
    return torch.zeros(TRIED, 3, size, size, dtype=torch.uint8, device=device_of(model))


def output_shape(model: nn.Module, config: Config) -> tuple[int, ...]:
    """The shape that one output of the model's trunk is stored in."""
    return stored_shape(model.features(tried_images(model, config)))


def stored_shape(output: torch.Tensor) -> tuple[int, ...]:
    """How one output of the trunk is stored: (H, W, C) of a map (C, H, W), so that it is read back in
    channels_last order.
    """
    return tuple(channels_last(output).shape[1:])


def channels_last(output: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, H, W, C); vectors (B, C) and tokens (B, L, C) as they are."""
    return output.permute(0, 2, 3, 1) if output.ndim == 4 else output


def trunk_outputs(
    run: Run,
    trunk: Any,
    pictures: Pictures,
    views: TrainingViews,
    accelerator: Accelerator,
    clock: Clock | None = None,
) -> list[Array]:
    """One Array per view, (N, H, W, C) or (N, ...): the trunk's output for each image, float32, or as the
    trunk gives it in half precision (see as_stored). It is made once, then found by its key. trunk: a
    src.model.engines.Trunk.
    """
    of = made_from(run, trunk, pictures, accelerator)
    notes = notes_of(run.config, of, trunk.engine, views)
    if not all(cache_path(run, trunk.engine, view, note).exists() for view, note in notes.items()):
        trunk.compile(torch.from_numpy(pictures.decoded.values[:2].copy()).permute(0, 3, 1, 2))
        notes = notes_of(run.config, of, trunk.engine, views)  # torch may have taken over
    shape = (len(pictures.decoded), *output_shape(trunk.model, run.config))
    dtype = stored_type(trunk, run.config.image_size)
    arrays, batch = [], BatchSize(at_once(accelerator.device, 64), "the trunk")
    for view, note in notes.items():
        path = cache_path(run, trunk.engine, view, note)
        earlier = None
        if not path.exists():
            if reason := note.why_anew(path):
                print(f"trunk: view {view}{reason}")
            earlier = note.earlier(path, pictures.contents)
        view_of = partial(see, views[view], view, run.config.image_size, accelerator.device)
        fill = partial(run_trunk, trunk, pictures, earlier, view_of, view, batch)
        arrays.append(make_in_steps(path, shape, dtype, fill, clock, room_gb=run.machine.cache_total_gb))
        note.write(path, pictures.contents)
    return arrays


def made_from(run: Run, trunk: Any, pictures: Pictures, accelerator: Accelerator) -> dict[str, Any]:
    """All that the trunk's output depends on, beside engine, view and code."""
    weights = sorted(trunk.state().items())
    of = {
        "backbone": run.config.backbone,
        "cut_at": trunk.cut_at,
        "pool_type": run.config.pool_type,
        "weights": sha256(b"".join(v.detach().cpu().contiguous().numpy().tobytes() for _, v in weights)),
        "images": pictures.key,
        "decoded": pictures.made_by,
        "device": accelerator.device.type,
        "precision": accelerator.mixed_precision,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "torchvision": torchvision.__version__,
    }
    if pictures.decoded.values.shape[1] != run.config.image_size:
        of["size"] = run.config.image_size
    return of


def cached_output(run: Run, trunk: Any, pictures: Pictures, accelerator: Accelerator) -> Array | None:
    """The trunk's output for the plain images, where it was computed before; None else."""
    of = made_from(run, trunk, pictures, accelerator)
    note = notes_of(run.config, of, trunk.engine, {"plain": None})["plain"]
    path = cache_path(run, trunk.engine, "plain", note)
    return Array(path) if cache.use(path) else None


def stored_type(trunk: Any, size: int) -> str:
    """The dtype in which the trunk's output is kept. It runs in half precision on a GPU alone, and what it
    gives in that loses nothing then.
    """
    if trunk.accelerator.mixed_precision == "no":
        return "float32"
    with torch.inference_mode():
        return as_stored(trunk(torch.zeros(TRIED, 3, size, size, dtype=torch.uint8))).dtype.name


def as_stored(output: torch.Tensor) -> np.ndarray:
    """As numpy; of bfloat16, which that lacks, the bits as int16 (see as_tensor in data/transfer.py)."""
    return (output.view(torch.int16) if output.dtype == torch.bfloat16 else output).numpy()


def see(
    transform: Transform | None,
    view: str,
    size: int,
    device: torch.device,
    images: torch.Tensor,
    positions: np.ndarray,
) -> torch.Tensor:
    """A view of the decoded images (B, 3, H, H) at these positions -> (B, 3, size, size) uint8."""
    if transform is not None:
        images = images.to(device) if device.type == "cuda" else images
        images = transform(images, Draws(view_seeds(view, positions)))
    return resize(images, size)


def notes_of(config: Config, of: dict[str, Any], engine: str, views: TrainingViews) -> dict[str, Note]:
    """By view. The engine changes the last digits, so a training goes on with the one that it began with."""
    return {view: Note(of | {"engine": engine, "view": view}, trunk_code(config, view)) for view in views}


def cache_path(run: Run, engine: str, view: str, note: Note) -> Path:
    return run.settings.cache / run.settings.comp / f"trunk-{engine.split()[0]}-{view}-{note.key}.npy"


def trunk_code(config: Config, view: str) -> hashing.Units:
    """The code on which the trunk's output of a view depends: an own network's, the view's, and ours around
    them.
    """
    if view == "plain":
        of_view = []
    elif hashing.has_choice("src.data.augment", "VIEWS", view):
        of_view = [f"src.data.augment:VIEWS[{view}]"]
    else:
        of_view = augment_code(config)
    ours = [
        "src.data.features:run_trunk",
        "src.data.features:see",
        "src.model.classifier:Normalise",
        "src.model.backbone:make_backbone",
        "src.model.cut:cut",
    ]
    return hashing.reach(*ours, *backbone_code(config), *of_view)


def run_trunk(
    trunk: Any,
    pictures: Pictures,
    earlier: Earlier | None,
    view_of: Callable[[torch.Tensor, np.ndarray], torch.Tensor],
    view: str,
    batch: BatchSize,
    values: np.ndarray,
    progress: dict,
) -> Iterator[dict]:
    """Fill `values` with the trunk's output, one pass over the images, from progress["done"] on. The time of
    a few batches, without the first, tells how long all will take.

    A batch whose images all stand at the same places of an earlier array is copied from there: draws depend
    on the place, and a sum's last digits on what is beside an image in its batch.
    """
    num_images, batch_size, num_run, num_copied, began = len(values), batch.images, 0, 0, 0.0
    for start, end, done in ranks.pieces(progress.get("done", 0), num_images, batch_size):
        if earlier and earlier.has_batch(pictures.contents, start, end):
            values[start:end] = earlier.values[start:end]
            num_copied += end - start
            start = end  # nothing is left of it to run
        if ranks.agree(start < end):
            if num_run == 1:
                began = time.perf_counter()
            if num_run == 1 + TIMED:
                per_image = (time.perf_counter() - began) / TIMED / batch_size / ranks.num_beside_main()
                seconds = per_image * (num_images - start)
                size = gigabytes(values.shape, values.dtype.name)
                print(
                    f"trunk: view {view} of {num_images} images, {size:.2f} GB, about {seconds:.0f} s",
                    flush=True,
                )
            num_run += 1
            values[start:end] = run_piece(trunk, pictures, view_of, batch, start, end)
        yield {"done": done}
    if num_copied:
        print(f"trunk: view {view}: {num_copied} of {num_images} outputs were there already", flush=True)


def run_piece(
    trunk: Any,
    pictures: Pictures,
    view_of: Callable[[torch.Tensor, np.ndarray], torch.Tensor],
    batch: BatchSize,
    start: int,
    end: int,
) -> np.ndarray:
    """The trunk's output for some of the pictures. Each of several processes calls it, one without pictures
    too, for where memory runs out all halve their batch.
    """
    if start == end:
        return batch.fit(lambda size: np.empty(()))
    image = torch.from_numpy(np.array(pictures.decoded.values[start:end])).permute(0, 3, 1, 2)
    pictures.decoded.close()  # or a pass would map all of it in the end
    with torch.inference_mode():
        image = view_of(image, np.arange(start, end))
        return batch.fit(partial(in_batches, trunk, image))


def in_batches(trunk: Any, image: torch.Tensor, size: int) -> np.ndarray:
    """The trunk's output for these images, at most `size` at once, as it is stored."""
    return as_stored(torch.cat([channels_last(trunk(part)) for part in image.split(size)]))


def engine_of(array: Array | Files) -> str:
    """What has run the trunk, by the name of its cache; torch where it is none."""
    name = array.path.name if isinstance(array, Array) else ""
    return name.split("-")[1] if name.startswith("trunk-") else "torch"
