"""The peers: a plain timm loop as most competition code has it, and the same task given to Lightning or
fastai. Images are decoded in each epoch, the whole model runs in each step.

Run: python -m src.extras.bench.peer runs/<name> --epochs 1 --by plain

Trains fold 0 of the run's folds.csv and predicts the test images; the last line is JSON. What is frozen stays
in eval without gradients, as in any such loop. Images, size, batch, weights and what learns are the kit's.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

BEGAN = time.perf_counter()
import pandas as pd
import timm
import torch
import torch.nn.functional as F
from adamp import AdamP
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from src import competitions, config
from src.competition import tables
from src.run import configure
from src.run.paths import RunPaths


class Photos(Dataset):
    """Image files as normalised tensors (3, size, size), and their labels."""

    def __init__(self, files: list[Path], labels: list[int], size: int, mean: tuple, std: tuple) -> None:
        self.files, self.labels = files, labels
        resize = transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC)
        self.transform = transforms.Compose([resize, transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.open(self.files[i]).convert("RGB")), self.labels[i]


def make_model(settings: config.Settings, num_classes: int) -> torch.nn.Module:
    """timm's model with a new classifier, frozen except for `trainable`: head, all, beginnings of names."""
    backbone, options = settings.config.backbone, {}
    if settings.config.pretrained:
        options = {"pretrained_cfg_overlay": {"file": f"weights/{backbone}/model.safetensors"}}
    model = timm.create_model(
        backbone, pretrained=settings.config.pretrained, num_classes=num_classes, **options
    )
    trainable = settings.config.trainable
    learning = trainable if isinstance(trainable, tuple) else (str(trainable),)
    classifier = {id(p) for p in model.get_classifier().parameters()}
    for name, parameter in model.named_parameters():
        is_head = id(parameter) in classifier
        parameter.requires_grad_("all" in learning or is_head or name.startswith(learning))
    return model


def learn_mode(model: torch.nn.Module) -> None:
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


@torch.inference_mode()
def predict(model: torch.nn.Module, batches: Iterable) -> tuple[Tensor, Tensor]:
    model.eval()
    probs, labels = zip(*[(model(image).softmax(1), label) for image, label in batches])
    return torch.cat(probs), torch.cat(labels)


class Task(NamedTuple):
    model: torch.nn.Module
    train: DataLoader
    valid: DataLoader
    unseen: DataLoader
    epochs: int
    lr: float

    def optimizer(self) -> AdamP:
        return AdamP([p for p in self.model.parameters() if p.requires_grad], lr=self.lr, weight_decay=0.01)


class EpochTimer:
    """When each epoch began, when its training part and when the whole ended."""

    def __init__(self) -> None:
        self.began, self.training, self.whole = 0.0, [], []

    def begin(self) -> None:
        self.began = time.perf_counter()

    def trained(self) -> None:
        self.training.append(time.perf_counter() - self.began)

    def end(self) -> None:
        self.whole.append(time.perf_counter() - self.began)


