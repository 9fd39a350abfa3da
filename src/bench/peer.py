"""The peer: a plain timm loop as most competition code has it. Images are decoded in each epoch, the whole model runs in each step.

Run: python -m src.bench.peer runs/<name> --epochs 1      one fold of a run's folds.csv, and its test images; the last line is json
What is frozen stays in eval and gets no gradients, as in any such loop. Images, size, batch, weights and what learns are the kit's.
"""
import argparse
import json
import time
from pathlib import Path

BEGAN = time.perf_counter()
import timm  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from adamp import AdamP  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import transforms  # noqa: E402

from src import competitions, config  # noqa: E402
from src.data import tables  # noqa: E402
from src.runs import RunPaths  # noqa: E402


class Photos(Dataset):
    """Image files as normalised tensors (3, size, size), and their labels."""

    def __init__(self, files: list[Path], labels: list[int], size: int, mean: tuple, std: tuple) -> None:
        self.files, self.labels = files, labels
        resize = transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC)
        self.transform = transforms.Compose([resize, transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.files[i]).convert("RGB")), self.labels[i]


def make_model(settings: config.Settings, num_classes: int) -> torch.nn.Module:
    """timm's model with a new classifier; what `trainable` (head, all, beginnings of names) does not name is frozen."""
    experiment = settings.config
    facts = {"pretrained_cfg_overlay": {"file": f"weights/{experiment.backbone}/model.safetensors"}} if experiment.pretrained else {}
    model = timm.create_model(experiment.backbone, pretrained=experiment.pretrained, num_classes=num_classes, **facts)
    asked = experiment.trainable if isinstance(experiment.trainable, tuple) else (str(experiment.trainable),)
    head = [name for name, p in model.named_parameters() if any(p is q for q in model.get_classifier().parameters())]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("all" in asked or name in head or name.startswith(asked))
    return model


def learn_mode(model: torch.nn.Module) -> None:
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


@torch.inference_mode()
def predict(model: torch.nn.Module, batches: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    model.eval()
    found = [(model(image).softmax(1), label) for image, label in batches]
    return torch.cat([probs for probs, _ in found]), torch.cat([label for _, label in found])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    paths = RunPaths(given.run)
    settings = config.load(paths.config)
    competition, table = competitions.load(settings.comp, settings.inputs), tables.read_folds(paths.folds)
    classes = {name: number for number, name in enumerate(competition.classes)}
    test = competition.test_table(settings.folder)
    torch.manual_seed(0)
    model = make_model(settings, len(classes))
    mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]

    def load(part, *, shuffle: bool = False) -> DataLoader:
        labels = part[competition.targets[0]].map(classes).tolist() if competition.targets[0] in part else [0] * len(part)
        photos = Photos([settings.folder / path for path in part["path"]], labels, settings.config.image_size, mean, std)
        return DataLoader(photos, settings.config.batch_size, shuffle=shuffle, num_workers=2, persistent_workers=True)

    train, valid, unseen = load(table[table["fold"] != 0], shuffle=True), load(table[table["fold"] == 0]), load(test)
    optimizer = AdamP([p for p in model.parameters() if p.requires_grad], lr=float(settings.config.lr), weight_decay=0.01)
    training: list[float] = []
    whole: list[float] = []
    start = time.perf_counter() - BEGAN
    for _ in range(given.epochs):
        began = time.perf_counter()
        learn_mode(model)
        for image, label in train:
            loss = F.cross_entropy(model(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        training.append(time.perf_counter() - began)
        probs, labels = predict(model, valid)
        whole.append(time.perf_counter() - began)
    accuracy = (probs.argmax(1) == labels).float().mean().item()
    began = time.perf_counter()
    predict(model, unseen)
    test_seconds = time.perf_counter() - began
    told = {"start": start, "steps": len(train), "training": training, "epoch": whole, "test": test_seconds, "accuracy": accuracy}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
