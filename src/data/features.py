"""What the loop reads: the images of a table decoded once, and where the backbone has a trunk, the trunk's
output for each view, computed once.
"""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL
import timm
import torch
import torchvision
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.competition.facts import Competition
from src.config import Settings
from src.data import cache, images
from src.data.arrays import Array, gigabytes, make_in_steps
from src.data.augment import AUGMENTS, VIEW_SETS, VIEWS, Transform, seeded, unseen_views
from src.data.batches import at_once
from src.data.recipe import augment_code, backbone_code, image_contents
from src.model.classifier import Classifier, pick
from src.run import hashing, memory
from src.run.clock import Clock
from src.run.files import read_json, sha256, write_json
from src.run.seeds import seed_of

READ_GB = 1.0  # a second, of an array that does not lie in memory: a common SSD
# uint8 (B, 3, H, W) -> what the trunk hands to the tail, float32 on the CPU
Run = Callable[[Tensor], Tensor]
# what another engine than torch may differ by, as a share of the largest output
TOLERANCE = 5e-5
MEASURED = 4  # batches of the trunk, before the seconds of all are told
# images at once, as when a model is built: a CPU's kernels for that are there
TRIED = 2
# a second, what convolutions reach on two cores and on a common GPU: only the order of size matters
FLOPS = {"cpu": 1e11, "cuda": 2e13}


class Pictures(NamedTuple):
    """The decoded images of a table, and a hash of their contents and of how they were decoded."""

    decoded: Array  # (N, size, size, 3) uint8
    key: str
    unreadable: dict[str, str]  # id -> what is wrong; black in `decoded`
    contents: list[str]  # a hash of each image's file
    made_by: str  # a hash of how they were decoded; equal contents were decoded to equal pixels


class Note(NamedTuple):
    """What an array of the cache was made from. The key in its name is a hash of it, the same in words lies
    beside it.
    """

    of: dict[str, Any]  # images, weights, sizes, versions
    code: hashing.Units

    @property
    def key(self) -> str:
        return sha256([self.of, hashing.own(self.code)])

    def write(self, path: Path, contents: list[str]) -> None:
        beside, images = path.with_suffix(".code.json"), path.with_suffix(".contents.json")
        if not images.exists():
            write_json({"contents": contents}, images, indent=None)
        if not beside.exists():
            write_json(self._asdict(), beside)

    def earlier(self, path: Path, contents: list[str]) -> tuple[Array, list[str]] | None:
        """The array that differs in its images alone and shares most of them, and their contents: one changed
        image is no reason to make all the others anew.
        """
        alike, key = [], self._replace(of=self.of | {"images": ""}).key
        for beside in sorted(path.parent.glob(path.name.rpartition("-")[0] + "-*.code.json")):
            then, stem = read_json(beside), beside.name.removesuffix(".code.json")
            array, images = beside.with_name(f"{stem}.npy"), beside.with_name(f"{stem}.contents.json")
            is_alike = sha256([then["of"] | {"images": ""}, hashing.own(then["code"])]) == key
            if is_alike and array != path and images.exists() and array.exists():
                known = read_json(images)["contents"]
                alike.append((len({*contents} & {*known}), array, known))
        most, array, known = max(alike, default=(0, path, []), key=lambda one: one[0])
        return (Array(array), known) if most and cache.use(array) else None

    def why_anew(self, path: Path) -> str:
        """Words for a message, where the same was made before by other code; "" where nothing like it was."""
        for beside in sorted(
            path.parent.glob(path.name.rpartition("-")[0] + "-*.code.json"),
            key=lambda file: -file.stat().st_mtime_ns,
        ):
            then = read_json(beside)
            if sha256(then["of"]) == sha256(self.of) and (edits := hashing.changes(then["code"], self.code)):
                return f"; made anew, for {', '.join(edits[:3])}{' ...' if len(edits) > 3 else ''} changed"
        return ""


