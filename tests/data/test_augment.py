"""Augmentation of a whole batch: what each transform does to the pixels, and that an image's draws are its
own.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from src.data import colour, policies, warp
from src.data.arrays import Array
from src.data.augment import AUGMENTS, PerImage, make_transform
from src.data.draws import Draws
from src.data.images import Records
from src.data.on_the_fly import Files
from src.data.workers import Augmentation, num_workers
from src.run.seeds import seed_of, seeds_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def draws(number: int, key: str = "test") -> Draws:
    return Draws(seeds_of(key, positions=np.arange(number)))


@pytest.fixture
def images() -> torch.Tensor:
    """(12, 3, 40, 40) uint8: smooth pictures, each of its own colours."""
    coarse = torch.rand(12, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return (functional.resize(coarse, [40, 40], antialias=True).clamp(0, 1) * 255).byte()


def most(one: torch.Tensor, other: torch.Tensor) -> int:
    """The largest difference of two images' pixels."""
    return int((one.int() - other.int()).abs().max())


# -- draws


def test_an_images_numbers_depend_on_its_seed_alone():
    whole, part = draws(9), Draws(draws(9).seeds[[7, 2]])
    for _ in range(3):
        assert torch.equal(whole.uniform()[[7, 2]], part.uniform())
    numbers = torch.stack([draws(20_000, key).uniform(2, 4) for key in ("a", "b")])
    assert numbers.min() >= 2 and numbers.max() < 4
    assert numbers.mean() == pytest.approx(3, abs=0.02) and numbers.std() == pytest.approx(0.577, abs=0.01)
    assert abs(np.corrcoef(numbers)[0, 1]) < 0.02
    counts = torch.bincount(draws(30_000).integers(3), minlength=3)
    assert len(counts) == 3 and (counts - 10_000).abs().max() < 300


