"""All settings: Config (can change a prediction) and Machine (can't). Imports pydantic and rates only."""

import dataclasses
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

from src.rates import RATES, family

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
# "auto": the table RATES in rates.py, written out in config.json
Rate = Annotated[float, Field(gt=0, le=10)] | Literal["auto"]
Word = Annotated[str, Field(min_length=1)]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=STRICT)
class Split:
    """A change makes new folds, and all that follows."""

    folds: Annotated[int, Field(ge=2, le=50)] = 5
    # SCHEMES in data/folds.py; auto: by task and groups; file: inputs/COMP/folds.csv
    fold_scheme: Word = "auto"
    fold_seed: Count = 0
    # what keeps copies of an image in one fold: equal bytes, the group
    dedupe: Literal["content", "group", "none"] = "content"
    limit: Count = 0  # images used in all; 0: every one
    # a training image that can't be read: refuse them all by name, or leave them out
    bad_images: Literal["error", "drop"] = "error"
    # auto: the images of inputs/COMP/external.csv, where it is, train in every fold
    external: Literal["auto", "none"] = "auto"


@dataclass(frozen=True, config=STRICT)
class Train:
    """A change trains the folds again; their split stays."""

    # model
    # any timm name, or BACKBONES in model/backbone.py; gem:NAME is an own one around the timm model NAME
    backbone: Word = "tf_efficientnet_lite0"
    pretrained: bool = True
    # a local file; "": weights/<backbone>/, then the Hugging Face hub
    weights: str = ""
    # head, all, the last N layer groups (`make layers` shows them), or patterns of parameter names
    trainable: Count | Word | Annotated[tuple[Word, ...], Field(min_length=1)] = "head"
    head: Word = "linear"  # HEADS in model/heads.py
    pool_type: Word = "auto"  # auto: the backbone's own
    drop_rate: Share = 0.0
    drop_path_rate: Share = 0.0
    image_size: Annotated[int, Field(ge=8, le=4096)] = 224  # pixels, square
    # data
    resize: Word = "squash"  # to a square; RESIZES in data/images.py: squash, crop, pad
    # images are decoded at this times image_size, so that a random crop need not enlarge them; auto: by
    # augmentation, DECODE_SCALES below
    decode_scale: Annotated[float, Field(ge=1, le=4)] | Literal["auto"] = "auto"
    augment: Word = "none"  # AUGMENTS in data/augment.py: none, light, medium, strong, randaugment
    # mirrors that keep the label; auto: the competition's
    flips: Literal["auto", "h", "v", "hv", "none"] = "auto"
    # fixed versions of an image, cached after the trunk; 0: always fresh
    views: Annotated[int, Field(ge=0, le=1000)] = 1
    mixup: Amount = 0.0  # alpha of the Beta distribution; 0: off
    cutmix: Amount = 0.0
    sampler: Word = "shuffle"  # SAMPLERS in data/batches.py
    # training
    # exact: the linear head of a frozen backbone is solved, with a C of its own by nested folds
    solver: Literal["steps", "exact"] = "steps"
    epochs: Positive = 10
    batch_size: Positive = 32
    # batches per step: the effective batch is batch_size * accumulate
    accumulate: Positive = 1
    optimizer: Word = "adamp"  # or any timm optimizer
    lr: Rate = "auto"  # of the head
    body_lr: Rate = "auto"  # of the last learning layers of the body
    # factor on body_lr per layer group, going down
    layer_decay: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = "auto"
    # of the epochs, those at the start in which the head learns alone
    head_epochs: Count = 0
    weight_decay: Amount = 0.01
    schedule: Word = "cosine"  # of the rates: SCHEDULES in training/schedules.py
    warmup_epochs: Amount = 0.5
    clip_grad: Amount = 1.0  # largest gradient norm; 0: off
    loss: Word = "auto"  # LOSSES in training/losses.py; auto: the task's
    label_smoothing: Share = 0.0
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    # decay of the averaged weights; 0: off, and better off below 1,000 steps
    ema: Share = 0.0
    # of the epochs, those at the end whose weights are averaged; 0: off
    swa: Count = 0
    # radius of sharpness-aware minimisation, such as 0.05: each step costs two; 0: off
    sam: Amount = 0.0
    # compute a backbone's activations again in place of keeping them: less memory, a third slower; without a
    # trunk. BatchNorm's statistics then move twice in a step
    grad_checkpointing: bool = False
    # epochs without gain before a fold stops; 0: off. The score is then optimistic
    patience: Count = 0
    seed: Count = 0
    init_from: str = ""  # a run whose folds are the starting weights
    # a run whose pseudo.csv (`make pseudo` writes it) gives test images labels, per fold its own
    pseudo: str = ""
    # hard: the likeliest class alone
    pseudo_labels: Literal["soft", "hard"] = "soft"


@dataclass(frozen=True, config=STRICT)
class Predict:
    """A change predicts again with the models that are there."""

    # VIEWS and VIEW_SETS in data/augment.py, beside the plain picture
    tta: tuple[Word, ...] = ()
    # pixels, square, at which images are predicted; 0: image_size. Often a little larger is better (Touvron
    # et al. 2019, arXiv:1906.06423)
    test_size: Annotated[int, Field(ge=0, le=4096)] = 0
    # models trained on all images, with seed, seed+1, ..., that predict in the folds' place
    refit: Count = 0


@dataclass(frozen=True, config=STRICT)
class Submit:
    """A change writes the submission again."""

    # DECODERS in competition/decoders.py, fitted on the out-of-fold predictions; auto: plain
    decode: Word = "auto"


