"""Views at test time: each is what its name says, and what they are worth is measured on the held-out images,
by view.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, fast, open_run
from PIL import Image
from torch import nn

from src import competitions, predict
from src.competition import scoring
from src.competition.tables import read_folds
from src.competition.tasks import softmax
from src.data.augment import VIEW_SETS, VIEWS, unseen_views
from src.data.images import read_square
from src.data.views import tta_views
from src.extras import compare, verify
from src.extras.ensemble import command as ensemble
from src.model.backbone import BACKBONES
from src.model.classifier import build
from src.run import configure, predictions
from src.run.errors import CheckFailed
from src.run.files import read_json
from src.run.paths import RunPaths

LETTER = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8).expand(3, 3, 3)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("hflip", [[3, 2, 1], [6, 5, 4], [9, 8, 7]]),
        ("vflip", [[7, 8, 9], [4, 5, 6], [1, 2, 3]]),
        ("rot180", [[9, 8, 7], [6, 5, 4], [3, 2, 1]]),
        ("rot90", [[3, 6, 9], [2, 5, 8], [1, 4, 7]]),
        ("rot270", [[7, 4, 1], [8, 5, 2], [9, 6, 3]]),
        ("transpose", [[1, 4, 7], [2, 5, 8], [3, 6, 9]]),
        ("antitranspose", [[9, 6, 3], [8, 5, 2], [7, 4, 1]]),
    ],
)
def test_a_view_is_what_its_name_says(name, rows):
    assert VIEWS[name](LETTER)[1].tolist() == rows
    back = {"rot90": "rot270", "rot270": "rot90"}.get(name, name)
    assert torch.equal(VIEWS[back](VIEWS[name](LETTER)), LETTER)


def test_zooms_and_crops_show_their_part_of_the_picture():
    image = torch.full((3, 200, 200), 50, dtype=torch.uint8)
    image[:, 50:150, 50:150] = 250  # a square of half the side
    image[:, :8, :8] = 0  # and the upper left corner marked
    for name, side in (("zoom110", 110), ("zoom90", 90)):
        assert (VIEWS[name](image)[0] > 240).sum() == pytest.approx(side**2, abs=250)
    assert (VIEWS["zoom90"](image)[0, :8] == 128).all() and VIEWS["zoom110"](image)[0, 0, 0] == 50
    assert VIEWS["crop_tl"](image)[0, 1, 1] == 0 and all(
        VIEWS[f"crop_{corner}"](image)[0, 1, 1] == 50 for corner in ("tr", "bl", "br")
    )
    noise = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()
    for one, mirror, other in (
        line.split()
        for line in (
            "crop_tl hflip crop_tr",
            "crop_tl vflip crop_bl",
            "crop_tl rot180 crop_br",
            "zoom90 hflip zoom90",
        )
    ):
        assert torch.allclose(
            VIEWS[one](VIEWS[mirror](noise)).int(), VIEWS[mirror](VIEWS[other](noise)).int(), atol=1
        )


def test_every_view_is_uint8_of_the_same_shape_alone_and_in_a_batch():
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    for name, view in VIEWS.items():
        batch = view(images)
        assert (
            batch.dtype == torch.uint8
            and batch.shape == images.shape
            and torch.equal(batch, torch.stack([view(one) for one in images]))
        ), name
    assert set().union(*VIEW_SETS.values()) <= set(VIEWS)
    seen = {VIEWS[name](images).numpy().tobytes() for name in VIEW_SETS["dihedral"]} | {
        images.numpy().tobytes()
    }
    assert len(seen) == 8, "the dihedral group of a square has eight members"


def test_views_that_training_never_saw_are_named_with_the_reason():
    assert not unseen_views(VIEW_SETS["crops"] + ["hflip", "turned"], "h", "light")
    assert list(unseen_views(VIEW_SETS["dihedral"], "h", "light")) == [
        "vflip",
        "rot180",
        "rot90",
        "rot270",
        "transpose",
        "antitranspose",
    ]
    assert "right angle" in unseen_views(["rot90"], "hv", "light")["rot90"] and "rot180" not in unseen_views(
        ["rot180"], "hv", "light"
    )
    assert "augment=none" in unseen_views(["crop_tl"], "h", "none")["crop_tl"] and list(
        unseen_views(["zoom90", "zoom110"], "h", "medium")
    ) == ["zoom90"]


def stamps(paths, name):
    return [getattr(paths.fold(k), name).stat().st_mtime_ns for k in range(3)]


def test_the_oof_of_tta_is_the_mean_over_views_of_the_model_that_has_not_seen_the_image(bench, capsys):
    plain = bench.run(FAST, "plain")
    capsys.readouterr()
    paths = bench.run(fast("tta=hflip,zooms"), "tta")
    printed = capsys.readouterr().out
    assert "taken over" in printed and "epoch 1" not in printed
    loaded, folds, found = configure.load(paths.config), read_folds(paths.folds), read_json(paths.tta)
    competition = competitions.load("tiny", loaded.inputs)
    by_view = dict.fromkeys(("plain", "hflip", "zoom90", "zoom110"), pd.DataFrame())
    for k in range(3):
        model, part = build(loaded.config, 3), folds[folds["fold"] == k]
        model.load(plain.fold(k).model)
        pixels = [read_square({"file": str(bench.inputs / path)}, 32, None, 10**9) for path in part["path"]]
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        for name in by_view:
            with torch.inference_mode():
                logits = model(
                    images if name == "plain" else VIEWS[name](images), torch.zeros(len(images), 0)
                ).numpy()
            by_view[name] = pd.concat(
                [by_view[name], predictions.make(part["id"], softmax(logits), competition.outputs)]
            )
    mean, oof = sum(by_view.values()) / 4, predictions.read(paths.oof_tta)
    assert np.allclose(oof, mean.loc[oof.index], atol=1e-4) and not np.allclose(
        oof, predictions.read(paths.oof).loc[oof.index], atol=1e-4
    )
    assert list(found["views"]) == list(by_view) and found["oof"] == scoring.score(competition, folds, oof)
    for name, frame in by_view.items():
        assert found["views"][name]["oof"] == pytest.approx(
            scoring.score(competition, folds, frame), abs=1e-6
        )
    score, note = read_json(paths.score), read_json(bench.folder / "submissions/tta.json")
    assert (
        score["oof"] == read_json(plain.score)["oof"] == found["views"]["plain"]["oof"]
        and found["gain"] == found["oof"] - score["oof"]
    )
    assert (
        note["oof"] == found["oof"]
        and f"OOF         {found['oof']:.4f}" in printed
        and f"mean           {found['oof']:.4f}" in printed
    )
    verify.verify(open_run(paths))
    predictions.write(predictions.read(paths.oof), paths.oof_tta)
    with pytest.raises(CheckFailed):
        verify.verify(open_run(paths))
    assert "oof_tta.parquet is damaged" in capsys.readouterr().out


def test_a_killed_prediction_goes_on_and_a_changed_tta_only_predicts(bench, monkeypatch, capsys):
    paths = bench.run(FAST)
    trained, tested, calls = stamps(paths, "model"), stamps(paths, "test"), []
    real = predict.predict_batches

    def counted(*args, **how):
        calls.append(1)
        if len(calls) == limit:
            raise KeyboardInterrupt
        return real(*args, **how)

    monkeypatch.setattr(predict, "predict_batches", counted)
    bench.configure(fast("tta=hflip"))
    limit = 2  # within the second fold
    with pytest.raises(KeyboardInterrupt):
        bench.stage("predict", paths)
    assert (
        paths.fold(0).valid_views.exists()
        and not paths.fold(1).valid_views.exists()
        and paths.scored()[0] == paths.oof
    )
    limit = 0
    calls.clear(), bench.stage("predict", paths)
    # two held-out parts were left; test images in two views by three models
    assert len(calls) == 2 + 3 * 2 and paths.scored()[0] == paths.oof_tta
    first, old = predictions.read(paths.oof_tta), stamps(paths, "valid_views")
    calls.clear(), bench.stage("predict", paths)
    assert not calls and stamps(paths, "valid_views") == old
    bench.run(fast("tta=vflip"))
    assert (
        calls
        and not predictions.read(paths.oof_tta).equals(first)
        and stamps(paths, "model") == trained
        and stamps(paths, "test") != tested
    )
    bench.run(FAST)
    assert paths.scored() == (paths.oof, read_json(paths.score)) and stamps(paths, "model") == trained
    assert capsys.readouterr().out.count("epoch 2/2") == 3


def test_a_view_that_changes_the_label_shows_a_loss_and_is_warned_of(bench, monkeypatch, capsys):
    """Above or below is what the labels say here."""
    rng = np.random.default_rng(0)
    for folder, count in (("train", 36), ("test", 9)):
        for i in range(count):
            pixels = rng.normal(120, 20, (24, 24, 3))
            pixels[{0: slice(0, 12), 1: slice(0, 0), 2: slice(12, 24)}[i % 3]] += 60
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                bench.inputs / folder / f"{folder[:2]}{i:03}.png"
            )
    monkeypatch.setitem(
        BACKBONES, "coarse", lambda settings: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    )
    paths = bench.run(fast("backbone=coarse trainable=head epochs=10 lr=0.1 tta=vflip"))
    found = read_json(paths.tta)
    assert (
        found["views"]["plain"]["oof"] > 0.9 and found["views"]["vflip"]["oof"] < 0.5 and found["gain"] < -0.2
    )
    captured = capsys.readouterr()
    assert (
        "tta=vflip mirrors, and flips=h say that this changes the label" in captured.err
        and f"({found['gain']:+.4f}; by fold -" in captured.out
    )


def test_compare_and_ensemble_read_the_oof_that_belongs_to_the_test_predictions(bench, monkeypatch, capsys):
    monkeypatch.setitem(VIEWS, "negative", lambda image: 255 - image)
    recipe = "trainable=head lr=0.05 epochs=4"
    plain, tta, other = (
        bench.run(fast(f"{recipe} {more}"), name)
        for name, more in (("plain", ""), ("tta", "tta=negative"), ("other", "seed=1"))
    )
    gain = read_json(tta.tta)["gain"]
    assert gain != 0
    capsys.readouterr()
    compare.main([str(plain.root), str(tta.root)])
    shown = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[:2]]
    assert shown[1] - shown[0] == pytest.approx(gain, abs=1e-4)
    both = RunPaths(bench.folder / "runs/both")
    ensemble.ensemble(both, ["tta", "other"], how="mean")
    expected = predictions.mean([predictions.read(tta.oof_tta), predictions.read(other.oof)])
    assert np.allclose(predictions.read(both.oof), expected.loc[predictions.read(both.oof).index], atol=1e-6)
    assert (
        read_json(both.score)["members"]["tta"] == read_json(tta.tta)["oof"] and both.scored()[0] == both.oof
    )


def test_one_fold_alone_shows_its_views_and_leaves_no_score_of_the_whole(bench, capsys):
    paths = bench.configure(fast("tta=hflip epochs=1"))
    bench.stage("split", paths), bench.stage("train", paths, only=[1]), bench.stage("predict", paths, only=1)
    assert (
        "views at test time" in capsys.readouterr().out
        and not paths.tta.exists()
        and paths.fold(1).valid_views.exists()
    )
    assert list(tta_views(configure.load(paths.config).config)) == ["plain", "hflip"]
