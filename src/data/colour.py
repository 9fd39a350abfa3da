"""The colours of a batch: brightness, contrast, saturation and hue as linear maps, multiplied into one."""

import torch
from torch import Tensor

from src.data.draws import Draws

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)
# RGB -> brightness and two axes of colour (YIQ); a turn about the first is a change of hue
YIQ = torch.tensor(
    [LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)], dtype=torch.float64
)


def jitter(
    images: Tensor,
    draws: Draws,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensor:
    """Each image's colours changed by factors of 1 - amount to 1 + amount; hue in turns, -hue to hue."""
    return recolour(
        images,
        brightness=draws.uniform(1 - brightness, 1 + brightness),
        contrast=draws.uniform(1 - contrast, 1 + contrast),
        saturation=draws.uniform(1 - saturation, 1 + saturation),
        hue=draws.uniform(-hue, hue),
    )


def recolour(
    images: Tensor,
    brightness: Tensor | float = 1.0,
    contrast: Tensor | float = 1.0,
    saturation: Tensor | float = 1.0,
    hue: Tensor | float = 0.0,
) -> Tensor:
    """Images (B, 3, H, W) uint8 -> the same with other colours; factors and turns of hue (B,) or one for all.
    Contrast is about the image's mean brightness.
    """
    # float64: a product's last digits may depend on the batch, and don't reach a pixel then
    b, c, s, h = (
        torch.as_tensor(value, dtype=torch.float64).expand(len(images))
        for value in (brightness, contrast, saturation, hue)
    )
    matrix = (turned_hue(h) @ saturated(s) * (b * c)[:, None, None]).float().to(images.device)  # (B, 3, 3)
    offset = ((1 - c) * b).float().to(images.device) * mean_luma(images)
    pixels = images.float().contiguous()
    out = pixels[:, None, 0] * matrix[:, :, 0, None, None]
    for channel in (1, 2):
        out.addcmul_(pixels[:, None, channel], matrix[:, :, channel, None, None])
    return out.add_(offset[:, None, None, None] + 0.5).clamp_(0, 255).to(torch.uint8)


def mean_luma(images: Tensor) -> Tensor:
    """(B,) float, of every fourth pixel each way. Summed as whole numbers: the same with any batch or number
    of threads.
    """
    sample = images[..., ::4, ::4]
    means = sample.sum(dim=(2, 3)).float() / (sample.shape[2] * sample.shape[3])  # (B, 3)
    red, green, blue = means.unbind(1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def saturated(factor: Tensor) -> Tensor:
    """(B,) -> (B, 3, 3): 0 makes grey, 1 changes nothing."""
    grey = YIQ[0].expand(3, 3)
    return grey + factor[:, None, None] * (torch.eye(3) - grey)


def turned_hue(turns: Tensor) -> Tensor:
    """(B,) -> (B, 3, 3): the axes of colour turned, brightness as it was."""
    angle = 2 * torch.pi * turns
    rotation = torch.zeros(len(turns), 3, 3, dtype=torch.float64)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2] = angle.sin()
    rotation[:, 2, 1] = -angle.sin()
    return torch.linalg.inv(YIQ) @ rotation @ YIQ


def erase(images: Tensor, draws: Draws, probability: float, fill: int = 128) -> Tensor:
    """A box of 2 to 33 % of the area painted grey in some of the images (Zhong et al. 2020,
    arXiv:1708.04896).
    """
    height, width = images.shape[-2:]
    area, stretch = draws.uniform(0.02, 0.33), draws.uniform(-1.2, 1.2).exp()
    rows, columns = (area / stretch).sqrt() * height, (area * stretch).sqrt() * width
    top, left = draws.uniform() * (height - rows), draws.uniform() * (width - columns)
    boxes = torch.stack([top, top + rows, left, left + columns], dim=1).clamp(min=0).int()
    out = images.clone()
    for row in torch.nonzero(draws.chance(probability)).flatten().tolist():
        start, end, first, last = boxes[row].tolist()
        out[row, :, start:end, first:last] = fill
    return out
