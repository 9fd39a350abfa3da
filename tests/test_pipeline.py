"""The real stages on a tiny competition: exact files, invariants, and the silent bugs of the field that must be
impossible.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, fast, make_competition, open_run

from src import train
from src.competition import scoring, tables
from src.run import configure, predictions
from src.run.errors import CheckFailed
from src.run.files import file_sha, read_json, write_json
from src.training.losses import LOSSES

RUN_FILES = {
    "config.json",
    "split.json",
    "train.json",
    "predict.json",
    "submit.json",
    "competition.json",
    "folds.csv",
    "oof.parquet",
    "score.json",
    "test.parquet",
    "test.json",
    "code.diff",
}
FOLD_FILES = {
    "model.safetensors",
    "valid.parquet",
    "valid_epochs.parquet",
    "log.jsonl",
    "done.json",
    "test.parquet",
    "test.json",
}


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_from_files_to_a_checked_submission(bench, capsys):
    paths = bench.run()
    assert files(paths.root) == RUN_FILES | {f"fold{k}/{name}" for k in range(3) for name in FOLD_FILES}
    assert files(bench.folder / "submissions") == {"tiny-run.csv", "tiny-run.json", "ledger.csv"}

    folds, oof = tables.read_folds(paths.folds), predictions.read(paths.oof)
    assert sorted(oof.index) == sorted(folds["id"]) and list(oof.columns) == ["blue", "green", "red"]
    assert np.allclose(oof.sum(axis=1), 1, atol=1e-5)

    answer, sample = pd.read_csv("submissions/tiny-run.csv"), pd.read_csv("inputs/tiny/sample_submission.csv")
    assert list(answer) == list(sample) and answer["id"].tolist() == sample["id"].tolist()
    truth = [["blue", "green", "red"][i % 3] for i in range(9)]
    assert (answer["colour"] == truth).mean() > 0.5

    score = read_json(paths.score)
    assert (
        score["metric"] == "macro_f1"
        and set(score["also"]) == {"accuracy", "log_loss"}
        and len(score["epochs"]["mean"]) == 2
    )
    assert (
        score["oof"] == pytest.approx(read_json(paths.score)["oof"])
        and 0 <= score["epochs"]["per_fold_optimism"]
    )
    note = json.loads((bench.folder / "submissions" / "tiny-run.json").read_text())
    assert (
        note["oof"] == score["oof"]
        and note["fold_hash"] == score["fold_hash"]
        and note["recipe"] == score["recipe"]
    )
    printed = capsys.readouterr().out
    assert "checked against the sample" in printed and "OOF" in printed and "learning:" in printed


def csv_of(bench, paths):
    return (bench.folder / "submissions" / f"{paths.name}.csv").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        fast("augment=medium views=0 ema=0.9 mixup=0.2"),
        fast("trainable=all augment=strong"),
        fast("drop_rate=0.3 views=3 augment=light"),
    ],
)
def test_the_same_seed_gives_the_same_bytes_with_0_and_2_workers(bench, settings):
    one = bench.run(settings, "one", machine="wandb=off workers=0 device=cpu")
    shutil.rmtree("runs/.cache")
    oof, test = predictions.read(one.oof), predictions.read(one.test)
    # or the second run would take its folds over
    shutil.move("runs/one", "elsewhere")
    two = bench.run(settings, "two", machine="wandb=off workers=2 device=cpu")
    assert oof.equals(predictions.read(two.oof)) and test.equals(predictions.read(two.test))
    assert (bench.folder / "submissions/one.csv").read_bytes() == (
        bench.folder / "submissions/two.csv"
    ).read_bytes()


def test_a_skipped_cache_learns_from_the_same_views(bench):
    settings = fast("views=3 augment=light trainable=1")
    cached = predictions.read(bench.run(settings, "cached").oof)
    shutil.move("runs/cached", "elsewhere")
    whole = predictions.read(
        bench.run(settings, "whole", machine="wandb=off workers=0 device=cpu cache_gb=0").oof
    )
    # the trunk met other batch sizes: rounding, amplified by the steps
    assert np.allclose(cached.loc[whole.index], whole, atol=1e-4)


def test_a_finished_run_does_nothing_and_a_killed_one_goes_on(bench):
    paths = bench.run()
    before = {
        p: (paths.root / p).stat().st_mtime_ns
        for p in files(paths.root)
        if p.startswith("fold") and p.endswith("safetensors")
    }
    paths.fold(1).done.unlink()
    bench.stage("train", paths)
    after = {p: (paths.root / p).stat().st_mtime_ns for p in before}
    assert {p for p in before if before[p] != after[p]} == {"fold1/model.safetensors"}


def test_another_view_at_test_time_trains_nothing(bench, capsys):
    bench.run()
    capsys.readouterr()
    second = bench.run(fast("tta=hflip"), "tiny-tta")
    printed = capsys.readouterr().out
    assert "taken over" in printed and "epoch 1" not in printed
    assert read_json(second.fold(0).done)["from"] == "tiny-run"
    assert read_json(second.fold(0).test_json)["tta"] == ["hflip"]


def test_a_changed_rate_keeps_the_folds_and_the_old_run(bench):
    first = bench.run()
    kept = {p: (first.root / p).read_bytes() for p in files(first.root)}
    second = bench.run(fast("lr=3e-3"), "tiny-lr")
    assert read_json(first.score)["fold_hash"] == read_json(second.score)["fold_hash"]
    assert read_json(first.score)["recipe"] != read_json(second.score)["recipe"]
    assert kept == {p: (first.root / p).read_bytes() for p in files(first.root)}


def test_a_stale_fold_is_kept_aside(bench):
    paths = bench.run()
    recipe = read_json(paths.score)["recipe"]
    bench.run(fast("lr=3e-3"))  # the same run folder, edited
    assert (paths.old / recipe / "fold0" / "done.json").exists() and read_json(paths.score)[
        "recipe"
    ] != recipe


def test_one_fold_gives_a_score_at_once_and_a_partial_submission(bench, capsys):
    paths = bench.configure()
    (
        bench.stage("split", paths),
        bench.stage("train", paths, only=[0]),
        bench.stage("predict", paths, only=0),
        bench.stage("submit", paths, fold=0),
    )
    assert not paths.score.exists() and "macro_f1 of 1 of 3 folds: fold 0 " in capsys.readouterr().out
    assert "partial" in read_json(bench.folder / "submissions/tiny-run.fold0.json")
    assert not paths.test.exists() and not (bench.folder / "submissions/tiny-run.csv").exists()
    with pytest.raises(ValueError, match="FOLD=7"):
        bench.stage("train", paths, only=[7])


def test_some_folds_have_a_score_together_and_leave_none_of_the_whole(bench, capsys):
    paths = bench.configure(fast("epochs=1"))
    bench.stage("split", paths), bench.stage("train", paths, only=[0, 2])
    line = capsys.readouterr().out.splitlines()[-1]
    together = predictions.join(predictions.read(paths.fold(k).valid) for k in (0, 2))
    table = tables.read_folds(paths.folds)
    score = scoring.score(open_run(paths).competition, table[table["fold"].isin([0, 2])], together)
    assert line.startswith("macro_f1 of 2 of 3 folds: fold 0 ") and f"; together {score:.4f} (" in line
    assert paths.finished() == [0, 2] and not paths.score.exists()


def test_a_fold_alone_learns_what_it_learns_among_all(bench):
    settings = fast("trainable=all augment=light mixup=0.4 folds=2 epochs=1")
    alone, together = bench.configure(settings, "alone"), bench.configure(settings, "together")
    for paths in (alone, together):
        bench.stage("split", paths)
    bench.stage("train", alone, only=[0])
    alone.root.rename("elsewhere")  # or it would be taken over
    bench.stage("train", together)
    assert (bench.folder / "elsewhere/fold0/model.safetensors").read_bytes() == together.fold(
        0
    ).model.read_bytes()


def test_a_new_test_image_predicts_again_and_trains_nothing(bench, capsys):
    bench.run()
    shutil.copy("inputs/tiny/test/te000.png", "inputs/tiny/test/te999.png")
    with open("inputs/tiny/sample_submission.csv", "a") as file:
        file.write("te999,blue\n")
    capsys.readouterr()
    bench.run()
    answer = pd.read_csv("submissions/tiny-run.csv").set_index("id")["colour"]
    assert answer["te999"] == answer["te000"] and "epoch 1" not in capsys.readouterr().out


def test_a_warm_start_needs_the_same_folds(bench):
    bench.run(FAST, "small")
    bench.run(fast("init_from=small image_size=48"), "large")
    with pytest.raises(ValueError, match="other folds"):
        bench.run(fast("init_from=small fold_seed=5"), "leaky")
    with pytest.raises(ValueError, match="no finished fold"):
        bench.run(fast("init_from=nothing"), "lost")


def test_early_stopping_is_marked_optimistic_and_keeps_the_best_epoch(bench):
    paths = bench.run(fast("patience=1 epochs=4 lr=0.5 body_lr=0.5"))
    score = read_json(paths.score)
    assert score["optimistic"] is True
    for k, curve in score["epochs"]["scores"].items():
        assert score["folds"][k] == pytest.approx(max(curve))


def test_an_image_without_a_prediction_is_never_scored(bench):
    paths = bench.run()
    valid = predictions.read(paths.fold(1).valid)
    for broken in (valid.iloc[1:], pd.concat([valid, valid.iloc[:1]]), predictions.read(paths.fold(0).valid)):
        predictions.write(broken, paths.fold(1).valid)
        done = read_json(paths.fold(1).done)
        write_json(
            done | {"files": done["files"] | {"valid.parquet": file_sha(paths.fold(1).valid)}},
            paths.fold(1).done,
        )
        with pytest.raises(ValueError, match="missing|twice"):
            bench.stage("train", paths)


# not the last batch, and the metric that was named
def test_the_score_takes_the_whole_fold(bench):
    from sklearn.metrics import f1_score

    paths = bench.run(fast("batch_size=5"))
    folds, score = tables.read_folds(paths.folds), read_json(paths.score)
    for k in range(3):
        valid = predictions.read(paths.fold(k).valid)
        truth = folds.set_index("id").loc[valid.index, "colour"]
        assert score["folds"][str(k)] == pytest.approx(f1_score(truth, valid.idxmax(axis=1), average="macro"))


def test_what_is_predicted_for_the_test_is_no_oof(bench):
    paths = bench.run()
    oof, folds = predictions.read(paths.oof), tables.read_folds(paths.folds)
    for k in range(3):
        held_out = folds.loc[folds["fold"] == k, "id"]
        assert oof.loc[held_out].equals(predictions.read(paths.fold(k).valid).loc[held_out])
    assert not set(oof.index) & set(predictions.read(paths.test).index)


def test_a_test_set_in_another_order_gets_the_same_answers_by_id(bench):
    bench.run()
    first = pd.read_csv("submissions/tiny-run.csv").set_index("id")["colour"]
    sample = pd.read_csv("inputs/tiny/sample_submission.csv").iloc[::-1]
    sample.to_csv("inputs/tiny/sample_submission.csv", index=False)
    bench.run()
    second = pd.read_csv("submissions/tiny-run.csv")
    assert second["id"].tolist() == sample["id"].tolist() and second.set_index("id")["colour"].loc[
        first.index
    ].equals(first)


def test_folds_do_not_depend_on_the_order_of_the_table(bench):
    paths = bench.configure()
    bench.stage("split", paths)
    first = tables.read_folds(paths.folds)
    table = pd.read_csv("inputs/tiny/train.csv").sample(frac=1, random_state=1)
    table.to_csv("inputs/tiny/train.csv", index=False)
    bench.stage("split", paths)
    assert first.equals(tables.read_folds(paths.folds))


def test_every_class_has_its_place_by_one_list(bench):
    paths = bench.run()
    classes = read_json(paths.competition)["facts"]["outputs"]
    for k in range(3):
        assert (
            list(predictions.read(paths.fold(k).valid).columns)
            == list(predictions.read(paths.fold(k).test).columns)
            == list(classes)
        )


@pytest.mark.parametrize(
    "settings",
    [
        "loss=crossentropy",
        "head=liner",
        "augment=lite",
        "optimizer=adamm",
        "sampler=x",
        "tta=flip",
        "backbone=vgg99",
        "trainable=layer9",
    ],
)
def test_an_unknown_name_stops_before_anything_is_trained(bench, settings):
    paths = bench.configure(fast(settings))
    bench.stage("split", paths)
    with pytest.raises(ValueError, match="unknown|no parameter|choose"):
        bench.stage("train", paths)
    assert not list(paths.root.glob("fold0/*.safetensors"))


def test_a_batch_that_does_not_fit_is_halved_and_accumulated(bench, monkeypatch, capsys):
    paths = bench.configure()
    bench.stage("split", paths)
    real = train.train_fold

    def tight(table, inputs, fold, batch_size, clock):
        if batch_size > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return real(table, inputs, fold, batch_size, clock)

    monkeypatch.setattr(train, "train_fold", tight)
    bench.stage("train", paths)
    assert (
        read_json(paths.fold(0).done)["batch_size"] == 2
        and "fold 0 goes on with a batch of 4, accumulated to 8" in capsys.readouterr().err
    )


def test_smaller_looks_keep_every_class(bench):
    paths = bench.configure(fast("limit=12"))
    bench.stage("split", paths)
    folds = tables.read_folds(paths.folds)
    assert len(folds) == 12 and folds["colour"].value_counts().tolist() == [4, 4, 4]


def test_a_smaller_look_at_many_classes_keeps_some_of_them_whole(bench):
    table = pd.read_csv("inputs/tiny/train.csv")
    # 12 classes of 3, and room for 8 images
    table["colour"] = [f"class {i % 12:02}" for i in range(len(table))]
    table.to_csv("inputs/tiny/train.csv", index=False)
    paths = bench.configure(fast("limit=8 folds=2"))
    bench.stage("split", paths)
    assert tables.read_folds(paths.folds)["colour"].value_counts().tolist() == [2, 2, 2, 2]


def test_rates_and_all_settings_are_written_out(bench):
    paths = bench.configure()
    saved = configure.load(paths.config).config
    assert isinstance(saved.lr, float) and isinstance(saved.body_lr, float)


def test_an_unreadable_test_image_gets_an_average_answer_and_is_told(bench, capsys):
    (bench.inputs / "test" / "te004.png").write_bytes(b"half a picture")
    paths = bench.run(fast("tta=hflip"))
    test, folds = predictions.read(paths.test), tables.read_folds(paths.folds)
    prior = folds["colour"].value_counts(normalize=True)[list(test.columns)]
    assert np.allclose(test.loc["te004"], prior) and not np.allclose(test.loc["te003"], prior)
    assert list(json.loads((bench.folder / "submissions/tiny-run.json").read_text())["unreadable"]) == [
        "te004"
    ]
    assert "1 test images can't be read" in capsys.readouterr().out


def test_unreadable_training_images_are_left_out_when_asked(bench, capsys):
    for name in ("tr003", "tr010"):
        (bench.inputs / "train" / f"{name}.png").write_bytes(b"")
    paths = bench.run(fast("bad_images=drop"))
    assert (
        not {"tr003", "tr010"} & set(predictions.read(paths.oof).index)
        and len(predictions.read(paths.oof)) == 34
    )
    assert capsys.readouterr().err.count("left out") == 2


def test_keys_are_written_nowhere(bench):
    for name in ("WANDB_API_KEY", "KAGGLE_KEY", "HF_TOKEN"):
        bench.monkeypatch.setenv(name, "feedfacecafebeef0123456789abcdef01234567")
    bench.run(machine="wandb=offline workers=0 device=cpu")
    written = [p for p in bench.folder.rglob("*") if p.is_file() and "inputs" not in p.parts]
    assert len(written) > 30 and not [p for p in written if b"feedfacecafebeef" in p.read_bytes()]


@pytest.mark.parametrize(
    "settings",
    [
        "ema=0.8",
        "ema=0.8 patience=2 epochs=4 lr=0.3",
        "patience=1 epochs=4 lr=0.3",
        "trainable=all augment=light",
    ],
)
def test_the_checkpoint_predicts_what_valid_says(bench, settings):
    """valid.parquet and model.safetensors are of the same weights, averaged, best or last: the test set gets
    the model that was scored.
    """
    import torch

    from src.competition.tasks import softmax
    from src.model.classifier import build

    paths = bench.run(fast(settings))
    loaded, folds = configure.load(paths.config), tables.read_folds(paths.folds)
    model = build(loaded.config, 3)
    model.load(paths.fold(1).model)
    held_out = folds[folds["fold"] == 1]
    from src.data.images import read_square

    pixels = [read_square({"file": str(bench.inputs / path)}, 32, None, 10**9) for path in held_out["path"]]
    with torch.inference_mode():
        logits = model(
            torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), torch.zeros(len(pixels), 0)
        ).numpy()
    assert np.allclose(softmax(logits), predictions.read(paths.fold(1).valid).loc[held_out["id"]], atol=1e-4)


def test_a_view_that_training_never_saw_is_warned_of(bench, capsys):
    bench.run(fast("epochs=1 flips=none tta=hflip"))
    assert "tta=hflip mirrors" in capsys.readouterr().err
    bench.run(fast("epochs=1 tta=hflip"), "allowed")
    assert "mirrors" not in capsys.readouterr().err


def test_a_fold_that_learns_the_wrong_thing_is_stopped_with_the_usual_causes(bench, monkeypatch, capsys):
    """A loss with the wrong sign: accuracy 0, as in the diary."""
    make_competition(bench.inputs, num_train=300)
    monkeypatch.setitem(LOSSES, "wrong", lambda logits, targets: (targets * logits.softmax(dim=1)).sum(dim=1))
    paths = bench.configure(fast("loss=wrong epochs=3 lr=0.03"))
    bench.stage("split", paths)
    with pytest.raises(
        CheckFailed,
        match="after epoch 2 is worse than an answer that looks at no image.*usual causes.*sanity=false",
    ):
        bench.stage("train", paths)
    assert "warning: fold 0" in capsys.readouterr().err and not paths.fold(0).done.exists()
    paths = bench.configure(
        fast("loss=wrong epochs=3 lr=0.03"), machine="wandb=off workers=0 device=cpu sanity=false"
    )
    bench.stage("train", paths)
    assert read_json(paths.score)["oof"] < 0.2


def test_the_log_holds_the_held_out_loss_of_each_epoch(bench, capsys):
    """In the run's own loss, here the cross entropy, so that overfitting shows beside the training loss."""
    paths = bench.run(fast("label_smoothing=0.1 mixup=0.2"))
    log = pd.read_json(paths.fold(0).log, lines=True)
    assert list(log) == ["epoch", "loss", "valid_loss", "macro_f1", "lr"]
    valid, folds = predictions.read(paths.fold(0).valid), tables.read_folds(paths.folds).set_index("id")
    own = [valid.at[image, folds.at[image, "colour"]] for image in valid.index]
    assert log["valid_loss"].iloc[-1] == pytest.approx(-np.log(own).mean(), abs=1e-4)
    assert f"valid_loss {log['valid_loss'].iloc[-1]:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings", ["lr=10 body_lr=10 trainable=all", "lr=1 body_lr=1 trainable=all optimizer=sgd clip_grad=0"]
)
def test_a_training_that_has_diverged_is_stopped_with_its_losses(bench, capsys, settings):
    make_competition(bench.inputs, num_train=120)
    paths = bench.configure(fast(f"{settings} epochs=4"))
    bench.stage("split", paths)
    with pytest.raises(
        CheckFailed,
        match="fold 0: the training has diverged: after epoch 2 its loss is .*lower lr and body_lr by ten.*sanity=false",
    ):
        bench.stage("train", paths)
    assert not paths.fold(0).done.exists()