def decode(
    competition: Competition,
    settings: Settings,
    table: pd.DataFrame,
    clock: Clock | None = None,
    *,
    tolerant: bool = False,
) -> Pictures:
    """Decode the table's images at the experiment's size, unless it was done before. Raises ValueError for
    unreadable ones unless tolerant.
    """
    size, reader = settings.config.image_size, competition.read_image
    contents = image_contents(settings, table)
    note = Note(
        {"size": size, "pillow": PIL.__version__, "images": sha256(contents)},
        hashing.reach("src.data.images:read_square", *([reader] if reader else [])),
    )
    path = settings.cache / settings.comp / f"images-{size}px-{note.key}.npy"
    copies = {}
    if not path.exists():
        copies = {} if reader else copies_of(contents, note.earlier(path, contents))
        if copies:
            print(f"{len(copies)} of {len(table)} images are decoded already, at {size} px", flush=True)
        print(
            f"decoding {len(table) - len(copies)} images at {size} px,"
            f" {gigabytes((len(table), size, size, 3), 'uint8'):.2f} GB in {settings.cache}"
            + note.why_anew(path),
            flush=True,
        )
    records = table.assign(file=[str(settings.folder / p) for p in table["path"]]).to_dict("records")
    how = {"read_image": reader, "max_pixels": competition.max_pixels, "workers": settings.machine.workers}
    decoded, unreadable = images.decode(
        records,
        size,
        path,
        tolerant=tolerant,
        copies=copies,
        clock=clock,
        room_gb=settings.machine.cache_total_gb,
        **how,
    )
    note.write(path, contents)
    # an own reader may look at more than the image's file
    made_by = note.key if reader else note._replace(of=note.of | {"images": ""}).key
    return Pictures(decoded, note.key, unreadable, contents, made_by)


def copies_of(
    contents: list[str], earlier: tuple[Array, list[str]] | None
) -> dict[int, Callable[[], np.ndarray]]:
    """place -> the decoded pixels, for each image that an earlier array has."""
    if not earlier:
        return {}
    array, known = earlier
    beside = array.path.with_suffix(".unreadable.json")
    # which of its pictures are black is known by id alone
    if not beside.exists() or read_json(beside)["unreadable"]:
        return {}
    rows = {content: row for row, content in enumerate(known) if not content.startswith("unreadable")}
    return {
        place: partial(array.values.__getitem__, rows[content])
        for place, content in enumerate(contents)
        if content in rows
    }


def flips_of(competition: Competition, settings: Settings) -> str:
    """Which mirrors keep the label: the setting, or the competition's own."""
    return {"auto": competition.flips, "none": ""}.get(settings.config.flips, settings.config.flips)


def training_views(
    competition: Competition, settings: Settings, *, has_trunk: bool
) -> dict[str, Transform | None]:
    """The transforms by view. With a trunk: the plain image and views-1 fixed draws of the augmentation, the
    same for all folds and seeds. Without one, or with views=0: a single one named "", drawn afresh each
    epoch.
    """
    config = settings.config
    flips = flips_of(competition, settings)
    transform = pick(AUGMENTS, config.augment, "augment", "src/data/augment.py")(config.image_size, flips)
    if config.augment == "none":
        return {"plain": None}
    if not has_trunk or config.views == 0:
        return {"": transform}
    return {"plain": None} | {
        f"{config.augment}-{flips}-{number}": transform for number in range(1, config.views)
    }


def test_views(settings: Settings) -> dict[str, Transform | None]:
    """The plain image, and the views that `tta` names, by themselves or by a word for several."""
    known: dict = {name: [name] for name in VIEWS} | VIEW_SETS
    names = [
        view for name in settings.config.tta for view in pick(known, name, "tta view", "src/data/augment.py")
    ]
    return {"plain": None} | {name: VIEWS[name] for name in names}


def unseen(competition: Competition, settings: Settings) -> list[str]:
    """A line per reason why views of `tta` are not like what training saw."""
    found = unseen_views(test_views(settings), flips_of(competition, settings), settings.config.augment)
    return [
        f"tta={','.join(view for view in found if found[view] == why)} {why}"
        for why in dict.fromkeys(found.values())
    ]


def pays_to_cache(
    model: Classifier, settings: Settings, num_images: int, num_views: int, passes: int
) -> bool:
    """Shall the trunk's output stand in a cache? passes: how often each image would go through the trunk
    otherwise. Says in one line what decided.

    It does not where the trunk is quicker than reading its output back (only the stem is frozen), or where it
    would not fit. Multiplications are counted for that, not seconds: the same run must always go the same
    way, or its last digits would differ.
    """
    if not model.cut_at:
        if settings.config.trainable != "all":
            print(f"no trunk to cache: {model.why}")
        return False
    device = device_of(model)
    with FlopCounterMode(display=False) as counter:
        shape = output_shape(model, settings)
    size = num_views * gigabytes((num_images, *shape), "float32")
    trunk, read = (
        counter.get_total_flops() / TRIED / FLOPS.get(device.type, FLOPS["cpu"]),
        gigabytes(shape, "float32") / READ_GB,
    )
    told = f"{num_views} views of {num_images} images, {size:.2f} GB"
    if size > settings.machine.cache_gb:
        print(f"trunk cache skipped, above cache_gb={settings.machine.cache_gb:g}: {told}")
        return False
    if num_views * (trunk + read) + passes * read >= passes * trunk:
        print(f"trunk cache skipped, {passes} passes of this trunk cost less: {told}")
        return False
    print(f"trunk cache: {told}; {num_views} passes of the trunk instead of {passes}", flush=True)
    return True


