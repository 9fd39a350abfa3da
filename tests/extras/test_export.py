"""A run as an ONNX file and as a timm folder: both say what the kit's own models say."""

import json

import numpy as np
import pytest
import timm
import torch
from conftest import fast, make_competition, open_run
from huggingface_hub import ModelCard

from src.__main__ import main
from src.data.run import at_test_size
from src.extras import card, export
from src.model.classifier import build
from src.run import predictions
from src.run.files import read_json


@pytest.mark.slow  # torch traces the model twice
@pytest.mark.parametrize("settings", ["trainable=1", "trainable=all head=mlp"])
def test_the_onnx_file_says_what_the_run_predicts_in_batches_of_any_size(bench, capsys, settings):
    onnxruntime = pytest.importorskip("onnxruntime")
    make_competition(bench.inputs, num_test=30)
    (bench.inputs / "test/te007.png").write_bytes(b"no picture")
    paths = bench.run(fast(f"{settings} epochs=1"))
    assert main(["export", "runs/tiny-run"]) == 0
    assert "on 29 test images" in capsys.readouterr().out
    note = read_json(paths.root / "export/model.json")
    assert note["outputs"] == ["blue", "green", "red"] and note["difference"] <= export.TOLERANCE
    session = onnxruntime.InferenceSession(str(paths.root / "export/model.onnx"))
    images = export.real_images(open_run(paths), 30)
    (output,) = session.run(None, {"image": images[:5]})
    assert np.allclose(output, predictions.read(paths.test).iloc[:5], atol=1e-4)


def test_a_file_that_differs_from_torch_is_not_kept(bench, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    paths = bench.run(fast("epochs=1"))
    monkeypatch.setattr(export, "to_onnx", lambda model, image, path: path.write_bytes(b"onnx"))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *args, **how: None)
    monkeypatch.setattr(export, "difference", lambda *args: float("nan"))
    assert main(["export", "runs/tiny-run"]) == 1
    assert "export: ONNX differs from torch by nan, above 0.0001" in capsys.readouterr().err
    assert not (paths.root / "export/model.onnx").exists()


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "bounded", "regression"])
def test_torch_activates_logits_as_the_task_does(task):
    from src.competition.tasks import TASKS

    logits, unit = torch.randn(5, 3), torch.tensor([[1.0, 2, 3], [2, 1, 4]])
    expected = TASKS[task].activation(logits.numpy(), unit.numpy())
    assert np.allclose(export.activated(logits, unit, task), expected, atol=1e-6)


def test_timm_loads_the_card_and_gives_the_logits_of_that_fold(bench, capsys):
    paths = bench.run(fast("trainable=2 resize=crop test_size=48"))
    assert main(["card", "runs/tiny-run", "--fold", "1"]) == 0
    assert "of fold 1" in capsys.readouterr().out
    folder = paths.root / "card"
    assert {path.name for path in folder.iterdir()} == {*card.FILES}
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    run = open_run(paths)
    model = build(run.config, 3)
    model.load(paths.fold(1).model)
    image = torch.from_numpy(export.real_images(at_test_size(run), 4))
    with torch.inference_mode():
        assert torch.allclose(loaded(model.normalise(image)), model(image, torch.zeros(4, 0)), atol=1e-5)
    seen = timm.data.resolve_model_data_config(loaded)
    assert (seen["input_size"], seen["crop_pct"], seen["crop_mode"]) == ((3, 48, 48), 1.0, "center")
    assert json.loads((folder / "config.json").read_text())["label_names"] == ["blue", "green", "red"]
    data = ModelCard.load(folder / "README.md").data
    assert data.library_name == "timm" and data.license and data.base_model is None, "it began at random"
    (result,) = data.eval_results
    score = read_json(paths.score)
    assert (result.metric_type, result.metric_value) == (score["metric"], round(score["folds"]["1"], 4))


def test_what_is_no_model_of_timm_is_refused(bench, capsys):
    bench.run(fast("head=mlp epochs=1"))
    assert main(["card", "runs/tiny-run"]) == 2
    assert "with head=mlp is no model of timm's: make card takes a timm backbone" in capsys.readouterr().err
    assert main(["card", "runs/tiny-run", "--fold", "7"]) == 2
    assert "has no fold 7 of images alone with a score" in capsys.readouterr().err


def test_a_card_that_differs_is_refused():
    def classifier(image, extra):
        return torch.zeros(4)

    classifier.normalise = lambda image: image
    with pytest.raises(card.CheckFailed, match="card: timm's model differs by 1.0e"):
        card.check(lambda image: torch.ones(4), classifier, 8)
