"""Mixup and CutMix, once per batch; on cached features they mix at the cut."""

import numpy as np
import torch
from torch import Tensor

from src.config import Config


def mix(image: Tensor, target: Tensor, weight: Tensor, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) or CutMix (Yun et al. 2019, arXiv:1905.04899); where both
    are on, each batch draws one of them.

    A mixed image has the mean of its two parts' weights, and its target holds each part by its weight, so
    that class_weights balance the classes as they do without mixing.
    """
    use_cutmix = config.cutmix > 0 and image.ndim == 4 and (config.mixup <= 0 or torch.rand(()) < 0.5)
    alpha = config.cutmix if use_cutmix else config.mixup
    if alpha <= 0:
        return image, target, weight
    share = float(np.random.default_rng(torch.randint(2**62, ()).item()).beta(alpha, alpha))
    partner = torch.randperm(len(image), device="cpu").to(image.device)
    if use_cutmix:
        image, share = paste_box(image, partner, share)
    else:
        image = image.float()  # uint8 would be truncated
        image = share * image + (1 - share) * image[partner]
    mixed_weight = share * weight + (1 - share) * weight[partner]
    weighted = weight[:, None] * target
    target = (share * weighted + (1 - share) * weighted[partner]) / mixed_weight[:, None]
    return image, target, mixed_weight


def paste_box(image: Tensor, partner: Tensor, share: float) -> tuple[Tensor, float]:
    """Paste a box of the partner's image into each image (B, C, H, W); returns the share of the image that is
    left. The box's centre is anywhere in the image and what lies outside is cut off, as in the paper.
    """
    height, width = image.shape[-2:]
    box_height, box_width = round(height * (1 - share) ** 0.5), round(width * (1 - share) ** 0.5)
    top = int(torch.randint(height, ())) - box_height // 2
    left = int(torch.randint(width, ())) - box_width // 2
    rows = slice(max(top, 0), min(top + box_height, height))
    columns = slice(max(left, 0), min(left + box_width, width))
    image = image.clone()
    image[..., rows, columns] = image[partner][..., rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return image, 1 - pasted / (height * width)
