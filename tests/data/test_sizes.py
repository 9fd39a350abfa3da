"""The size at which images are decoded, shown to the network and predicted; how they become squares."""

import numpy as np
import pytest
import torch
from conftest import fast
from PIL import Image

from src.config import Config, decoded_size
from src.data.arrays import InMemory
from src.data.batches import Batches, Rows, in_steps
from src.data.images import RESIZES, read_square
from src.run import predictions
from src.run.files import read_json


def save(path, pixels: np.ndarray, **how) -> dict[str, str]:
    Image.fromarray(pixels).save(path, **how)
    return {"file": str(path)}


def test_a_transparent_picture_is_laid_on_white(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0] = 200  # red, hidden
    pixels[:, 4:, 3] = 255  # and shown on the right
    for name in ("a.png", "a.webp"):
        out = read_square(save(tmp_path / name, pixels, lossless=True), 8, None, 10**6)
        assert (out[:, :4] == 255).all() and (out[:, 4:] == [200, 0, 0]).all(), name
    palette = Image.fromarray(pixels[..., 0]).convert("P")
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((0, 0)))
    assert (read_square({"file": str(tmp_path / "p.png")}, 8, None, 10**6) == 255).all()
    opaque = np.concatenate([pixels[..., :3], np.full((8, 8, 1), 255, np.uint8)], axis=2)
    assert (read_square(save(tmp_path / "o.png", opaque), 8, None, 10**6) == opaque[..., :3]).all()


def test_a_picture_is_squashed_cropped_or_padded(tmp_path):
    wide = np.full((20, 40, 3), 250, np.uint8)
    wide[:, :10] = 10  # its left quarter is dark
    record = save(tmp_path / "w.png", wide)
    squashed, cropped, padded = (
        read_square(record, 20, None, 10**6, resize) for resize in ("squash", "crop", "pad")
    )
    assert (squashed[:, :4] < 60).all() and (squashed[:, 7:] > 220).all()
    assert (cropped[:, 2:] > 220).all(), "the middle has none of it"
    assert (padded[:4] == 128).all() and (padded[-4:] == 128).all()
    assert (padded[7:13, :4] < 60).all() and (padded[7:13, 7:] > 220).all()
    assert {*RESIZES} == {"squash", "crop", "pad"}


def test_images_are_decoded_larger_for_augmentations_that_crop_and_for_no_other():
    assert [decoded_size(Config(augment=name)) for name in ("none", "light", "medium", "strong")] == [
        224,
        224,
        280,
        280,
    ]
    assert decoded_size(Config(augment="medium", decode_scale=1.0)) == 224
    assert decoded_size(Config(image_size=100, decode_scale=1.5)) == 150


def test_the_network_sees_image_size_and_crops_are_taken_from_more(bench):
    """Validation, test images and cached views are the plain picture, made smaller."""
    for name, settings in (("fresh", "trainable=all"), ("cached", "trainable=1 views=2")):
        paths = bench.run(fast(f"augment=medium epochs=1 folds=2 {settings}"), name, cache=f"runs/{name}")
        decoded = [*(bench.folder / f"runs/{name}/tiny").glob("images-*.npy")]
        assert len(decoded) == 2 and {np.load(path).shape[1] for path in decoded} == {40}
        assert len(predictions.read(paths.oof)) == 36
    plain = bench.run(fast("augment=none views=1 epochs=1 folds=2"), "plain")
    assert {path.name[:12] for path in (bench.folder / "runs/.cache/tiny").glob("images-*.npy")} == {
        "images-32px-"
    }
    assert read_json(plain.config)["config"]["decode_scale"] == "auto", "no recipe says otherwise than before"


def test_training_without_augmentation_sees_what_validation_sees():
    """Both make the decoded pictures smaller."""
    images = InMemory(np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), np.uint8))
    rows = Rows(*(np.zeros((6, 1), np.float32) for _ in range(3)))
    batches = Batches([images], rows, device=torch.device("cpu"), size=32)
    positions = np.arange(6)
    (training,) = batches.train_epoch(in_steps(positions, 6, 6), epoch=0)
    (held_out,) = batches.evaluation(positions, 6)
    assert training.image.shape == (6, 3, 32, 32)
    assert torch.equal(training.image, held_out.image)


def test_an_unknown_resize_is_refused_with_the_choices(bench):
    paths = bench.configure(fast("resize=stretch"))
    bench.stage("split", paths)
    with pytest.raises(ValueError, match="resize 'stretch' is unknown; choose from crop, pad, squash"):
        bench.stage("train", paths)


# -- test_size


def test_another_size_at_test_time_trains_nothing_and_its_gain_is_printed(bench, capsys):
    plain = bench.run(fast("augment=none views=1"), "plain")
    capsys.readouterr()
    paths = bench.run(fast("augment=none views=1 test_size=48"), "larger")
    printed = capsys.readouterr().out
    assert "taken over" in printed and "epoch 1" not in printed and "plain at 48 px" in printed
    found, before = read_json(paths.tta), read_json(plain.score)
    assert found["test_size"] == 48 and list(found["views"]) == ["plain", "plain at 48 px"]
    assert found["views"]["plain"]["oof"] == before["oof"]
    assert found["oof"] == found["views"]["plain at 48 px"]["oof"], "the test images get that size alone"
    assert found["gain"] == pytest.approx(found["oof"] - before["oof"])
    assert paths.scored()[0] == paths.oof_tta
    for name in ("test", "oof_tta"):
        assert not np.allclose(
            predictions.read(getattr(paths, name)) if name == "oof_tta" else predictions.read(paths.test),
            predictions.read(plain.oof if name == "oof_tta" else plain.test),
        )
    again = bench.run(fast("augment=none views=1 test_size=32"), "same")
    assert np.allclose(*(predictions.read(p.test) for p in (again, plain)))


def test_another_size_goes_together_with_views(bench):
    paths = bench.run(fast("augment=none views=1 test_size=48 tta=hflip"), "both")
    views = read_json(paths.tta)["views"]
    assert list(views) == ["plain", "plain at 48 px", "hflip at 48 px"]


def test_a_backbone_of_one_size_is_refused(bench):
    from src.model.classifier import check_test_size

    vit = Config(backbone="vit_tiny_patch16_224", test_size=288)
    with pytest.raises(
        ValueError, match="test_size=288: vit_tiny_patch16_224 takes images of one size, here 224 px"
    ):
        check_test_size(vit)
    check_test_size(Config(backbone="vit_tiny_patch16_224", test_size=224))
    check_test_size(Config(test_size=288))
    check_test_size(Config(backbone="branch_cnn", test_size=288))
