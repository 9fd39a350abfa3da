"""Augmentation and views: image -> image, both uint8 (3, H, W). Draws come from torch's generator, which the
caller seeds per image.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torchvision.transforms import v2

Transform = Callable[[Tensor], Tensor]


def mirrors(flips: str) -> list[v2.Transform]:
    """flips: letters of h and v, those that don't change the label (a digit has none)."""
    return ([v2.RandomHorizontalFlip()] if "h" in flips else []) + (
        [v2.RandomVerticalFlip()] if "v" in flips else []
    )


def none(size: int, flips: str) -> Transform:
    return v2.Compose([v2.Identity()])


def light(size: int, flips: str) -> Transform:
    """Mirrors, and a small shift, turn and zoom."""
    move = v2.RandomAffine(
        degrees=8,
        translate=(0.06, 0.06),
        scale=(0.9, 1.12),
        interpolation=v2.InterpolationMode.BILINEAR,
        fill=128,
    )
    return v2.Compose([*mirrors(flips), move])


def medium(size: int, flips: str) -> Transform:
    """A random crop of at least half the picture, mirrors, light and colour."""
    crop = v2.RandomResizedCrop(size, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True)
    return v2.Compose([crop, *mirrors(flips), v2.ColorJitter(0.25, 0.25, 0.2, 0.02)])


def strong(size: int, flips: str) -> Transform:
    """A random crop of at least a third, mirrors, TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158)
    and a piece erased.
    """
    crop = v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=(0.75, 1.33), antialias=True)
    return v2.Compose([crop, *mirrors(flips), v2.TrivialAugmentWide(), v2.RandomErasing(p=0.25, value=128)])


def seeded(transform: Transform, image: Tensor, seed: int) -> Tensor:
    """The transform with its own draws: the same seed gives the same picture, in any process, and no other
    draw is disturbed.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed formats stack traces for the GPUs that aren't there
        torch.default_generator.manual_seed(seed)
        return transform(image)


# add yours: (size, flips) -> transform, and a word here
AUGMENTS = {"none": none, "light": light, "medium": medium, "strong": strong}


def window(zoom: float, down: float = 0.5, right: float = 0.5) -> Transform:
    """A fixed part of the picture, 1/zoom of its side, at the whole size; 0.5 is its middle, 0 its upper or
    left end. What is beyond it is grey. Like `light`, which goes as far as zoom 1.12 in a corner: such views
    training has seen.
    """

    def view(image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        shift = [(zoom - 1) * (0.5 - right) * width, (zoom - 1) * (0.5 - down) * height]
        return v2.functional.affine(
            image, 0.0, shift, zoom, [0.0, 0.0], interpolation=v2.InterpolationMode.BILINEAR, fill=128
        )

    return view


# at test time: images (..., H, W) of equal sides -> the same shape; add yours: a function above, a word here
VIEWS: dict[str, Transform] = {
    "hflip": lambda image: image.flip(-1),
    "vflip": lambda image: image.flip(-2),
    "rot180": lambda image: image.flip(-2, -1),
    "rot90": lambda image: image.rot90(1, (-2, -1)),  # anticlockwise
    "rot270": lambda image: image.rot90(3, (-2, -1)),
    "transpose": lambda image: image.transpose(-2, -1),
    "antitranspose": lambda image: image.flip(-2, -1).transpose(-2, -1),
    "zoom90": window(0.9),
    "zoom110": window(1.1),
    "crop_tl": window(1.12, 0, 0),
    "crop_tr": window(1.12, 0, 1),
    "crop_bl": window(1.12, 1, 0),
    "crop_br": window(1.12, 1, 1),
}
VIEW_SETS = {  # one word for several
    "dihedral": ["hflip", "vflip", "rot180", "rot90", "rot270", "transpose", "antitranspose"],
    "zooms": ["zoom90", "zoom110"],
    "crops": ["crop_tl", "crop_tr", "crop_bl", "crop_br", "zoom110"],
}
# the flips that make the view one that training saw
MIRRORED = {"hflip": "h", "vflip": "v", "rot180": "hv"}


def unseen_views(views: Iterable[str], flips: str, augment: str) -> dict[str, str]:
    """The views that no training image was like, and in which words: a mirrored digit is another sign. Of
    views added here nothing is said.
    """
    mirrors = [view for view, needs in MIRRORED.items() if not set(needs) <= set(flips)]
    why = dict.fromkeys(mirrors, f"mirrors, and flips={flips or 'none'} say that this changes the label")
    why |= dict.fromkeys(
        ["rot90", "rot270", "transpose", "antitranspose"], "turns by a right angle, as no augmentation does"
    )
    closer = {
        "none": [view for view in VIEWS if view.startswith(("zoom", "crop_"))],
        "medium": ["zoom90"],
        "strong": ["zoom90"],
    }
    why |= dict.fromkeys(closer.get(augment, []), f"zooms as augment={augment} does not")
    return {view: why[view] for view in views if view in why}