def plain(task: Task, timer: EpochTimer) -> Callable[[Iterable], tuple[Tensor, Tensor]]:
    """Train, clocked by epoch; returns what predicts, as the two below do."""
    optimizer = task.optimizer()
    for _ in range(task.epochs):
        timer.begin()
        learn_mode(task.model)
        for image, label in task.train:
            loss = F.cross_entropy(task.model(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        timer.trained()
        predict(task.model, task.valid)
        timer.end()
    return partial(predict, task.model)


def with_lightning(task: Task, timer: EpochTimer) -> Callable[[Iterable], tuple[Tensor, Tensor]]:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model

        def configure_optimizers(self) -> AdamP:
            return task.optimizer()

        def training_step(self, batch: list[Tensor], number: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch: list[Tensor], number: int) -> None:
            self.model(batch[0])

        def predict_step(self, batch: list[Tensor], number: int) -> tuple[Tensor, Tensor]:
            return self.model(batch[0]).softmax(1), batch[1]

        def on_train_epoch_start(self) -> None:
            learn_mode(self.model)
            timer.begin()

        def on_validation_epoch_start(self) -> None:
            timer.trained()

        def on_train_epoch_end(self) -> None:
            timer.end()

    module = Module()
    trainer = lightning.Trainer(
        max_epochs=task.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, task.train, task.valid)

    def predicted(batches: Iterable) -> tuple[Tensor, Tensor]:
        probs, labels = zip(*trainer.predict(module, batches))
        return torch.cat(probs), torch.cat(labels)

    return predicted


def with_fastai(task: Task, timer: EpochTimer) -> Callable[[Iterable], tuple[Tensor, Tensor]]:
    import fastai.callback.progress  # noqa: F401     # or a Learner has no no_bar
    from fastai import learner, optimizer
    from fastai.callback.core import Callback
    from fastai.data.core import DataLoaders

    class Watch(Callback):
        def before_train(self) -> None:
            learn_mode(task.model)
            timer.begin()

        def after_train(self) -> None:
            timer.trained()

        def after_epoch(self) -> None:
            timer.end()

    def wrapped(params: object, **options: object) -> object:
        return optimizer.OptimWrapper(opt=task.optimizer())

    data, loss = DataLoaders(task.train, task.valid, device=torch.device("cpu")), torch.nn.CrossEntropyLoss()
    trainer = learner.Learner(data, task.model, loss_func=loss, cbs=[Watch()], opt_func=wrapped)
    with trainer.no_bar(), trainer.no_logging():
        trainer.fit(task.epochs, lr=task.lr)
    trainer.remove_cb(Watch)

    def predicted(batches: Iterable) -> tuple[Tensor, Tensor]:
        with trainer.no_bar(), trainer.no_logging():
            logits, labels = trainer.get_preds(dl=batches)
        return logits.softmax(1), labels

    return predicted


KINDS = {"plain": plain, "lightning": with_lightning, "fastai": with_fastai}


def pass_once(task: Task) -> dict:
    """Pass each image through the network once, as fast as a loop can: no training can do with less."""
    model = task.model.to(memory_format=torch.channels_last)
    began = time.perf_counter()
    for loader in (task.train, task.valid, task.unseen):
        predict(model, ((image.contiguous(memory_format=torch.channels_last), y) for image, y in loader))
    return {"once": time.perf_counter() - began}


def make_task(settings: config.Settings, folds: Path, epochs: int) -> Task:
    """Fold 0 of folds.csv, and the test images."""
    competition, table = competitions.load(settings.comp, settings.inputs), tables.read_folds(folds)
    classes = {name: number for number, name in enumerate(competition.classes)}
    column, size, batch_size = competition.targets[0], settings.config.image_size, settings.config.batch_size
    torch.manual_seed(0)
    model = make_model(settings, len(classes))
    mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]

    def loader(part: pd.DataFrame, *, shuffle: bool = False) -> DataLoader:
        labels = part[column].map(classes).tolist() if column in part else [0] * len(part)
        files = [settings.folder / path for path in part["path"]]
        photos = Photos(files, labels, size, mean, std)
        return DataLoader(photos, batch_size, shuffle=shuffle, num_workers=2, persistent_workers=True)

    return Task(
        model,
        train=loader(table[table["fold"] != 0], shuffle=True),
        valid=loader(table[table["fold"] == 0]),
        unseen=loader(tables.make_test(settings.folder, competition)),
        epochs=epochs,
        lr=float(settings.config.lr),
    )


def run(task: Task, kind: str) -> dict:
    """Train by a loop of this kind; the seconds of each epoch and of the test images."""
    timer = EpochTimer()
    predicted = KINDS[kind](task, timer)
    probs, labels = predicted(task.valid)
    began = time.perf_counter()
    predicted(task.unseen)
    seconds = time.perf_counter() - began
    accuracy = (probs.argmax(1) == labels).float().mean().item()
    epochs = {"steps": len(task.train), "training": timer.training, "epoch": timer.whole}
    return epochs | {"test": seconds, "accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--by", choices=[*KINDS, "once"], default="plain")
    options = parser.parse_args()
    paths = RunPaths(options.run)
    task = make_task(configure.load(paths.config), paths.folds, options.epochs)
    result = {"start": time.perf_counter() - BEGAN}
    result |= pass_once(task) if options.by == "once" else run(task, options.by)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
