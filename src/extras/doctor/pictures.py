"""Checks of the images that the model is shown: a contact sheet of the augmentation, mirrors, two workers'
draws, and whether pictures show their labels at all.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.arrays import InMemory
from src.data.augment import Transform
from src.data.batches import Batches, Rows, in_steps
from src.data.draws import Draws
from src.data.views import flips_of, training_views, unseen_tta_views
from src.extras.contact_sheet import Cell, draw_sheet
from src.extras.doctor.setup import Check, Setup
from src.extras.findings import Finding, fail, good, warn
from src.run.seeds import seeds_of

MANY, FEW = 192, 20  # images whose features are compared; below FEW chance alone decides
NUM_DRAWS = 4  # of each picture on the contact sheet
WHERE = "src/data/augment.py"


def transform_of(setup: Setup) -> Transform | None:
    """The augmentation of the training; None where every epoch shows the plain pictures."""
    has_trunk = bool(setup.model.cut_at)
    views = training_views(setup.config, setup.competition, has_trunk=has_trunk)
    return next((transform for transform in views.values() if transform is not None), None)


def draws_of(transform: Transform, image: Tensor, row: int, number: int = NUM_DRAWS) -> list[Tensor]:
    draws = Draws(seeds_of("doctor", row, positions=np.arange(number)))
    return list(transform(image.expand(number, -1, -1, -1), draws))


@torch.no_grad()
def embed(setup: Setup, image: Tensor) -> Tensor:
    """(N, F) unit vectors: the input of the untrained classifier's head."""
    model = setup.model.eval()
    parts = [model.tail(model.features(part)).float() for part in image.to(setup.device).split(32)]
    values = torch.cat(parts)
    return F.normalize(values.flatten(2).mean(dim=2) if values.ndim > 2 else values, dim=1)


def signal(setup: Setup) -> Finding:
    """Are nearest neighbours in the backbone's features alike in label, more than with shuffled labels?"""
    batch = setup.sample(MANY)
    if len(batch.target) < FEW:
        return good(f"{len(batch.target)} images are too few to tell")
    vectors = embed(setup, batch.image).cpu()
    nearest = (vectors @ vectors.T - 2 * torch.eye(len(vectors))).argmax(dim=1).numpy()
    target, rng = batch.target.cpu().numpy().astype(float), np.random.default_rng(0)

    def agreement(labels: np.ndarray) -> float:
        if setup.has_values:
            return -float(np.square(labels - labels[nearest]).mean())
        return float((labels * labels[nearest]).sum(axis=1).mean())

    real, shuffled = agreement(target), [agreement(rng.permutation(target)) for _ in range(200)]
    seen = (
        f"agreement of the most similar pictures' labels {real:.3g}, of shuffled labels"
        f" {np.mean(shuffled):.3g} ({len(target)} images)"
    )
    if real <= np.quantile(shuffled, 0.99):
        return warn(
            seen,
            "labels may belong to other images: joined by position? See the captions in doctor/augment.png."
            " If they are right, try another backbone, or trainable=all",
        )
    return good(seen)


def augmentation(setup: Setup) -> Finding:
    """A contact sheet; draws keep shape and dtype, differ, and still look like their picture."""
    batch, transform, name = setup.sample(), transform_of(setup), f"augment={setup.config.augment}"
    images = list(batch.image[:8].cpu())
    draws = [draws_of(transform, image, row) if transform else [] for row, image in enumerate(images)]
    all_draws = [draw for row in draws for draw in row]
    shape = images[0].shape
    if wrong := [draw for draw in all_draws if draw.dtype != torch.uint8 or draw.shape != shape]:
        return fail(
            f"{name} makes {wrong[0].dtype} {tuple(wrong[0].shape)} of uint8 {tuple(shape)}",
            f"return uint8 of the size of the input; the model normalises: {WHERE}",
        )
    path = setup.paths.root / "doctor" / "augment.png"
    cells = []
    for i, image, row in zip(batch.index[:8].tolist(), images, draws):
        arrays = [picture.permute(1, 2, 0).numpy() for picture in (image, *row)]
        cells.append(Cell(arrays, [f"{setup.labels[i]}   {setup.table['id'][i]}"]))
    heads = ["plain", *(f"draw {i + 1}" for i in range(NUM_DRAWS))]
    draw_sheet(path, cells, columns=1, size=128, heads=heads)
    if transform is None and setup.config.augment != "none":
        change = 'SET="views=4", or SET="views=0" for fresh draws in each epoch'
        return warn(f"{name} has no effect with views=1 and a trunk: {path}", change)
    if transform is None:
        return good(f"none, the same pictures in every epoch: {path}")
    if all(torch.equal(draw, image) for image, row in zip(images, draws) for draw in row):
        return warn(f"{name} changes nothing: {path}", f"a transform that is never drawn? {WHERE}")
    if is_destroyed(setup, torch.stack(all_draws), images):
        return fail(
            f"{name}: the draws have nothing of their picture left: {path}",
            f"a weaker one: none, light, medium; or correct it in {WHERE}",
        )
    return good(f"{name}, {NUM_DRAWS} draws of {len(images)} images: {path}")


