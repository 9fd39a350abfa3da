"""Another engine than torch for the frozen trunk: asked for by name, compared with torch, never needed."""

import sys
from types import SimpleNamespace

import pytest
import torch

from src import config
from src.model import engines
from src.model.classifier import build
from src.run import configure, reuse
from src.run.files import read_json

HEAD = "backbone=test_resnet pretrained=false trainable=head image_size=32 epochs=2 folds=2 batch_size=8 views=1 augment=none"
MACHINE = "wandb=off workers=0 device=cpu engine={}"


@pytest.fixture
def stub(monkeypatch):
    """An engine that is torch with an error added, and what it was asked to compile."""
    asked = []

    def compile(module, example):
        asked.append(tuple(example.shape))
        return lambda image: module(image) * (1 + engine.error)

    engine = SimpleNamespace(NAME="openvino 0", compile=compile, asked=asked, error=1e-5)
    monkeypatch.setitem(sys.modules, "src.model.engine_openvino", engine)
    return engine


def train(bench, engine: str, name: str = "tiny-run"):
    paths = bench.configure(HEAD, name, machine=MACHINE.format(engine))
    bench.stage("split", paths)
    bench.stage("train", paths)
    return paths


def caches(bench) -> list[str]:
    return sorted(
        path.name.rsplit("-", 1)[0] for path in (bench.folder / "runs/.cache/tiny").glob("trunk-*.npy")
    )


def test_an_engine_that_is_there_runs_the_trunk_once_and_is_named_in_score_json(bench, stub):
    paths = train(bench, "auto")
    assert stub.asked == [(2, 3, 32, 32)] and caches(bench) == ["trunk-openvino-plain"]
    assert read_json(paths.score)["machine"]["engine"] == "openvino"
    reuse.retire(paths.fold(0), "x")
    bench.stage("train", paths)
    # its cache is found again, nothing is compiled
    assert len(stub.asked) == 1
    # taken over: the recipe is the same
    assert read_json(train(bench, "torch", "other").score)["machine"]["engine"] == "openvino"
    assert caches(bench) == ["trunk-openvino-plain"]


@pytest.mark.parametrize("fault", ["differs", "raises"])
def test_an_engine_that_errs_is_told_of_and_torch_runs_the_trunk(bench, stub, capsys, fault):
    stub.error = 1e-4
    if fault == "raises":
        stub.compile = lambda module, example: 1 / 0
    paths = train(bench, "auto")
    assert (
        "the trunk runs on torch, openvino 0 "
        + {"differs": "differs by 1.0e-04", "raises": "cannot: ZeroDivisionError"}[fault]
        in capsys.readouterr().out
    )
    assert caches(bench) == ["trunk-torch-plain"] and read_json(paths.score)["machine"]["engine"] == "torch"


def test_torch_is_asked_for_or_the_only_one(bench, stub, monkeypatch):
    assert read_json(train(bench, "torch").score)["machine"]["engine"] == "torch" and not stub.asked
    # as if it were deleted, or openvino not installed
    monkeypatch.setitem(sys.modules, "src.model.engine_openvino", None)
    paths = bench.configure(HEAD, "no-engine", machine=MACHINE.format("auto"))
    settings, accelerator = (
        configure.load(paths.config),
        SimpleNamespace(device=torch.device("cpu"), mixed_precision="no"),
    )
    assert engines.find_engine(settings.machine, accelerator) is None
    settings = configure.load(bench.configure(HEAD, "asked", machine=MACHINE.format("openvino")).config)
    with pytest.raises(ValueError, match="pip install -r requirements-cpu.txt"):
        engines.find_engine(settings.machine, accelerator)
    accelerator.device = torch.device("cuda")
    assert engines.find_engine(settings.machine, accelerator) is None


@pytest.mark.parametrize(
    "backbone, trainable, size",
    [("test_resnet", 1, 32), ("test_vit", "head", 160), ("test_convnext", "head", 64)],
)
def test_openvino_is_close_to_torch_and_gives_the_same_bits_whatever_the_batch(backbone, trainable, size):
    pytest.importorskip("openvino")
    from src.model import engine_openvino

    model = build(
        config.resolve(
            config.Config(backbone=backbone, pretrained=False, trainable=trainable, image_size=size)
        ),
        3,
    )
    images = torch.randint(0, 256, (7, 3, size, size), dtype=torch.uint8)
    one, two = (engines.compile_proven(engine_openvino, model, images[:2]) for _ in range(2))
    expected = model.features(images)
    assert (one(images) - expected).abs().max() <= engines.TOLERANCE * expected.abs().max()
    assert torch.equal(one(images), two(images)) and torch.equal(one(images[:3]), one(images)[:3])
