"""TrivialAugment and RandAugment for a whole batch: each image has its own operations and strengths."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from src.data.colour import mean_luma, recolour
from src.data.draws import Draws
from src.data.warp import GREY, matrix, turn, warp

# (images (B, 3, H, H) uint8, strength (B,) from -1 to 1) -> the same shape
Operation = Callable[[Tensor, Tensor], Tensor]


class Most(NamedTuple):
    """What strength 1 does."""

    shear: float  # of the other side
    shift: float  # of a side
    degrees: float
    factor: float  # of brightness, saturation, contrast and sharpness: 1 - factor to 1 + factor
    bits: int  # that posterize takes away


WIDE = Most(shear=0.99, shift=1 / 7, degrees=135, factor=0.99, bits=6)  # TrivialAugment's wide ranges
USUAL = Most(shear=0.3, shift=150 / 331, degrees=30, factor=0.9, bits=4)  # RandAugment's


def trivial(images: Tensor, draws: Draws) -> Tensor:
    """One operation of any strength (Müller and Hutter 2021, arXiv:2103.10158)."""
    return one_of(operations(WIDE), images, draws, draws.uniform())


def randaugment(images: Tensor, draws: Draws, number: int = 2, strength: float = 0.3) -> Tensor:
    """Some operations one after another, all of this strength (Cubuk et al. 2020, arXiv:1909.13719)."""
    for _ in range(number):
        images = one_of(operations(USUAL), images, draws, torch.full((len(images),), strength))
    return images


def one_of(choices: list[Operation], images: Tensor, draws: Draws, strength: Tensor) -> Tensor:
    """To each image one of the operations, with this strength (B,) in either direction."""
    strength = torch.where(draws.chance(0.5), -strength, strength)
    chosen, out = draws.integers(len(choices)), images.clone()
    for number in chosen.unique().tolist():
        if choices[number] is unchanged:
            continue
        rows = torch.nonzero(chosen == number).flatten()
        on_device = rows.to(images.device)
        out[on_device] = choices[number](images[on_device], strength[rows])
    return out


def operations(most: Most) -> list[Operation]:
    """Fast where an operation needs no channel but its own, and no pixel but one."""

    def warped(of: Callable[[Tensor], Tensor]) -> Operation:
        return lambda images, s: warp(images, of(s), images.shape[-1], "nearest")

    def factor(s: Tensor) -> Tensor:
        return 1 + s * most.factor

    return [
        unchanged,
        warped(lambda s: matrix(xy=s * most.shear)),
        warped(lambda s: matrix(yx=s * most.shear)),
        lambda images, s: shifted(images, s * most.shift, -1),
        lambda images, s: shifted(images, s * most.shift, -2),
        warped(lambda s: turn(s * most.degrees)),
        lambda images, s: blend(images, torch.zeros(len(images)), factor(s)),
        lambda images, s: blend(images, mean_luma(images), factor(s)),
        lambda images, s: recolour(images, saturation=factor(s)),
        lambda images, s: sharpen(images, factor(s)),
        lambda images, s: posterize(images, (s.abs() * most.bits).round()),
        lambda images, s: solarize(images, 256 * (1 - s.abs())),
        lambda images, s: functional.autocontrast(images),
        lambda images, s: functional.equalize(images),
    ]


def unchanged(images: Tensor, strength: Tensor) -> Tensor:
    return images


def shifted(images: Tensor, share: Tensor, axis: int) -> Tensor:
    """By these shares (B,) of a side, with grey behind."""
    out = images.clone()
    for image, pixels in zip(out, (share * images.shape[axis]).round().int().tolist()):
        image.copy_(image.roll(pixels, axis))
        left = image.narrow(axis, max(0, image.shape[axis] + pixels) if pixels < 0 else 0, abs(pixels))
        left.fill_(GREY)
    return out


def blend(images: Tensor, value: Tensor, factor: Tensor) -> Tensor:
    """Between a value (B,) at factor 0 and the image at 1, or beyond: brightness from black, contrast from
    the mean.
    """
    factors = per_image(factor, images)
    offset = (1 - factors) * per_image(value, images)
    return images.float().mul_(factors).add_(offset + 0.5).clamp_(0, 255).to(torch.uint8)


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1) on the images' device."""
    return values.to(images.device)[:, None, None, None]


def sharpen(images: Tensor, factor: Tensor) -> Tensor:
    """Between blurred (0), as it is (1) and sharper (2); the outermost pixels stay."""
    pixels = images.float()
    rows = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # of 3 x 3: 20 times as fast as a convolution
    blurred = pixels.clone()
    blurred[..., 1:-1, 1:-1] = sums.add_(pixels[..., 1:-1, 1:-1], alpha=4).div_(13)
    sharpened = blurred + per_image(factor, images) * (pixels - blurred)
    return sharpened.add_(0.5).clamp_(0, 255).to(torch.uint8)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Without this many (B,) of each value's last bits."""
    return images & (256 - 2 ** per_image(bits, images)).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Values from a threshold (B,) on are inverted."""
    return torch.where(images >= per_image(threshold.ceil().int(), images), 255 - images, images)