def test_a_model_that_no_longer_looks_at_the_images_is_stopped(bench, monkeypatch, capsys):
    from src.model import heads

    def blind(shape, num_outputs, config, num_extra):
        head = heads.HEADS["linear"](shape, num_outputs, config, num_extra)
        head.register_forward_hook(
            lambda module, inputs, outputs: outputs * 0 + torch.tensor([1.0, 0.5, -3.0])
        )
        return head

    monkeypatch.setitem(heads.HEADS, "blind", blind)
    paths = bench.configure(fast("head=blind epochs=3"))
    bench.stage("split", paths)
    with pytest.raises(
        CheckFailed,
        match="fold 0: the model is dead: after epoch 2 it gives the same output for all 12 held-out images",
    ):
        bench.stage("train", paths)
    assert "warning: fold 0: the model is dead: after epoch 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        "lr=1e-6 body_lr=1e-6",
        "mixup=2 label_smoothing=0.4",
        "trainable=all augment=strong mixup=1 cutmix=1 class_weights=balanced",
        "trainable=head lr=0.3 batch_size=2",
    ],
)
def test_noise_labels_slow_starts_and_heavy_mixing_are_trained_to_the_end(bench, settings):
    table = pd.read_csv("inputs/tiny/train.csv")
    table["colour"] = np.random.default_rng(0).permutation(table["colour"])
    table.to_csv("inputs/tiny/train.csv", index=False)
    paths = bench.configure(fast(f"epochs=3 {settings}"))
    bench.stage("split", paths)
    bench.stage("train", paths)
    assert paths.score.exists()


