"""Faults that competitors make, each planted in the tiny competition, its recipe or the kit's code, and each
caught by the check that is named.

`python -m tests.fault_table` prints them as the table of docs/reliability.md.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from conftest import fast, open_run
from PIL import Image
from torch import nn

from src.competition import metrics
from src.competition.answers import ANSWERS
from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.competitions import COMPETITIONS
from src.data import augment, batches, folds
from src.extras.doctor.command import FULL, NEEDED, examine
from src.model import backbone, classifier, heads, weights
from src.training import loop, losses, optim
from src.training.early_stopping import EarlyStopping


class Fault(NamedTuple):
    name: str
    where: str  # it is planted
    check: str  # that must catch it
    fix: str  # what must stand in the line that says what to change
    plant: Callable  # (monkeypatch) -> None, in the competition's folder
    settings: str = ""
    after_split: bool = False
    level: str = "FAIL"
    machine: str = "wandb=off workers=0 device=cpu"


# -- planting: in a table of choices, in a csv, or in a function of the kit


def choice(table: dict, value, name: str = "mine") -> Callable:
    return lambda patch: patch.setitem(table, name, value)


def head(*make_layers: Callable) -> Callable:
    """A head of these layers; each is made of (number of features, number of outputs)."""

    def maker(shape, num_outputs, config, num_extra=0):
        return heads.Joined(nn.Sequential(*(make(int(np.prod(shape)), num_outputs) for make in make_layers)))

    return choice(heads.HEADS, maker)


def linear(size: int, num_outputs: int) -> nn.Module:
    return nn.Linear(size, num_outputs)


class Lambda(nn.Module):
    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def csv(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable:
    def plant(patch) -> None:
        path = Path(name)
        change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)

    return plant


def function(place: object, name: str, make: Callable) -> Callable:
    """make(the real one) -> the faulty one"""
    return lambda patch: patch.setattr(place, name, make(getattr(place, name)))


def several(*plants: Callable) -> Callable:
    return lambda patch: [plant(patch) for plant in plants]


def give_weights(patch) -> None:
    """Pretrained weights for test_resnet, and none of timm's initialisation in them."""
    torch.manual_seed(99)
    model = timm.create_model("test_resnet")
    weights.save(model, Path("weights/test_resnet"))


# -- the faults themselves


def first_folds_images(real: Callable) -> Callable:
    kept: dict = {}

    def evaluation(self, positions, batch_size):
        return real(self, kept.setdefault("positions", positions), batch_size)

    return evaluation


def shared_patience(real: Callable) -> Callable:
    state: dict = {}

    def init(self, *args, **options) -> None:
        if not state:
            real(self, *args, **options)
            state.update(self=self.__dict__)
        self.__dict__ = state["self"]

    return init


def require_grad(backbone: nn.Module, trainable) -> None:
    for parameter in backbone.parameters():
        parameter.require_grad = False


class Branches(nn.Module):
    """A network with a branch that forward forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.aux = backbone.convolution(3, 16, 3, stride=2), nn.Conv2d(16, 16, 1)

    def forward(self, x):
        return self.body(x).mean(dim=(2, 3))


class Blind(nn.Module):
    """Frozen, it gives the same features for every picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 16, 3, stride=2)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x):
        return self.layer(x).mean(dim=(2, 3))