def device_of(model: Classifier) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def output_shape(model: Classifier, settings: Settings) -> tuple[int, ...]:
    """How one output of the trunk is stored: (H, W, C) of a map (C, H, W), so that it is read back in
    channels_last order.
    """
    size = settings.config.image_size
    output = model.features(torch.zeros(TRIED, 3, size, size, dtype=torch.uint8, device=device_of(model)))
    return tuple(output.permute(0, 2, 3, 1).shape if output.ndim == 4 else output.shape)[1:]


def trunk_outputs(
    model: Classifier,
    pictures: Pictures,
    views: Mapping[str, Transform | None],
    settings: Settings,
    accelerator: Accelerator,
    clock: Clock | None = None,
) -> list[Array]:
    """One Array per view, (N, H, W, C) or (N, ...) float32: the trunk's output for each image. Made once,
    then found by its key.
    """
    state = b"".join(
        v.detach().cpu().contiguous().numpy().tobytes() for _, v in sorted(model.trunk.state_dict().items())
    )
    num_images = len(pictures.decoded)
    of = {
        "backbone": settings.config.backbone,
        "cut_at": model.cut_at,
        "pool_type": settings.config.pool_type,
        "weights": sha256(state),
        "images": pictures.key,
        "decoded": pictures.made_by,
        "device": accelerator.device.type,
        "precision": accelerator.mixed_precision,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "torchvision": torchvision.__version__,
    }
    shape = (num_images, *output_shape(model, settings))

    def notes_of(engine: str) -> dict[str, Note]:
        """By view. The engine is a part of the key: it changes the last digits, so a training goes on with
        what it began with.
        """
        return {
            view: Note(of | {"engine": engine, "view": view}, trunk_code(settings, view)) for view in views
        }

    def place(engine: str) -> dict[str, Path]:
        """The file of each view."""
        return {
            view: settings.cache / settings.comp / f"trunk-{engine.split()[0]}-{view}-{note.key}.npy"
            for view, note in notes_of(engine).items()
        }

    engine, run = find_engine(settings, accelerator), on_torch(model, accelerator)
    paths, notes = place(engine.NAME if engine else "torch"), notes_of(engine.NAME if engine else "torch")
    if engine and not all(path.exists() for path in paths.values()):
        example = torch.from_numpy(pictures.decoded.values[:2].copy()).permute(0, 3, 1, 2)
        try:
            run = faster(engine, model, example)
        except CannotRun as why:
            print(f"the trunk runs on torch, {engine.NAME} {why}")
            paths, notes = place("torch"), notes_of("torch")
    found = []
    for view, path in paths.items():
        if not path.exists() and (reason := notes[view].why_anew(path)):
            print(f"trunk: view {view}{reason}")
        earlier = None if path.exists() else notes[view].earlier(path, pictures.contents)
        fill = partial(run_trunk, run, pictures, earlier, views[view], view, at_once(accelerator.device, 64))
        found.append(
            make_in_steps(path, shape, "float32", fill, clock, room_gb=settings.machine.cache_total_gb)
        )
        notes[view].write(path, pictures.contents)
    return found


def trunk_code(settings: Settings, view: str) -> hashing.Units:
    """The code on which the trunk's output of a view depends: an own network's, the view's, and ours around
    them.
    """
    views = (
        [f"src.data.augment:VIEWS[{view}]"]
        if hashing.has_choice("src.data.augment", "VIEWS", view)
        else augment_code(settings)
    )
    ours = [
        "src.data.features:run_trunk",
        "src.model.classifier:Normalise",
        "src.model.backbone:make_backbone",
        "src.model.cut:cut",
    ]
    return hashing.reach(*ours, *backbone_code(settings), *([] if view == "plain" else views))


class CannotRun(Exception):
    """Why an engine can't take the place of torch for this trunk."""