def test_a_missing_test_image_gets_an_average_answer_when_that_is_stated(bench, capsys):
    """There was no way on: the host's sample lists an image that the download lacks."""
    (bench.inputs / "test/te003.png").unlink()
    paths = bench.configure(fast("epochs=1 folds=2"))
    with pytest.raises(ValueError, match="1 of 9 test images are missing.*state missing_test=True"):
        bench.stage("split", paths)
    (bench.inputs / "competition.py").write_text("def competition(): return Competition(missing_test=True)")
    bench.run(fast("epochs=1 folds=2"))
    assert "1 test images can't be read and got an average answer: te003" in capsys.readouterr().out
    assert len(pd.read_csv("submissions/tiny-run.csv")) == 9


def in_long_form(root) -> list[str]:
    """A line per image and colour, with a number, in train and sample."""
    for file, cell in (("train", None), ("sample_submission", "0.0")):
        table = pd.read_csv(root / f"{file}.csv")
        lines = [
            f"{row.id}__{name},{cell or float(row.colour == name)}"
            for row in table.itertuples()
            for name in ("red", "green")
        ]
        (root / f"{file}.csv").write_text("\n".join(["sample_id,target", *lines, ""]))
    return ["sample_id", "target"]


def with_more_columns(root) -> list[str]:
    """The row's column is not the first, a path and a number of the line are only to be handed on."""
    sample = pd.read_csv(root / "sample_submission.csv")
    sample = pd.DataFrame(
        {
            "line": range(len(sample)),
            "colour": "blue",
            "id": sample["id"],
            "file": "test/" + sample["id"] + ".png",
        }
    )
    sample.to_csv(root / "sample_submission.csv", index=False)
    return list(sample)


def without_a_header(root) -> list[str]:
    for file in ("train", "sample_submission"):
        pd.read_csv(root / f"{file}.csv").to_csv(root / f"{file}.csv", index=False, header=False)
    return []


@pytest.mark.parametrize(
    "change", [in_long_form, with_more_columns, without_a_header], ids=lambda change: change.__name__
)
def test_a_sample_of_any_form_is_submitted_in_that_form(bench, change):
    header = change(bench.inputs)
    bench.run(fast("epochs=1 folds=2"))
    sample, submission = (
        (folder / name).read_text().splitlines()
        for folder, name in (
            (bench.inputs, "sample_submission.csv"),
            (bench.folder / "submissions", "tiny-run.csv"),
        )
    )
    assert len(submission) == len(sample) and (not header or submission[0] == ",".join(header))
    kept = [place for place, name in enumerate(header) if name not in ("target", "colour")] or [0]
    assert [[line.split(",")[place] for place in kept] for line in submission] == [
        [line.split(",")[place] for place in kept] for line in sample
    ]