def test_seeds_differ_in_each_part_of_their_key():
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), ("view", "light-h-1"), ("view", "light-h-2")]
    seeds = np.concatenate([seeds_of(*key, positions=np.arange(1000)) for key in keys])
    assert len(set(seeds.tolist())) == len(seeds)
    assert seeds_of(3, positions=np.array([5]))[0] == seeds_of(3, positions=np.arange(9))[5]
    assert seed_of(1, "a") == seed_of(np.int64(1), "a")


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_an_image_is_augmented_alike_alone_and_in_any_batch_and_with_any_threads(name, images):
    transform, seeds = AUGMENTS[name](32, "hv"), draws(12).seeds
    whole, threads = transform(images, Draws(seeds)), torch.get_num_threads()
    for row in (0, 5, 11):
        assert torch.equal(transform(images[row : row + 1], Draws(seeds[row : row + 1]))[0], whole[row])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(transform(images[order], Draws(seeds[order.numpy()])), whole[order])
    try:
        torch.set_num_threads(threads % 2 + 1)
        assert torch.equal(transform(images, Draws(seeds)), whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", sorted(set(AUGMENTS) - {"none"}))
def test_a_batch_in_parts_on_several_threads_has_the_same_bits_and_leaves_their_number_alone(
    name, images, monkeypatch
):
    whole, threads = AUGMENTS[name](32, "hv")(images, draws(12)), torch.get_num_threads()
    transform = make_transform(name, 32, "hv")
    try:
        for number in (2, 3, 5, 16):  # more threads than images, too
            torch.set_num_threads(number)
            for part in (32, 1):
                monkeypatch.setattr("src.data.threads.PART", part)
                assert torch.equal(transform(images, draws(12)), whole)
            assert torch.get_num_threads() == number
            with ThreadPoolExecutor(1) as later:
                assert later.submit(torch.get_num_threads).result() == number
            assert torch.equal(transform(images[:1], draws(1)), whole[:1])
    finally:
        torch.set_num_threads(threads)


def test_the_parts_of_a_batch_are_augmented_at_once_each_with_one_thread(images, monkeypatch):
    both, seen, threads = Barrier(2, timeout=20), [], torch.get_num_threads()

    def slow(size: int, flips: str):
        def transform(images, draws):
            both.wait()  # raises where the other part is not here too
            seen.append((len(images), torch.get_num_threads()))
            return images

        return transform

    monkeypatch.setitem(AUGMENTS, "slow", slow)
    try:
        torch.set_num_threads(2)
        make_transform("slow", 32, "")(images, draws(12))
        assert seen == [(6, 1), (6, 1)]
        torch.set_num_threads(1)
        with pytest.raises(BrokenBarrierError):  # whole, here
            both.abort()
            make_transform("slow", 32, "")(images, draws(12))
    finally:
        torch.set_num_threads(threads)


def test_an_error_in_a_part_of_a_batch_is_raised(images, monkeypatch):
    def broken(size: int, flips: str):
        def transform(images, draws):
            raise ValueError(f"{len(images)} images")

        return transform

    monkeypatch.setitem(AUGMENTS, "broken", broken)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(ValueError, match="6 images"):
        make_transform("broken", 32, "")(images, draws(12))


# -- where pixels go


def test_a_matrix_that_changes_nothing_and_mirrors(images):
    unchanged = warp.matrix().expand(12, 3, 3)
    assert torch.equal(warp.warp(images, unchanged, 40), images)
    mirrored = warp.matrix(xx=-1.0).expand(12, 3, 3)
    assert torch.equal(warp.warp(images, mirrored, 40), images.flip(-1))
    turned = warp.turn(torch.full((12,), 90.0))
    assert most(warp.warp(images, turned, 40), images.rot90(1, (-1, -2))) <= 1


def test_the_affine_augmentation_is_that_of_torchvision(images):
    angle, factor, right, down = 8.0, 1.1, 0.05, -0.03
    ours = warp.shift(torch.tensor([right]), torch.tensor([down]))
    ours = warp.zoom(torch.tensor([factor])) @ warp.turn(torch.tensor([angle])) @ ours
    expected = functional.affine(
        images,
        angle,
        [right * 40, down * 40],
        factor,
        [0.0, 0.0],
        interpolation=v2.InterpolationMode.BILINEAR,
        fill=128,
    )
    inner = (slice(None), slice(None), slice(7, -7), slice(7, -7))  # at its edge torchvision blends twice
    assert most(warp.warp(images, ours.expand(12, 3, 3), 40)[inner], expected[inner]) <= 1


def test_crops_by_the_kernel_for_bytes_and_by_sampling_show_the_same(images, monkeypatch):
    """The first is the CPU's way, the second a GPU's."""
    boxes = warp.crop(draws(12), 40, (0.3, 1.0), (0.8, 1.25)) @ warp.mirror(draws(12, "m"), "hv")
    by_bytes = warp.warp(images, boxes, 40)
    exact = warp.pixel_boxes(boxes, 40)
    assert exact and all(left + width <= 40 and top + height <= 40 for left, top, width, height in exact)
    assert len({tuple(box) for box in exact}) > 6

    def sampled(images: torch.Tensor, boxes: list, matrices: torch.Tensor, size: int) -> torch.Tensor:
        shape = [len(images), 3, size, size]
        grid = torch.nn.functional.affine_grid(matrices[:, :2].float(), shape, align_corners=False)
        out = torch.nn.functional.grid_sample(
            images.float(), grid, padding_mode="border", align_corners=False
        )
        return out.add(0.5).byte()

    monkeypatch.setattr(warp, "resized_boxes", sampled)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # a box ends where it ends, or goes on
    assert most(warp.warp(images, boxes, 40)[inner], by_bytes[inner]) <= 3


def test_a_box_at_the_edge_does_not_blend_with_what_lies_beyond(monkeypatch):
    white = torch.full((1, 3, 40, 40), 255, dtype=torch.uint8)
    box = warp.matrix(xx=0.5, yy=0.5, x=-0.5, y=-0.5)[None]  # the upper left quarter, enlarged
    assert (warp.warp(white, box, 40) == 255).all()
    turned = warp.turn(torch.tensor([45.0]))
    assert warp.warp(white, turned, 40)[0, 0, 0, 0] == 128


def test_a_crop_covers_the_share_that_was_asked_for():
    matrices = warp.crop(draws(4000), 200, (0.5, 1.0), (0.8, 1.25))
    sides = torch.stack([matrices[:, 0, 0], matrices[:, 1, 1]])
    area, ratio = sides.prod(dim=0), sides[0] / sides[1]
    assert 0.48 < area.min() and area.max() <= 1 and area.mean() == pytest.approx(0.74, abs=0.02)
    assert 0.78 < ratio.min() and ratio.max() < 1.28


# -- colours


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"brightness": 1.2}, lambda images: functional.adjust_brightness(images, 1.2)),
        ({"saturation": 0.4}, lambda images: functional.adjust_saturation(images, 0.4)),
        ({"saturation": 1.3}, lambda images: functional.adjust_saturation(images, 1.3)),
        ({"contrast": 0.7}, lambda images: functional.adjust_contrast(images, 0.7)),
    ],
)
def test_colours_are_changed_as_torchvision_does(images, change, expected):
    assert most(colour.recolour(images, **change), expected(images)) <= 2