class Detached(nn.Module):
    def __init__(self, size: int, num_outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(size, 16), nn.Linear(16, num_outputs)

    def forward(self, x):
        return self.last(self.first(x).detach())


def no_flatten(shape, num_outputs, config, num_extra=0):
    layers = nn.Sequential(nn.Conv2d(shape[0], 8, 1), nn.ReLU(), nn.Linear(8, num_outputs))
    return Lambda2(layers)


class Lambda2(nn.Module):
    """Takes features and extra columns as a head must, and uses the first."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features, extra):
        return self.layers(features)


def frozen_head(shape, num_outputs, config, num_extra=0):
    return heads.linear(shape, num_outputs, config, num_extra).requires_grad_(False)


def half_softmax(logits, targets):
    powers = logits.half().exp()
    return -(targets * (powers / powers.sum(dim=1, keepdim=True)).log()).sum(dim=1)


def error_rate(solution, submission):
    return float((solution.iloc[:, 0] != submission.iloc[:, 0]).mean())


def digits(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(colour=[str(i % 10) for i in range(len(table))])


def faint_pictures(patch) -> None:
    """Colours that noise all but hides: a task that no rate solves in some steps."""
    rng = np.random.default_rng(0)
    for path in Path("inputs/tiny/train").glob("*.png"):
        pixels = (
            128 + 0.02 * (np.asarray(Image.open(path), dtype=float) - 128) + rng.normal(0, 40, (24, 24, 3))
        )
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def same_pictures(patch) -> None:
    first = Path("inputs/tiny/train/tr000.png").read_bytes()
    for i in range(0, 36, 2):
        Path(f"inputs/tiny/train/tr{i:03}.png").write_bytes(first)


TRAIN, SAMPLE = "inputs/tiny/train.csv", "inputs/tiny/sample_submission.csv"
FOLDS = "runs/tiny-run/folds.csv"
FAULTS = [
    # folds, labels, metric
    Fault(
        "folds cut in the order in which the files are listed",
        "src/data/folds.py",
        "folds",
        "sort by id",
        function(
            folds,
            "assign",
            lambda _: (
                lambda table, config, **how: pd.Series(
                    np.arange(len(table)) // 3 % 3, table.index, name="fold"
                )
            ),
        ),
    ),
    Fault(
        "held-out images drawn with replacement",
        "folds.csv",
        "folds",
        "writes it again",
        csv(FOLDS, lambda t: pd.concat([t.iloc[1:], t.iloc[5:6]])),
        after_split=True,
    ),
    Fault(
        "labels corrected after the split",
        "train.csv",
        "folds",
        "make split FORCE=1",
        csv(TRAIN, lambda t: t.assign(colour=["red", *t["colour"][1:]])),
        after_split=True,
    ),
    Fault(
        "the class list built from the rows at hand, per split",
        "src/competition/tasks.py",
        "labels",
        "once, as competition.classes",
        choice(
            TASKS,
            TASKS["multiclass"]._replace(
                encode=lambda t, c: np.eye(3, dtype=np.float32)[pd.factorize(t["colour"])[0]]
            ),
            "multiclass",
        ),
    ),
    Fault(
        "columns of the sample in another order, filled by position",
        "src/competitions.py",
        "labels",
        "join by name",
        several(
            csv(SAMPLE, lambda t: t[["id"]].assign(red="0.3", green="0.3", blue="0.4")),
            choice(ANSWERS, lambda by_row, c: by_row, "probabilities"),
        ),
    ),
    Fault(
        "the sample wants codes, train has names",
        "sample_submission.csv",
        "labels",
        "other names or codes",
        csv(SAMPLE, lambda t: t.assign(colour="3")),
        level="warn",
    ),
    Fault(
        "F1 of the last batch only",
        "src/competition/metrics.py",
        "metric",
        "all rows",
        choice(
            metrics.METRICS,
            lambda s, g, real=metrics.METRICS["macro_f1"]: real(s.tail(8), g.tail(8)),
            "macro_f1",
        ),
    ),
    Fault(
        "accuracy under the name of macro F1",
        "src/competition/metrics.py",
        "metric",
        "what its name says",
        choice(metrics.METRICS, metrics.accuracy, "macro_f1"),
    ),
    Fault(
        "a pasted metric for which lower is better, not stated",
        "src/competitions.py",
        "metric",
        "lower_is_better=True",
        choice(COMPETITIONS, lambda: Competition(metric=error_rate), "tiny"),
    ),
    # loaders
    Fault(
        "every fold is validated on the first fold's images",
        "src/data/batches.py",
        "validation",
        "shared between folds",
        function(batches.Batches, "evaluation", first_folds_images),
    ),
    Fault(
        "the validation loader drops its last batch",
        "src/data/batches.py",
        "validation",
        "no drop_last",
        function(
            batches,
            "in_parts",
            lambda real: (
                lambda positions, size, **how: [p for p in real(positions, size, **how) if len(p) == size]
            ),
        ),
        "batch_size=5",
    ),
    Fault(
        "early stopping counts on from the fold before",
        "src/training/early_stopping.py",
        "stopping",
        "inside the fold",
        function(EarlyStopping, "__init__", shared_patience),
        "patience=2",
    ),
    Fault(
        "mixup mixes pictures, not labels",
        "src/training/mix.py",
        "mixup",
        "mix the targets",
        function(
            loop,
            "mix",
            lambda real: (
                lambda image, target, weight, config: (real(image, target, weight, config)[0], target, weight)
            ),
        ),
        "mixup=0.4",
    ),
    # heads and backbones of one's own
    Fault(
        "view(-1, n) changes the batch size",
        "src/model/heads.py",
        "shapes",
        "x.flatten(1)",
        head(lambda n, c: Lambda(lambda x: x.view(-1, n // 2)), lambda n, c: nn.Linear(n // 2, c)),
        "head=mine",
    ),
    Fault(
        "Flatten forgotten between a convolution and a Linear",
        "src/model/heads.py",
        "shapes",
        "insert nn.Flatten()",
        choice(heads.HEADS, no_flatten),
        "head=mine pool_type=none",
    ),
    Fault(
        "a Linear with the wrong in_features",
        "src/model/heads.py",
        "shapes",
        "in_features=",
        head(lambda n, c: nn.Linear(n + 1, c)),
        "head=mine",
    ),
    Fault(
        "a head with one class too many",
        "src/model/heads.py",
        "shapes",
        "it must give (2, 3)",
        head(lambda n, c: nn.Linear(n, c + 1)),
        "head=mine",
    ),
    Fault(
        "softmax over the batch in place of the classes",
        "src/model/heads.py",
        "shapes",
        "dim=1",
        head(linear, lambda n, c: nn.Softmax(dim=0)),
        "head=mine",
    ),
    Fault(
        "softmax at the end of the head",
        "src/model/heads.py",
        "logits",
        "remove the softmax",
        head(linear, lambda n, c: nn.Softmax(dim=1)),
        "head=mine",
    ),
    Fault(
        "sigmoid at the end of the head",
        "src/model/heads.py",
        "logits",
        "remove the sigmoid",
        head(linear, lambda n, c: nn.Sigmoid()),
        "head=mine",
    ),
    Fault(
        "the head frozen too: nothing learns",
        "src/model/heads.py",
        "learns",
        "requires_grad=True",
        choice(heads.HEADS, frozen_head),
        "head=mine trainable=head",
    ),
    Fault(
        "a layer behind a detach()",
        "src/model/heads.py",
        "gradients",
        "a detach()",
        head(Detached),
        "head=mine",
    ),
    Fault(
        "a factor of 0 before a layer",
        "src/model/heads.py",
        "gradients",
        "a factor of 0",
        head(
            lambda n, c: nn.Linear(n, 8), lambda n, c: Lambda(lambda x: 0 * x), lambda n, c: nn.Linear(8, c)
        ),
        "head=mine",
        level="warn",
    ),
    Fault(
        "a branch that forward does not use",
        "src/model/backbone.py",
        "gradients",
        "forward does not use it",
        choice(backbone.BACKBONES, lambda config: Branches()),
        "backbone=mine trainable=all",
    ),
    Fault(
        "only a branch that forward does not use shall learn",
        "src/model/backbone.py",
        "shapes",
        "forward does not use",
        choice(backbone.BACKBONES, lambda config: Branches()),
        "backbone=mine trainable=aux",
    ),
    # what learns
    Fault(
        "a misspelt requires_grad freezes nothing",
        "src/model/trainable.py",
        "learns",
        "requires_grad_(False)",
        function(classifier, "set_trainable", lambda _: require_grad),
    ),
    Fault(
        "train() wakes frozen BatchNorm statistics",
        "src/model/classifier.py",
        "moves",
        "back to eval()",
        function(classifier.Classifier, "train", lambda _: nn.Module.train),
    ),
    Fault(
        "layers that learn, missing from the optimizer",
        "src/training/optim.py",
        "learns",
        "into one group",
        function(
            optim,
            "parameter_groups",
            lambda real: lambda learning, config: [g for g in real(learning, config) if g["is_head"]],
        ),
    ),
    Fault(
        "pretrained weights asked for, not loaded",
        "src/model/backbone.py",
        "weights",
        "load_state_dict must take every name",
        several(
            give_weights,
            function(
                backbone,
                "from_timm",
                lambda real: lambda config, *name: real(replace(config, pretrained=False), *name),
            ),
        ),
        "pretrained=true image_size=64",
    ),
    Fault(
        "a random network, frozen",
        "SET",
        "weights",
        "pretrained=true",
        lambda patch: None,
        "trainable=head",
        level="warn",
    ),
    Fault(
        "mean and std of another backbone",
        "src/model/backbone.py",
        "normalise",
        "read them",
        function(classifier, "normalisation", lambda _: lambda backbone_: (backbone.MEAN, backbone.STD)),
    ),
    Fault(
        "pictures far smaller than in pretraining",
        "SET",
        "size",
        "image_size near 160",
        give_weights,
        "pretrained=true",
        level="warn",
    ),
    # loss and rate
    Fault(
        "sigmoid before binary cross entropy",
        "src/training/losses.py",
        "loss",
        "no softmax or sigmoid",
        choice(losses.LOSSES, lambda z, t: losses.binary_cross_entropy(z.sigmoid(), t)),
        "loss=mine",
    ),
    Fault(
        "softmax before cross entropy",
        "src/training/losses.py",
        "loss",
        "no softmax or sigmoid",
        choice(losses.LOSSES, lambda z, t: losses.cross_entropy(z.softmax(dim=1), t)),
        "loss=mine",
    ),
    Fault(
        "a loss that overflows in half precision",
        "src/training/losses.py",
        "loss",
        "stay in float32",
        choice(losses.LOSSES, half_softmax),
        "loss=mine",
    ),
    Fault(
        "a loss that returns the batch's mean",
        "src/training/losses.py",
        "loss",
        "one value per image",
        choice(losses.LOSSES, lambda z, t: losses.cross_entropy(z, t).mean()),
        "loss=mine",
    ),
    Fault(
        "a loss with the wrong sign",
        "src/training/losses.py",
        "loss",
        "a minus",
        choice(losses.LOSSES, lambda z, t: -losses.cross_entropy(z, t)),
        "loss=mine",
    ),
    Fault(
        "features a thousand times too large for the head",
        "src/model/heads.py",
        "first loss",
        "far too large",
        head(lambda n, c: Lambda(lambda x: 1000 * x), linear),
        "head=mine",
    ),
    Fault(
        "a rate a thousand times too high",
        "SET",
        "overfit",
        "the rate is to blame",
        lambda patch: None,
        "trainable=all lr=1 body_lr=1",
    ),
    Fault(
        "the same, seen in the range test",
        "SET",
        "rate",
        "and body_lr in proportion",
        faint_pictures,
        "trainable=all lr=1 body_lr=1",
    ),
    Fault(
        "a rate a thousand times too low",
        "SET",
        "overfit",
        "the rate is to blame",
        lambda patch: None,
        "lr=2e-6 body_lr=5e-7",
    ),
    Fault(
        "the same picture with several labels",
        "train.csv",
        "overfit",
        "the labels are to blame",
        same_pictures,
        "dedupe=none",
    ),
    Fault(
        "a frozen backbone that is blind to these pictures",
        "src/model/backbone.py",
        "overfit",
        "the frozen layers are to blame",
        choice(backbone.BACKBONES, lambda config: Blind()),
        "backbone=mine trainable=head",
    ),
    # pictures and time
    Fault(
        "labels joined to other images",
        "train.csv",
        "signal",
        "labels may belong to other images",
        csv(TRAIN, lambda t: t.assign(colour=t["colour"].sample(frac=1, random_state=0).to_numpy())),
        level="warn",
    ),
    Fault(
        "an augmentation that leaves nothing of the picture",
        "src/data/augment.py",
        "augment",
        "a weaker one",
        choice(augment.AUGMENTS, lambda size, flips: augment.PerImage(torch.zeros_like)),
        "augment=mine views=0",
    ),
    Fault(
        "an augmentation that returns floats",
        "src/data/augment.py",
        "augment",
        "return uint8",
        choice(augment.AUGMENTS, lambda size, flips: lambda images, draws: images / 255),
        "augment=mine views=0",
    ),
    Fault(
        "an augmentation that the cached trunk never shows",
        "SET",
        "augment",
        "views=4",
        lambda patch: None,
        "augment=light views=1",
        level="warn",
    ),
    Fault("mirrored digits", "SET", "flips", "flips=auto", csv(TRAIN, digits), "flips=h limit=0 folds=2"),
    Fault(
        "draws from numpy's generator",
        "src/data/augment.py",
        "workers",
        "torch's generator",
        choice(
            augment.AUGMENTS,
            lambda size, flips: augment.PerImage(lambda image: image.roll(np.random.randint(24), -1)),
        ),
        "augment=mine views=0",
    ),
    Fault(
        "more hours than the session has",
        "MACHINE",
        "budget",
        "it will stop and save before",
        lambda patch: None,
        machine="wandb=off workers=0 device=cpu max_hours=0.00001",
        level="warn",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_a_planted_fault_is_caught_by_its_check(bench, monkeypatch, fault):
    if not fault.after_split:
        fault.plant(monkeypatch)
    paths = bench.configure(fast(fault.settings), machine=fault.machine)
    bench.stage("split", paths)
    if fault.after_split:
        fault.plant(monkeypatch)
    checks = {fault.check: FULL[fault.check]} if fault.check not in NEEDED else {}
    found = {finding.check: finding for finding in examine(open_run(paths), checks)}
    assert fault.check in found, f"another check failed: {found}"
    finding = found[fault.check]
    assert finding.level == fault.level and fault.fix in f"{finding.seen} {finding.change}", finding


CLEAN = [
    "",
    "trainable=head",
    "trainable=all views=0 augment=strong",
    "augment=light views=3 mixup=0.3 cutmix=0.5 patience=2 ema=0.9 class_weights=balanced",
    "backbone=branch_cnn trainable=all label_smoothing=0.1 loss=focal",
    "head=mlp drop_rate=0.3 optimizer=adamw sampler=balanced head_epochs=1",
]


@pytest.mark.parametrize("settings", CLEAN)
def test_a_clean_recipe_fails_no_check(bench, settings):
    paths = bench.configure(fast(settings))
    bench.stage("split", paths)
    findings = list(examine(open_run(paths), FULL))
    assert [finding.check for finding in findings] == list(NEEDED | FULL)
    assert [finding for finding in findings if finding.level == "FAIL"] == []
    # no pretrained weights in the tests: that a frozen part is then random is worth a warning
    assert [finding for finding in findings if finding.level == "warn" and finding.check != "weights"] == []


def test_with_pretrained_weights_nothing_is_warned_of(bench, monkeypatch):
    give_weights(monkeypatch)
    paths = bench.configure(fast("pretrained=true image_size=64"))
    bench.stage("split", paths)
    findings = list(examine(open_run(paths), FULL))
    assert [finding for finding in findings if finding.level != "pass"] == []
    assert (paths.root / "doctor" / "augment.png").exists() and (paths.root / "doctor" / "rate.png").exists()


def test_the_faults_have_names_of_their_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
    assert {fault.check for fault in FAULTS} >= set(FULL) - {"constant"}, (
        "each check has a fault that it alone shall catch"
    )