def find_engine(settings: Settings, accelerator: Accelerator) -> ModuleType | None:
    """The engine (src/model/engine_<name>.py) that shall run the trunk; None is torch. Raises ValueError
    where the one asked for is missing.
    """
    asked = settings.machine.engine
    if asked == "torch" or (accelerator.device.type, accelerator.mixed_precision) != ("cpu", "no"):
        return None
    try:
        return importlib.import_module(f"src.model.engine_{asked.replace('auto', 'openvino')}")
    except ImportError as error:
        if asked == "auto":
            return None
        raise ValueError(
            f'engine={asked}: {error}: pip install -r requirements-cpu.txt, or MACHINE="engine=torch"'
        ) from error


def on_torch(model: Classifier, accelerator: Accelerator) -> Run:
    def run(image: Tensor) -> Tensor:
        with accelerator.autocast():
            return model.features(image.to(accelerator.device)).float().cpu()

    return run


def faster(engine: ModuleType, model: Classifier, example: Tensor) -> Run:
    """The engine's trunk, if on the example images (2, 3, H, W) it is within TOLERANCE of torch's largest
    output. Raises CannotRun.
    """
    expected = model.features(example)
    try:
        run = engine.compile(nn.Sequential(model.normalise, model.trunk).eval(), example)
        found = run(example)
    # whatever its converter meets in a model; the reason is told, not hidden
    except Exception as error:
        raise CannotRun(
            f"cannot: {type(error).__name__}:"
            f" {str(error).strip().splitlines()[0][:120] if str(error) else ''}"
        ) from error
    off = (
        (found - expected).abs().max() / expected.abs().max()
        if found.shape == expected.shape
        else float("inf")
    )
    if not off <= TOLERANCE:
        raise CannotRun(f"differs by {off:.1e} of the largest output")
    return run


def run_trunk(
    run: Run,
    pictures: Pictures,
    earlier: tuple[Array, list[str]] | None,
    transform: Transform | None,
    view: str,
    batch_size: int,
    values: np.ndarray,
    begun: dict,
) -> Iterator[dict]:
    """Fill `values` with the trunk's output, one pass over the images. A few batches, without the first, tell
    how long it takes.

    A batch whose images all stand at the same places of an earlier array is taken from there: draws depend on
    the place, and a sum's last digits on what is beside an image in its batch.
    """
    decoded, first, began = pictures.decoded, begun.get("done", 0), 0.0
    number, copied = -1, 0
    for start in range(first, len(values), batch_size):
        end = min(start + batch_size, len(values))
        if (
            earlier
            and earlier[1][start:end] == pictures.contents[start:end]
            and (end < len(values) or end == len(earlier[1]))
        ):
            values[start:end] = earlier[0].values[start:end]
            copied += end - start
            yield {"done": end}
            continue
        number += 1
        if number == 1:
            began = time.perf_counter()
        if number == 1 + MEASURED:
            spent = (time.perf_counter() - began) / MEASURED * (len(values) - start) / batch_size
            print(
                f"trunk: view {view} of {len(values)} images, {gigabytes(values.shape, 'float32'):.2f} GB,"
                f" about {spent:.0f} s",
                flush=True,
            )
        image = torch.from_numpy(np.array(decoded.values[start:end])).permute(0, 3, 1, 2)
        decoded.close()  # a pass would map all of it in the end
        if transform is not None:
            image = torch.stack(
                [seeded(transform, one, seed_of("view", view, start + i)) for i, one in enumerate(image)]
            )
        with torch.inference_mode():
            output = run(image)
            values[start:end] = (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy()
        yield {"done": end}
    if copied:
        print(f"trunk: view {view}: {copied} of {len(values)} outputs were there already", flush=True)


def engine_of(arrays: list[Array]) -> str:
    """What has run the trunk, by the name of its cache; torch where there is none."""
    return arrays[0].path.name.split("-")[1] if arrays[0].path.name.startswith("trunk-") else "torch"


def make_accelerator(settings: Settings) -> Accelerator:
    """Device and precision: bf16 from compute capability 8.0 on, fp16 below, full precision on MPS and CPU."""
    memory.keep_freed()
    machine = settings.machine
    precision = machine.precision
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(machine.device):
        raise ValueError(
            f'MACHINE="device={machine.device}": torch {torch.__version__} finds no such device here: '
            "device=auto takes what there is, device=cpu the processor"
        )
    has_cuda = torch.cuda.is_available() and machine.device in ("auto", "cuda")
    if precision == "auto":
        precision = "no" if not has_cuda else "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    use_cpu = (
        machine.device == "cpu"
        or not has_cuda
        and not (torch.backends.mps.is_available() and machine.device in ("auto", "mps"))
    )
    return Accelerator(cpu=use_cpu, mixed_precision=precision)