def test_hue_is_a_turn_that_leaves_grey_and_brightness_alone(images):
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert most(colour.recolour(grey, hue=0.3), grey) <= 1
    assert torch.equal(colour.recolour(images, hue=1.0), images)
    pale = images // 8 + 112  # nothing is cut off at 0 or 255
    turned = colour.recolour(pale, hue=0.1)
    luma = torch.tensor(colour.LUMA).view(3, 1, 1)
    assert ((turned * luma).sum(1) - (pale * luma).sum(1)).abs().max() < 1
    assert most(turned, pale) > 4
    red = torch.tensor([150, 110, 110], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    third = colour.recolour(red, hue=1 / 3)[0, :, 0, 0].tolist()
    assert third[1] > third[0] and third[1] > third[2], "a third of a turn makes red green"


def test_a_piece_is_erased_of_a_quarter_of_the_images():
    white = torch.full((2000, 3, 20, 20), 255, dtype=torch.uint8)
    erased = colour.erase(white, draws(2000), probability=0.25)
    share = (erased == 128).float().mean(dim=(1, 2, 3))
    assert (share > 0).float().mean() == pytest.approx(0.25, abs=0.03) and share.max() < 0.4
    assert {*erased.unique().tolist()} == {128, 255}


# -- policies


def test_an_operation_of_strength_0_changes_nothing(images):
    for number, operation in enumerate(policies.operations(policies.WIDE)[:-2]):
        assert torch.equal(operation(images, torch.zeros(12)), images), number


def test_operations_are_those_of_torchvision(images):
    *first, sharpness, posterize, solarize, _, _ = policies.operations(policies.WIDE)
    _, _, _, right, down, turned, brightness, contrast, _ = first
    half = torch.full((12,), 0.5)
    assert torch.equal(right(images, half)[..., 3:], images[..., :-3])
    assert (right(images, half)[..., :3] == 128).all() and (down(images, -half)[..., -3:, :] == 128).all()
    assert torch.equal(down(images, -half)[..., :-3, :], images[..., 3:, :])
    rotated = functional.rotate(images, -67.5, fill=128)  # torchvision turns the other way
    assert (turned(images, half) == rotated).float().mean() > 0.98
    assert most(brightness(images, half), functional.adjust_brightness(images, 1 + 0.5 * 0.99)) <= 1
    assert most(contrast(images, -half), functional.adjust_contrast(images, 1 - 0.5 * 0.99)) <= 2
    assert most(sharpness(images, half), functional.adjust_sharpness(images, 1 + 0.5 * 0.99)) <= 1
    assert torch.equal(posterize(images, half), functional.posterize(images, 5))
    assert torch.equal(solarize(images, half), functional.solarize(images, 128))


def test_each_image_gets_an_operation_of_its_own(images):
    same = images[:1].expand(200, -1, -1, -1)
    for policy in (policies.trivial, policies.randaugment):
        assert len({one.numpy().tobytes() for one in policy(same, draws(200))}) > 40


# -- transforms of one image


def test_a_transform_of_torchvision_is_called_for_each_image_with_its_own_seed(images, monkeypatch):
    monkeypatch.setitem(
        AUGMENTS, "turned", lambda size, flips: v2.Compose([v2.RandomRotation(180, fill=128)])
    )
    monkeypatch.setitem(
        AUGMENTS, "own", lambda size, flips: PerImage(lambda image: image.roll(int(torch.randint(9, ())), -1))
    )
    for name in ("turned", "own"):
        transform, state = make_transform(name, 40, ""), torch.get_rng_state()
        same = transform(images[:1].expand(8, -1, -1, -1), draws(8))
        assert len({one.numpy().tobytes() for one in same}) > 3
        assert torch.equal(same[3], transform(images[:1], Draws(draws(8).seeds[3:4]))[0])
        assert torch.equal(state, torch.get_rng_state()), "no other draw is disturbed"


def test_processes_augment_only_where_each_image_is_done_by_itself_and_decode_for_a_gpu():
    decoded, files = Array(Path("a.npy")), Files(Records(pd.DataFrame({"id": []}), Path()), 8, {}, threads=1)

    def number(transform, workers, device=CPU, images=decoded):
        augmentation = Augmentation([None, transform], 32) if transform else None
        return num_workers(augmentation, images, workers, device)

    whole, single = AUGMENTS["strong"](32, "h"), PerImage(lambda image: image)
    assert number(whole, "auto") == number(whole, "auto", CUDA) == number(whole, 3, CUDA) == 0
    assert number(whole, 3) == number(single, 3) == number(single, 3, CUDA) == 3
    assert number(single, "auto") == number(single, "auto", CUDA) == os.cpu_count()
    assert number(None, "auto", CUDA) == number(None, 3) == 0
    assert number(whole, "auto", CUDA, files) == number(None, "auto", CUDA, files) == os.cpu_count()
    assert number(whole, "auto", images=files) == 0, "threads of this process decode"
    assert number(whole, 3, CUDA, files) == number(None, 3, images=files) == 3
