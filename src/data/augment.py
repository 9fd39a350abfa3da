"""Augmentation and views: image -> image, both uint8 (3, H, W). Draws come from torch's generator, which the caller seeds per image."""
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

Transform = Callable[[Tensor], Tensor]


def mirrors(flips: str) -> list[v2.Transform]:
    """flips: letters of h and v, those that don't change the label (a digit has none)."""
    return ([v2.RandomHorizontalFlip()] if "h" in flips else []) + ([v2.RandomVerticalFlip()] if "v" in flips else [])


def none(size: int, flips: str) -> Transform:
    return v2.Compose([v2.Identity()])


def light(size: int, flips: str) -> Transform:
    """Mirrors, and a small shift, turn and zoom."""
    move = v2.RandomAffine(degrees=8, translate=(0.06, 0.06), scale=(0.9, 1.12), interpolation=v2.InterpolationMode.BILINEAR, fill=128)
    return v2.Compose([*mirrors(flips), move])


def medium(size: int, flips: str) -> Transform:
    """A random crop of at least half the picture, mirrors, light and colour."""
    crop = v2.RandomResizedCrop(size, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True)
    return v2.Compose([crop, *mirrors(flips), v2.ColorJitter(0.25, 0.25, 0.2, 0.02)])


def strong(size: int, flips: str) -> Transform:
    """A random crop of at least a third, mirrors, TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158) and a piece erased."""
    crop = v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=(0.75, 1.33), antialias=True)
    return v2.Compose([crop, *mirrors(flips), v2.TrivialAugmentWide(), v2.RandomErasing(p=0.25, value=128)])


def seeded(transform: Transform, image: Tensor, seed: int) -> Tensor:
    """The transform with its own draws: the same seed gives the same picture, in any process, and no other draw is disturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transform(image)


AUGMENTS = {"none": none, "light": light, "medium": medium, "strong": strong}     # add yours: (size, flips) -> transform, and a word here

# Views at test time: each must be something training saw (a mirror only where flips allow it).
VIEWS: dict[str, Transform] = {
    "plain": lambda image: image,
    "hflip": lambda image: image.flip(-1),
    "vflip": lambda image: image.flip(-2),
    "hvflip": lambda image: image.flip(-2, -1),
}
