"""A contact sheet drawn with Pillow: pictures in a grid, with captions. Shared by audit and doctor."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.run.files import atomic

INK = (40, 40, 40)
LINE, GAP = 18, 12  # pixels: of a line of text, and between cells


class Cell(NamedTuple):
    """Pictures that belong together, side by side, and the lines of text below them."""

    images: Sequence[np.ndarray]  # uint8 (H, W, 3)
    captions: Sequence[str]


def font(size: int = 13) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def draw_sheet(
    path: Path, cells: Sequence[Cell], *, columns: int, size: int, heads: Sequence[str] = ()
) -> Path:
    """Save the cells, row by row, as a PNG of size x size pictures. heads: above the first cell."""
    num_images = max(len(cell.images) for cell in cells)
    num_lines = max(len(cell.captions) for cell in cells)
    width = num_images * (size + 1) + GAP
    height = size + num_lines * LINE + GAP
    top = GAP + (LINE if heads else 0)
    num_rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (GAP + min(columns, len(cells)) * width, top + num_rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for i, head in enumerate(heads[:num_images]):
        pen.text((GAP + i * (size + 1), GAP // 2), head, INK, font())
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        x, y = GAP + column * width, top + row * height
        for i, image in enumerate(cell.images):
            sheet.paste(Image.fromarray(image).resize((size, size)), (x + i * (size + 1), y))
        for i, caption in enumerate(cell.captions):
            pen.text((x, y + size + 1 + i * LINE), shorten(caption, width - GAP), INK, font())
    with atomic(path) as part:
        sheet.save(part, format="PNG")
    return path


def shorten(text: str, width: int) -> str:
    """The text, its end cut off where it is wider than so many pixels."""
    while text and font().getlength(text) > width:
        text = text.removesuffix("..")[:-1] + ".."
    return text
