"""Contact sheets drawn with Pillow: some pictures side by side, a caption above each row or below each
picture.
"""

from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from src.data.images import read_square
from src.extras.audit.case import Case
from src.run.files import atomic

INK, CELL, LINE, GAP = (40, 40, 40), 160, 18, 6


class Cell(NamedTuple):
    """What stands together: pictures, by their places in case.images, and lines of text below."""

    places: tuple[int, ...]
    lines: tuple[str, ...]


def picture(case: Case, place: int) -> Image.Image:
    record = case.images.iloc[place].to_dict()
    try:
        return Image.fromarray(
            read_square(record, CELL, case.competition.read_image, case.competition.max_pixels)
        )
    # as many kinds as there are readers; the check `images` names it
    except Exception:
        return Image.new("RGB", (CELL, CELL), (220, 220, 220))


def draw_sheet(case: Case, name: str, cells: list[Cell], *, columns: int) -> Path:
    """The cells from left to right in runs/<name>/audit/<name>.png."""
    num = max(len(cell.places) for cell in cells)
    wide, high = num * CELL + GAP * 2, CELL + LINE * max(len(cell.lines) for cell in cells) + GAP
    sheet = Image.new("RGB", (columns * wide, -(-len(cells) // columns) * high + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for number, cell in enumerate(cells):
        x, y = number % columns * wide + GAP, number // columns * high + GAP
        for i, place in enumerate(cell.places):
            sheet.paste(picture(case, place), (x + i * (CELL + 1), y))
        for i, text in enumerate(cell.lines):
            pen.text((x, y + CELL + 1 + i * LINE), fitting(text, num * CELL, font), INK, font)
    path = case.folder / f"{name}.png"
    with atomic(path) as part:
        sheet.save(part, format="PNG")
    return path


def fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its end cut off where it is too long."""
    while text and font.getlength(text) > width:
        text = text.removesuffix("..")[:-1] + ".."
    return text
