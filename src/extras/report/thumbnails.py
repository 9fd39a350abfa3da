"""Pictures inside the page, within a budget of bytes: WebP, smaller ones where there are many."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

SIZES = (208, 176, 144, 112, 88, 64, 48)  # pixels, square


def encode(pixels: np.ndarray, size: int, quality: int = 62) -> str:
    """(H, W, 3) uint8 as WebP in base64; never enlarged."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.width > size:
        picture = picture.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=2)
    return base64.b64encode(file.getvalue()).decode("ascii")


def within(pictures: Sequence[np.ndarray], budget: int) -> list[str]:
    """All of them, as large as so many characters allow: the size is found on a sample."""
    if not len(pictures):
        return []
    sample = [pictures[i] for i in np.linspace(0, len(pictures) - 1, min(len(pictures), 12)).astype(int)]
    for size in SIZES:
        mean = sum(len(encode(one, size)) for one in sample) / len(sample)
        if mean * len(pictures) * 1.1 <= budget:
            break
    return [encode(one, size) for one in pictures]


def sprite_sheet(pictures: Sequence[np.ndarray], size: int, columns: int, quality: int = 45) -> str:
    """Small pictures in a grid of so many columns, as one WebP in base64."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * size, rows * size))
    for number, pixels in enumerate(pictures):
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.BOX)
        sheet.paste(picture, (number % columns * size, number // columns * size))
    file = io.BytesIO()
    sheet.save(file, "WEBP", quality=quality, method=4)
    return base64.b64encode(file.getvalue()).decode("ascii")
