"""Checks of what the model is shown: a contact sheet of the augmentation, mirrors, two workers' draws, and
whether pictures tell labels at all.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.data import features
from src.data.augment import Transform, seeded
from src.data.batches import Batches, Rows
from src.extras.contact_sheet import Cell, draw_sheet
from src.extras.doctor.case import Case, Check
from src.extras.findings import Finding, fail, good, warn
from src.run.seeds import seed_of

MANY, FEW = 192, 20  # images whose features are compared; below FEW chance alone decides


def transform_of(case: Case) -> Transform | None:
    """What is drawn in training; None where every epoch shows the plain pictures."""
    views = features.training_views(case.job.competition, case.settings, has_trunk=bool(case.model.cut_at))
    return next((transform for transform in views.values() if transform is not None), None)


def drawn(transform: Transform, image: Tensor, row: int, number: int = 4) -> list[Tensor]:
    return [seeded(transform, image, seed_of("doctor", row, i)) for i in range(number)]


@torch.no_grad()
def embed(case: Case, image: Tensor) -> Tensor:
    """(N, F) unit vectors: what the untrained classifier's head is given."""
    case.model.eval()
    parts = [
        case.model.tail(case.model.features(part)).float()
        for part in image.to(case.job.accelerator.device).split(32)
    ]
    found = torch.cat(parts)
    return F.normalize(found.flatten(2).mean(dim=2) if found.ndim > 2 else found, dim=1)


def signal(case: Case) -> Finding:
    """Are pictures with the same label more alike than with labels dealt out at random? Nearest neighbours in
    the backbone's features.
    """
    batch = case.sample(MANY)
    if len(batch.target) < FEW:
        return good(f"{len(batch.target)} images are too few to tell")
    vectors = embed(case, batch.image)
    nearest = (
        (vectors @ vectors.T - 2 * torch.eye(len(vectors), device=vectors.device)).argmax(dim=1).cpu().numpy()
    )
    target, rng = batch.target.cpu().numpy().astype(float), np.random.default_rng(0)

    def alike(target: np.ndarray) -> float:
        other = target[nearest]
        return float(
            -np.square(target - other).mean() if case.has_values else (target * other).sum(axis=1).mean()
        )

    found, by_chance = alike(target), [alike(rng.permutation(target)) for _ in range(200)]
    seen = (
        f"the nearest picture's label agrees {found:.3g}, with labels dealt out at random"
        f" {np.mean(by_chance):.3g} ({len(target)} images)"
    )
    if found <= np.quantile(by_chance, 0.99):
        return warn(
            seen,
            "labels may belong to other images (joined by position? look at the captions of"
            " doctor/augment.png), or this backbone does not see the difference: try another one, or"
            " trainable=all",
        )
    return good(seen)


def augmentation(case: Case) -> Finding:
    """Contact sheet of 8 images, plain and drawn 4 times; the draws keep shape and dtype, differ, and still
    look like their picture.
    """
    batch, transform = case.sample(), transform_of(case)
    images = list(batch.image[:8].cpu())
    rows = [[image, *(drawn(transform, image, row) if transform else [])] for row, image in enumerate(images)]
    wrong = [
        f"{one.dtype} {tuple(one.shape)}"
        for row in rows
        for one in row
        if one.dtype != torch.uint8 or one.shape != row[0].shape
    ]
    if wrong:
        return fail(
            f"augment={case.config.augment} makes {wrong[0]} of uint8 {tuple(images[0].shape)}",
            "return uint8 of the size given; the model normalises: src/data/augment.py",
        )
    path = case.paths.root / "doctor" / "augment.png"
    ids = [case.job.table["id"][int(i)] for i in batch.index[:8]]
    captions = [f"{case.labels[int(i)]}   {name}" for i, name in zip(batch.index[:8], ids)]
    arrays = [[one.permute(1, 2, 0).numpy() for one in row] for row in rows]
    cells = [Cell(row, [caption]) for row, caption in zip(arrays, captions)]
    draw_sheet(path, cells, columns=1, size=128, heads=["plain", *(f"draw {i}" for i in range(1, 5))])
    if transform is None:
        if case.config.augment != "none":
            return warn(
                f"augment={case.config.augment} has no effect with views=1 and a trunk: {path}",
                "views=4, or views=0 for fresh draws",
            )
        return good(f"none, the same pictures in every epoch: {path}")
    draws = torch.stack([one for row in rows for one in row[1:]])
    if all(torch.equal(one, row[0]) for row in rows for one in row[1:]):
        return warn(
            f"augment={case.config.augment} changes nothing: {path}",
            "a transform that is never drawn? src/data/augment.py",
        )
    if is_destroyed(case, draws, [row[0] for row in rows]):
        return fail(
            f"augment={case.config.augment}: the draws have nothing of their picture left: {path}",
            "a weaker one: none, light, medium; or mend it in src/data/augment.py",
        )
    return good(f"augment={case.config.augment}, 4 draws of {len(rows)} images: {path}")


