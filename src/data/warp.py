"""Where the pixels of a batch go: turns, shifts, zooms, crops and mirrors as matrices, multiplied into one,
so that each image is sampled once.

A matrix (B, 3, 3) maps a place in the output to the place in the input that is shown there. Both are in units
of half a side: (-1, -1) is the upper left corner, (1, 1) the lower right one. `a @ b` does b's to the result
of a's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.draws import Draws

GREY = 128  # what lies beyond the picture


def matrix(
    xx: Tensor | float = 1.0,
    xy: Tensor | float = 0.0,
    x: Tensor | float = 0.0,
    yx: Tensor | float = 0.0,
    yy: Tensor | float = 1.0,
    y: Tensor | float = 0.0,
) -> Tensor:
    """Of numbers (B,) each, or one for all: input x = xx * output x + xy * output y + x, and so for y. In
    float64: a product's last digits may depend on the batch, and don't reach a pixel then.
    """
    rows = [torch.as_tensor(value, dtype=torch.float64) for value in (xx, xy, x, yx, yy, y, 0.0, 0.0, 1.0)]
    return torch.stack(torch.broadcast_tensors(*rows), dim=-1).unflatten(-1, (3, 3))


def turn(degrees: Tensor) -> Tensor:
    """Clockwise, about the middle."""
    angle = torch.deg2rad(degrees)
    return matrix(xx=angle.cos(), xy=angle.sin(), yx=-angle.sin(), yy=angle.cos())


def zoom(factor: Tensor) -> Tensor:
    """Into the middle: 2 shows half of each side."""
    return matrix(xx=1 / factor, yy=1 / factor)


def shift(right: Tensor, down: Tensor) -> Tensor:
    """By these shares of a side."""
    return matrix(x=-2 * right, y=-2 * down)


def mirror(draws: Draws, flips: str) -> Tensor:
    """Half of the images, for each of the letters h and v in flips: those that don't change the label."""
    return matrix(
        xx=torch.where(draws.chance(0.5), -1.0, 1.0) if "h" in flips else 1.0,
        yy=torch.where(draws.chance(0.5), -1.0, 1.0) if "v" in flips else 1.0,
    )


def crop(draws: Draws, side: int, area: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """A random box of whole pixels of an image of side x side, of this share of its area and this ratio of
    width to height, as far as it fits in (Szegedy et al. 2015, arXiv:1409.4842).
    """
    pixels = draws.uniform(*area) * side**2
    stretch = draws.uniform(*torch.tensor(ratio).log().tolist()).exp()
    width, height = ((pixels * k).sqrt().round().clamp(1, side) for k in (stretch, 1 / stretch))
    left, top = ((draws.uniform() * (side - length + 1)).floor() for length in (width, height))
    return matrix(
        xx=width / side, x=(2 * left + width) / side - 1, yy=height / side, y=(2 * top + height) / side - 1
    )


def warp(images: Tensor, matrices: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """Images (B, 3, H, H) uint8 -> (B, 3, size, size) uint8, each as its matrix says. On a CPU a crop, with
    or without mirrors, is resized with an antialiased kernel for bytes, five times as fast; all others are
    sampled by mode, bilinear or nearest.
    """
    boxes = pixel_boxes(matrices, images.shape[-1])
    if boxes is not None and images.device.type == "cpu":
        return resized_boxes(images, boxes, matrices, size)
    m = matrices.float().to(images.device)
    middles = (2 * torch.arange(size, device=images.device) + 1) / size - 1  # of the output's pixels
    grid = torch.empty(len(images), size, size, 2, device=images.device)
    for axis in range(2):
        by_row = m[:, axis, 1, None] * middles + m[:, axis, 2, None]  # (B, size)
        grid[..., axis] = m[:, axis, 0, None, None] * middles + by_row[..., None]
    # a box at the edge of the picture must not blend with what lies beyond
    padding = "zeros" if boxes is None else "border"
    pixels = images.float().sub_(GREY)
    sampled = F.grid_sample(pixels, grid, mode=mode, padding_mode=padding, align_corners=False)
    return sampled.add_(GREY + 0.5).clamp_(0, 255).to(torch.uint8)


def pixel_boxes(matrices: Tensor, side: int) -> list[list[int]] | None:
    """[left, top, width, height] of the box that each image shows; None where one is turned, or no box of
    whole pixels within the picture.
    """
    if matrices[:, 0, 1].any() or matrices[:, 1, 0].any():
        return None
    middle = matrices[:, :2, 2]
    length = torch.stack([matrices[:, 0, 0], matrices[:, 1, 1]], dim=1).abs()
    exact = torch.cat([(middle - length + 1) * side / 2, length * side], dim=1)
    boxes = exact.round()
    is_inside = (boxes[:, :2] >= 0) & (boxes[:, :2] + boxes[:, 2:] <= side) & (boxes[:, 2:] > 0)
    if not is_inside.all() or (boxes - exact).abs().max() > 0.01:
        return None
    return boxes.int().tolist()


def resized_boxes(images: Tensor, boxes: list[list[int]], matrices: Tensor, size: int) -> Tensor:
    """The boxes, each resized to (size, size), and mirrored where its matrix says so."""
    out = torch.empty(len(images), 3, size, size, dtype=images.dtype)
    signs = torch.stack([matrices[:, 1, 1], matrices[:, 0, 0]], dim=1) < 0
    for row, ((left, top, width, height), mirrored) in enumerate(zip(boxes, signs.tolist())):
        box = images[row : row + 1, :, top : top + height, left : left + width]
        axes = [axis for axis, is_mirrored in zip((-2, -1), mirrored) if is_mirrored]
        picture = resize(box, size)[0]
        out[row] = picture.flip(axes) if axes else picture
    return out


def resize(images: Tensor, size: int) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, size, size) uint8, antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    if images.device.type == "cpu":
        return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    # no other device has a kernel for bytes
    pixels = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return pixels.add_(0.5).clamp_(0, 255).to(torch.uint8)
