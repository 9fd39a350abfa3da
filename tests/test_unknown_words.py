"""A word that no table of choices has: the message names the choices, and the file to add one's own in."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import fast, open_run

from src import competitions
from src.competition.inference import check as inference_check
from src.config import Config, resolve
from src.model.classifier import build
from src.run import configure
from src.train import check_names
from src.training.optim import make_optimizer

ROOT = Path(__file__).resolve().parent.parent
AT_THE_JOB = {
    "loss": "src/training/losses.py",
    "schedule": "src/training/schedules.py",
    "sampler": "src/data/batches.py",
    "augment": "src/data/augment.py",
    "tta": "src/data/augment.py",
    "decode": "src/competition/decoders.py",
}


def test_each_unknown_word_of_the_settings_names_its_file(bench):
    paths = bench.configure(fast(""))
    bench.stage("split", paths)
    settings = configure.load(paths.config)
    for setting, file in AT_THE_JOB.items():
        word = ("nothing",) if setting == "tta" else "nothing"
        changed = replace(settings, config=replace(settings.config, **{setting: word}))
        check(file, check_names, replace(open_run(paths), settings=changed))
    paths = bench.configure(fast("fold_scheme=nothing"), "other")
    check("src/data/folds.py", bench.stage, "split", paths)


@pytest.mark.parametrize(
    "setting, file", [("head", "src/model/heads.py"), ("backbone", "src/model/backbone.py")]
)
def test_an_unknown_word_of_the_model_names_its_file(setting, file):
    tiny = Config(**{"backbone": "test_resnet", "pretrained": False, "image_size": 32} | {setting: "nothing"})
    check(file, build, resolve(tiny), 3)


def test_an_unknown_optimizer_or_metric_names_its_file(bench):
    check("src/training/optim.py", make_optimizer, [], resolve(Config(optimizer="nothing")))
    known = competitions.load("tiny", bench.inputs.parent)
    check("src/competition/metrics.py", inference_check.check, replace(known, metric="nothing"))
    check("src/competition/tasks.py", inference_check.check, replace(known, task="nothing"))


def check(file, call, *args) -> None:
    with pytest.raises(ValueError, match=f"'?nothing'?.*{file}") as caught:
        call(*args)
    assert "\n" not in str(caught.value) and (ROOT / file).exists()