def is_destroyed(setup: Setup, draws: Tensor, originals: list[Tensor]) -> bool:
    """Do neither pixels nor the backbone's features of the draws resemble their picture and its label?"""
    own = torch.stack(originals).repeat_interleave(NUM_DRAWS, dim=0)

    def centred(images: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(images.float(), 8).flatten(1)
        return F.normalize(small - small.mean(dim=1, keepdim=True), dim=1)

    if (centred(draws) * centred(own)).sum(dim=1).mean() > 0.2:
        return False
    if setup.has_values:
        return True
    plain = setup.sample(MANY)
    nearest = (embed(setup, draws) @ embed(setup, plain.image).T).argmax(dim=1)
    target = plain.target[: len(originals)].repeat_interleave(NUM_DRAWS, dim=0)
    rate = float((plain.target[nearest] == target).all(dim=1).float().mean())
    chance = float(torch.stack([(plain.target == one).all(dim=1).float().mean() for one in target]).mean())
    return rate < chance + 0.25


def mirrors(setup: Setup) -> Finding:
    """No picture is mirrored whose label does not survive it."""
    competition, config = setup.competition, setup.config
    flips, transform = flips_of(setup.config, competition), transform_of(setup)
    if flips and not competition.flips:
        return fail(
            f"flips={config.flips}, but the classes are "
            f"{', '.join(competition.classes[:10])}: a mirrored 2 is no 2",
            'SET="flips=auto"; or state flips in src/competitions.py when mirrors keep the label',
        )
    if unseen := unseen_tta_views(setup.config, competition):
        return warn("; ".join(unseen), "leave them out of tta, unless predict's table of views shows a gain")
    if transform and "h" not in flips:
        share = share_mirrored(setup, transform)
        if share > 0.2:
            return fail(
                f"{share:.0%} of the draws resemble the mirrored picture, though flips={flips or 'none'}",
                f"only mirrors(flips) may mirror, and turns must be small: {config.augment} in {WHERE}",
            )
    source = "as the competition says" if flips == competition.flips else "as the experiment says"
    return good(f"flips={flips or 'none'}, {source}")


def share_mirrored(setup: Setup, transform: Transform) -> float:
    """The share of draws much nearer to the mirrored picture, of pictures that are not symmetric."""
    image = setup.sample().image.cpu()

    def small(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images.float(), 12).flatten(1)

    plain, mirrored = small(image), small(image.flip(-1))
    asymmetry = (plain - mirrored).square().mean(dim=1)
    nearer = []
    for i in torch.nonzero(asymmetry >= asymmetry.median()).flatten().tolist():
        draws = small(torch.stack(draws_of(transform, image[i], i, 8)))
        to_mirrored, to_plain = ((draws - one[i]).square().mean(dim=1) for one in (mirrored, plain))
        nearer.append(to_mirrored < 0.7 * to_plain)
    return float(torch.cat(nearer).float().mean())


def workers(setup: Setup) -> Finding:
    """Two workers draw the same as none, each its own, and something new in the next epoch."""
    transform = transform_of(setup)
    if transform is None:
        return good("nothing is drawn in the loader")
    picture = setup.sample().image[:1].permute(0, 2, 3, 1).cpu().numpy()
    copies: Any = InMemory(picture.repeat(32, axis=0))
    rows = Rows(np.zeros((32, 1), np.float32), np.ones(32, np.float32), np.zeros((32, 0), np.float32))

    def images(num_workers: int, epoch: int = 0) -> Tensor:
        cpu, transforms = torch.device("cpu"), {"": transform}
        batches = Batches([copies], rows, device=cpu, transforms=transforms, workers=num_workers)
        steps = in_steps(np.arange(32), 4, 4)
        return torch.stack([batch.image for batch in batches.train_epoch(steps, epoch)])

    alone, two = images(0), images(2)
    generator = (
        "draw from `draws`, or in a transform of one image from torch's generator (torch.rand ...), which is"
        f" seeded for each image, not from numpy or random: {WHERE}"
    )
    if not torch.equal(alone, two):
        return fail("the same images are drawn differently with 0 and with 2 workers", generator)
    if torch.equal(two[::2], two[1::2]):
        return fail("two workers draw alike", generator)
    if torch.equal(alone, images(0, epoch=1)):
        change = f"the draw must depend on the epoch: Batches in src/data/batches.py; {generator}"
        return fail("the second epoch draws what the first drew", change)
    return good("0 and 2 workers draw the same; each image and each epoch its own")


def guarded(check: Check, setup: Setup) -> Finding:
    """The check; a transform of the user's own that breaks in it is named."""
    try:
        return check(setup)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        seen = f"augment={setup.config.augment}: {type(error).__name__}: {error}"
        return fail(seen, f"images in and out as uint8 (B, 3, H, W): {WHERE}")


PICTURES: dict[str, Check] = {
    "signal": signal,
    "augment": partial(guarded, augmentation),
    "flips": partial(guarded, mirrors),
    "workers": partial(guarded, workers),
}
