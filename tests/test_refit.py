"""Models of all images: trained after cross-validation by the same recipe, each with its own seed; they
predict the test images, nothing else changes.
"""

import numpy as np
import pandas as pd
import pytest
from conftest import FAST, fast, open_run
from safetensors.torch import load_file

from src.data.batches import SAMPLERS
from src.extras import verify
from src.run import predictions, reuse
from src.run.clock import Clock
from src.run.errors import Stopped
from src.run.files import read_json, write_json
from src.run.paths import REFIT

HERE = "wandb=off workers=0 device=cpu save_minutes=0"


def test_the_refit_models_learn_from_all_images_and_predict_in_the_folds_place(bench, monkeypatch, capsys):
    plain, sizes = bench.run(FAST, "plain"), []
    monkeypatch.setitem(
        SAMPLERS, "shuffle", lambda table, epoch, rng: sizes.append(len(table)) or rng.permutation(len(table))
    )
    capsys.readouterr()
    paths = bench.run(fast("refit=2 tta=hflip"), "refit")
    assert set(sizes) == {36}, "the folds are taken over, and a refit sees every image"
    models = [paths.fold(REFIT), paths.fold(REFIT - 1)]
    files = ["done.json", "log.jsonl", "model.safetensors", "test.json", "test.parquet"]
    assert [sorted(file.name for file in model.root.iterdir()) for model in models] == [files, files]
    assert [read_json(model.done)["settings"]["seed"] for model in models] == [0, 1] and models[
        0
    ].model.read_bytes() != models[1].model.read_bytes()
    mean = predictions.mean(predictions.read(model.test) for model in models)
    test, by_folds = predictions.read(paths.test), predictions.read(plain.test)
    assert test.equals(mean.loc[test.index]) and not test.equals(by_folds)
    note = read_json(bench.folder / "submissions/refit.json")
    assert note["refit"].startswith(
        "2 models of all images; the OOF score is of the fold models, which saw 67%"
    )
    assert (
        predictions.read(paths.oof).equals(predictions.read(plain.oof))
        and note["oof"] == read_json(paths.tta)["oof"]
    )
    assert read_json(paths.score)["recipe"] == read_json(plain.score)["recipe"]
    printed = capsys.readouterr().out
    assert (
        "refit 1  epoch 2/2  loss" in printed
        and "the OOF score is of the 3 fold models, which saw 67% of the images" in printed
    )
    verify.verify(open_run(paths))

    # what is there already is taken over, with what it has predicted if that is the same
    bench.run(fast("refit=1"), "less")
    assert (
        "refit 0: the same recipe as in run refit, taken over" in (said := capsys.readouterr().out)
        and "epoch 1" not in said
    )
    bench.run(fast("refit=0"), "refit")  # and back again
    assert predictions.read(paths.test).equals(by_folds)


def test_a_stopped_refit_goes_on_to_the_same_bytes(bench, monkeypatch, capsys):
    def products(paths):
        first, second = paths.fold(REFIT), paths.fold(REFIT - 1)
        return [file.read_bytes() for file in (first.model, second.model, first.log, second.log, paths.test)]

    settings = "refit=2 ema=0.8 views=3 augment=light drop_rate=0.3 folds=2"
    whole = bench.run(fast(settings), "whole")
    expected = products(whole)
    whole.root.rename("elsewhere")
    paths = bench.configure(fast(settings), "broken", machine=HERE)
    bench.stage("split", paths)
    capsys.readouterr()
    for begun in ("refit0/state/00001*.json", "refit1/state/*"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(Stopped, match=f"refit {begun[5]} is saved after"),
        ):
            patch.setattr(
                Clock,
                "why_stop",
                lambda clock, begun=begun: "max_hours" if list(paths.root.glob(begun)) else "",
            )
            bench.stage("train", paths)
    bench.stage("train", paths)
    bench.stage("predict", paths)
    assert products(paths) == expected
    assert capsys.readouterr().out.count("goes on after") == 2 and not list(paths.root.glob("*.lock"))
    before = {file: file.stat().st_mtime_ns for file in paths.root.glob("refit*/*")}
    bench.stage("train", paths)
    bench.stage("predict", paths)
    assert before == {file: file.stat().st_mtime_ns for file in paths.root.glob("refit*/*")}


def test_a_refit_of_another_recipe_or_code_is_kept_aside_and_early_stopping_is_refused(
    bench, monkeypatch, capsys
):
    paths = bench.run(fast("refit=1 folds=2 epochs=1"))
    recipe = read_json(paths.fold(REFIT).done)["recipe"]
    bench.run(fast("refit=1 folds=2 epochs=1 lr=0.5"))
    assert (
        "refit 0 was trained with lr=" in capsys.readouterr().out
        and (paths.old / recipe / "refit0/done.json").exists()
    )
    done = read_json(paths.fold(REFIT).done)
    write_json(done | {"settings": done["settings"] | {"lr": 0.25}}, paths.fold(REFIT).done)
    with pytest.raises(ValueError, match="refit 0 of .* was trained with lr=0.25, now 0.5: make train"):
        bench.stage("predict", paths)
    write_json(done | {"code": {"src/competition/tasks.py": "0"}}, paths.fold(REFIT).done)
    reuse.retire_changed(paths)
    assert (
        "src/competition/tasks.py changed; refit 0 is kept in" in capsys.readouterr().out
        and paths.finished()
        == [
            0,
            1,
        ]
    )
    bench.configure(fast("refit=1 patience=2"))
    with pytest.raises(ValueError, match="with nothing held out, patience=2 can't say when to stop"):
        bench.stage("train", paths)


def test_a_refit_begins_with_a_fold_of_the_run_that_init_from_names_and_its_unit_is_of_all_images(bench):
    table = pd.read_csv("inputs/tiny/train.csv")
    numbers = table["colour"].map({"blue": 1000.0, "green": 1500.0, "red": 2000.0}) + np.arange(len(table))
    table.assign(colour=numbers).to_csv("inputs/tiny/train.csv", index=False)
    pd.read_csv("inputs/tiny/sample_submission.csv").assign(colour=0.5).to_csv(
        "inputs/tiny/sample_submission.csv", index=False
    )
    bench.run(fast("trainable=head epochs=2"), "first")
    paths = bench.run(fast("trainable=head epochs=3 refit=1 init_from=first"))
    assert load_file(paths.fold(REFIT).model)["unit"].flatten().tolist() == pytest.approx(
        [numbers.mean(), numbers.std(ddof=0)], rel=1e-5
    )
    assert predictions.read(paths.test)["colour"].between(900, 2200).all()