def is_destroyed(case: Case, draws: Tensor, originals: list[Tensor]) -> bool:
    """Neither do the pixels resemble the original's, nor is the nearest plain picture in the backbone's
    features one of the same label.
    """
    own = torch.stack(originals).repeat_interleave(len(draws) // len(originals), dim=0)

    def centred(images: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(images.float(), 8).flatten(1)
        return F.normalize(small - small.mean(dim=1, keepdim=True), dim=1)

    if (centred(draws) * centred(own)).sum(dim=1).mean() > 0.2:
        return False
    if case.has_values:
        return True
    plain = case.sample(MANY)
    nearest = (embed(case, draws) @ embed(case, plain.image).T).argmax(dim=1)
    target = plain.target[: len(originals)].repeat_interleave(len(draws) // len(originals), dim=0)
    found = float((plain.target[nearest] == target).all(dim=1).float().mean())
    by_chance = float(torch.stack([(plain.target == one).all(dim=1).float().mean() for one in target]).mean())
    return found < by_chance + 0.25


def mirrors(case: Case) -> Finding:
    """Nothing is mirrored that the label does not survive."""
    competition, flips = case.job.competition, features.flips_of(case.job.competition, case.settings)
    if flips and not competition.flips:
        return fail(
            f"flips={case.config.flips}, but the classes are {', '.join(competition.classes[:10])}: mirrored,"
            " a 2 is no 2",
            "flips=auto; or state flips in src/competitions.py when mirrors keep the label",
        )
    if unseen := features.unseen(competition, case.settings):
        return warn("; ".join(unseen), "leave them out, unless predict's table of views shows a gain")
    transform = transform_of(case)
    if transform and "h" not in flips:
        share = share_mirrored(case, transform)
        if share > 0.2:
            return fail(
                f"{share:.0%} of the draws are nearer to the mirrored picture than to the picture, though"
                f" flips={flips or 'none'}",
                "leave mirrors to mirrors(flips), and no turn by more than some degrees:"
                f" {case.config.augment} in src/data/augment.py",
            )
    return good(
        f"flips={flips or 'none'}"
        + (", as the competition says" if flips == competition.flips else ", by the experiment's word")
    )


def share_mirrored(case: Case, transform: Transform) -> float:
    """Of the draws, how many are much nearer to the mirrored picture than to the picture, and of those
    pictures that are not symmetric.
    """
    image = case.sample().image.cpu()

    def small(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images.float(), 12).flatten(1)

    plain, mirrored = small(image), small(image.flip(-1))
    uneven = (plain - mirrored).square().mean(dim=1)
    asymmetric = torch.nonzero(uneven >= uneven.median()).flatten().tolist()
    draws = [small(torch.stack(drawn(transform, image[i], i, 8))) for i in asymmetric]
    nearer = [
        (d - mirrored[i]).square().mean(dim=1) < 0.7 * (d - plain[i]).square().mean(dim=1)
        for i, d in zip(asymmetric, draws)
    ]
    return float(torch.cat(nearer).float().mean())


def workers(case: Case) -> Finding:
    """32 copies of one picture: two workers draw the same as none, not the same as each other, and something
    new in the next epoch.
    """
    transform = transform_of(case)
    if transform is None:
        return good("nothing is drawn in the loader")
    copies: Any = SimpleNamespace(
        values=case.sample().image[:1].permute(0, 2, 3, 1).cpu().numpy().repeat(32, axis=0)
    )
    rows = Rows(np.zeros((32, 1), np.float32), np.ones(32, np.float32), np.zeros((32, 0), np.float32))

    def images(number: int, epoch: int = 0) -> Tensor:
        batches = Batches(
            [copies], rows, device=torch.device("cpu"), transforms={"": transform}, workers=number
        )
        return torch.stack([batch.image for batch in batches(np.arange(32), 4, epoch)])

    alone, two = images(0), images(2)
    generator = (
        "draw from torch's generator (torch.rand ...), which is seeded for each image, not from numpy or"
        " random: src/data/augment.py"
    )
    if not torch.equal(alone, two):
        return fail("the same images are drawn differently with 0 and with 2 workers", generator)
    if torch.equal(two[::2], two[1::2]):
        return fail("two workers draw alike", generator)
    if torch.equal(alone, images(0, epoch=1)):
        return fail(
            "the second epoch draws what the first drew",
            f"the draw must depend on the epoch: Batches in src/data/batches.py; {generator}",
        )
    return good("0 and 2 workers draw the same; each image and each epoch its own")


def guarded(check: Check, case: Case) -> Finding:
    """A transform of one's own that breaks is said to, with its name."""
    try:
        return check(case)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        return fail(
            f"augment={case.config.augment}: {type(error).__name__}: {error}",
            "image in and out as uint8 (3, H, W): src/data/augment.py",
        )


PICTURES: dict[str, Check] = {
    "signal": signal,
    "augment": partial(guarded, augmentation),
    "flips": partial(guarded, mirrors),
    "workers": partial(guarded, workers),
}