@dataclass(frozen=True, config=STRICT)
class Config(Submit, Predict, Train, Split):
    """An experiment's settings. Names such as a loss are looked up where they are defined; the file says
    where.

    A new setting goes into the class of the stage that it changes: that stage, and those after it, are then
    run again.
    """

    @field_validator("trainable", "tta", mode="before", check_fields=False)
    @classmethod
    def from_text(cls, value: Any, info: Any) -> Any:
        """Commas make a tuple, digits a number. True would count as 1 and say nothing, so bool is refused."""
        if str(value).lower() in ("true", "false"):
            raise ValueError("not a bool")
        if not isinstance(value, str):
            return value
        names = tuple(name for name in value.split(",") if name)
        if info.field_name == "tta" or len(names) > 1:
            return names
        return int(value) if value.lstrip("-").isdecimal() else value


@dataclass(frozen=True, config=STRICT)
class Machine:
    """What can't change a prediction: part of no hash."""

    # processes that augment images, threads that decode them. auto: as many threads as cores, and no process
    # unless an augmentation takes each image by itself
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    cache_gb: Amount = 8.0  # a larger trunk cache is not made
    # a larger array of decoded images is not made: they are decoded as they are read, again in each epoch.
    # 0: never
    decoded_gb: Amount = 50.0
    # of all arrays in CACHE: what was used least recently makes room; 0: no limit
    cache_total_gb: Amount = 100.0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    # what runs the frozen trunk; auto: openvino where it is installed and the device is a CPU. Proven within
    # 5e-5 of torch, as torch's versions are
    engine: Literal["auto", "torch", "openvino"] = "auto"
    # the same bits in each run on a GPU too; slower, and an error where an operation can't be
    deterministic: bool = False
    max_hours: Amount = 0.0  # stop and save before this; 0: no limit
    save_minutes: Amount = 10.0
    # when a finished fold is still in memory, warn; strict: end there
    memory: Literal["warn", "strict"] = "warn"
    # what GPUS=4 does: whole folds side by side, or each fold over all processes. auto: see src/spread.py
    spread: Literal["auto", "folds", "fold"] = "auto"
    # BatchNorm's statistics of a fold over all processes, not of each by itself; on CUDA alone
    sync_batchnorm: bool = False
    # stop a fold that is worse after two epochs than an answer that looks at no image
    sanity: bool = True
    wandb: Literal["auto", "online", "offline", "off"] = "auto"  # auto: online where a key exists

    @property
    def num_threads(self) -> int:
        """That decode images."""
        return os.cpu_count() or 1 if self.workers == "auto" else self.workers


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that a stage reads from a run's config.json."""

    comp: str
    exp: str
    set: str
    inputs: Path  # the folder that holds <comp>/
    cache: Path
    config: Config
    machine: Machine

    @property
    def memory(self) -> Path:
        """Where the hashes of the competition's images are remembered."""
        return self.cache / self.comp / "hashes.bin"

    @property
    def folder(self) -> Path:
        return self.inputs / self.comp


STAGES = {
    kind.__name__.lower(): [field.name for field in dataclasses.fields(kind)]
    for kind in (Split, Train, Predict, Submit)
}
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Config)}
assert set(DEFAULTS) == {name for names in STAGES.values() for name in names}, (
    "a setting belongs into Split, Train, Predict or Submit, not Config"
)
# other names that people know a setting by
NAMES_OF = {
    "lr": "learning_rate head_lr",
    "body_lr": "backbone_lr",
    "weight_decay": "wd",
    "batch_size": "bs",
    "backbone": "model arch",
    "image_size": "img_size imgsz size resolution",
    "folds": "n_folds num_folds kfold",
    "epochs": "num_epochs n_epochs",
    "drop_rate": "dropout",
    "drop_path_rate": "drop_path",
    "trainable": "freeze unfreeze",
    "optimizer": "opt",
    "warmup_epochs": "warmup",
    "label_smoothing": "smoothing",
    "augment": "aug",
    "loss": "criterion",
    "patience": "early_stopping",
    "schedule": "scheduler lr_scheduler",
    "accumulate": "grad_accum",
    "seed": "random_state",
    "weights": "checkpoint",
    "workers": "num_workers",
    "precision": "amp fp16",
    "device": "gpu",
}
ALIASES = {alias: setting for setting, names in NAMES_OF.items() for alias in names.split()}
# By augmentation, for decode_scale=auto: most of its crops are not enlarged then. Others: 1
DECODE_SCALES = {"medium": 1.25, "strong": 1.25, "randaugment": 1.25}


def resolve(config: Config) -> Config:
    """The same settings with each "auto" rate written out."""
    part = "tail"
    if config.trainable in ("head", 0):
        part = "head"
    elif config.trainable == "all":
        part = "all"
    lr, body_lr, layer_decay = RATES[family(config.backbone), part]
    if part != "head" and not (config.pretrained or config.init_from):
        body_lr, layer_decay = lr, 1.0  # nothing learned that a high rate could spoil
    rates: dict[str, Any] = {"lr": lr, "body_lr": body_lr, "layer_decay": layer_decay}
    return replace(config, **{name: rate for name, rate in rates.items() if getattr(config, name) == "auto"})


def decoded_size(config: Config) -> int:
    """Pixels of a side at which images are decoded."""
    scale = config.decode_scale
    if scale == "auto":
        scale = DECODE_SCALES.get(config.augment, 1.0)
    return round(config.image_size * scale)


def predicted_size(config: Config) -> int:
    """Pixels of a side at which images are predicted."""
    return config.test_size or config.image_size


def as_dict(settings: Any) -> dict[str, Any]:
    return dataclasses.asdict(settings)


def stage(config: Config, name: str) -> dict[str, Any]:
    """The settings of one stage: what its hash is made of."""
    return {field: getattr(config, field) for field in STAGES[name]}


def as_text(value: Any) -> str:
    """A setting's value as SET takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
