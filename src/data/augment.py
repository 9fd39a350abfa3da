"""Augmentation and views of uint8 images.

An augmentation takes a batch (B, 3, H, H) uint8, on the CPU or the GPU, and Draws, each image's own random
numbers; it gives (B, 3, size, size) uint8. What an image becomes must not depend on its batch: on a CPU the
batch is divided among threads. A transform of torchvision, or PerImage(a function of one image
(3, H, W)), is one too: it is called for each image by itself, in worker processes on the CPU.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from src.data import policies
from src.data.colour import erase, jitter
from src.data.draws import Draws, Transform
from src.data.threads import divided
from src.data.warp import crop, mirror, shift, turn, warp, zoom
from src.run.choices import pick

View = Callable[[Tensor], Tensor]


def none(size: int, flips: str) -> Transform:
    return lambda images, draws: images


def light(size: int, flips: str) -> Transform:
    """Mirrors, and a small shift, turn and zoom."""

    def transform(images: Tensor, draws: Draws) -> Tensor:
        moved = shift(draws.uniform(-0.06, 0.06), draws.uniform(-0.06, 0.06))
        turned = turn(draws.uniform(-8, 8)) @ zoom(draws.uniform(0.9, 1.12))
        return warp(images, mirror(draws, flips) @ turned @ moved, size)

    return transform


def medium(size: int, flips: str) -> Transform:
    """A random crop of at least half the picture, mirrors and colour."""

    def transform(images: Tensor, draws: Draws) -> Tensor:
        box = crop(draws, images.shape[-1], area=(0.5, 1.0), ratio=(0.8, 1.25))
        images = warp(images, box @ mirror(draws, flips), size)
        return jitter(images, draws, brightness=0.25, contrast=0.25, saturation=0.2, hue=0.02)

    return transform


def strong(size: int, flips: str) -> Transform:
    """A random crop of at least a third, mirrors, TrivialAugment and a piece erased."""

    def transform(images: Tensor, draws: Draws) -> Tensor:
        box = crop(draws, images.shape[-1], area=(0.35, 1.0), ratio=(0.75, 1.33))
        images = warp(images, box @ mirror(draws, flips), size)
        return erase(policies.trivial(images, draws), draws, probability=0.25)

    return transform


def randaugment(size: int, flips: str) -> Transform:
    """The same with RandAugment: two operations of a middle strength."""

    def transform(images: Tensor, draws: Draws) -> Tensor:
        box = crop(draws, images.shape[-1], area=(0.35, 1.0), ratio=(0.75, 1.33))
        images = warp(images, box @ mirror(draws, flips), size)
        return erase(policies.randaugment(images, draws), draws, probability=0.25)

    return transform


@dataclass(frozen=True)
class PerImage:
    """An augmentation from a function of one image, which draws from torch's generator: it is seeded for each
    image, so that the same seed gives the same picture in any process.
    """

    transform: View

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        pictures = []
        with torch.random.fork_rng(devices=[]):  # no other draw is disturbed
            for image, seed in zip(images, draws.seeds.tolist()):
                # torch.manual_seed formats stack traces for the GPUs that aren't there
                torch.default_generator.manual_seed(seed)
                pictures.append(self.transform(image))
        return torch.stack(pictures)


# add yours: (size, flips) -> an augmentation, and a word here
AUGMENTS = {"none": none, "light": light, "medium": medium, "strong": strong, "randaugment": randaugment}


def mirrors(flips: str) -> list[v2.Transform]:
    """For transforms of torchvision. flips: letters of h and v, those that don't change the label (a digit
    has none).
    """
    return ([v2.RandomHorizontalFlip()] if "h" in flips else []) + (
        [v2.RandomVerticalFlip()] if "v" in flips else []
    )


def make_transform(name: str, size: int, flips: str) -> Transform:
    """The augmentation of that name. Raises ValueError for an unknown one."""
    transform = pick(AUGMENTS, name, "augment", "src/data/augment.py")(size, flips)
    if isinstance(transform, PerImage):
        return transform
    return PerImage(transform) if isinstance(transform, nn.Module) else divided(transform)


def window(zoom: float, down: float = 0.5, right: float = 0.5) -> View:
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
VIEWS: dict[str, View] = {
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
        "randaugment": ["zoom90"],
    }
    why |= dict.fromkeys(closer.get(augment, []), f"zooms as augment={augment} does not")
    return {view: why[view] for view in views if view in why}
