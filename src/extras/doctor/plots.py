"""A curve over a logarithmic axis, drawn with Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PALE, LINE, MARKS = (
    (40, 40, 40),
    (215, 215, 215),
    (30, 90, 200),
    ((200, 40, 40), (20, 140, 60), (150, 80, 180)),
)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def draw_curve(
    path: Path,
    x: np.ndarray,
    y: np.ndarray,
    smooth: np.ndarray,
    *,
    title: str,
    marks: dict[str, float],
    size: tuple[int, int] = (760, 420),
) -> None:
    """y over a logarithmic x: the values as dots, the smoothed ones as a line, a vertical line per mark."""
    left, top, right, bottom = 60, 62, size[0] - 20, size[1] - 44
    low, high = 0.0, float(min(1.15 * y.max(), 2.5 * y[0]))
    first, last = np.log10(x[0]), np.log10(max(x[-1], *marks.values()))

    def place(value_x: float, value_y: float) -> tuple[float, float]:
        share = (np.log10(value_x) - first) / (last - first)
        return left + share * (right - left), bottom - (min(value_y, high) - low) / (high - low) * (
            bottom - top
        )

    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    pen.text((left, 8), title, INK, font(15))
    for decade in range(int(np.ceil(first)), int(np.floor(last)) + 1):
        at, _ = place(10.0**decade, 0)
        pen.line([(at, top), (at, bottom)], PALE)
        pen.text((at, bottom + 6), f"1e{decade}", INK, font(13), anchor="ma")
    for value in np.linspace(low, high, 5):
        _, at = place(x[0], value)
        pen.line([(left, at), (right, at)], PALE)
        pen.text((left - 8, at), f"{value:.2f}", INK, font(13), anchor="rm")
    pen.text(((left + right) / 2, bottom + 24), "rate", INK, font(13), anchor="ma")
    pen.text((left - 8, top - 22), "loss", INK, font(13), anchor="rm")
    for one_x, one_y in zip(x, y):
        at_x, at_y = place(one_x, one_y)
        pen.ellipse([at_x - 2, at_y - 2, at_x + 2, at_y + 2], fill=(150, 180, 230))
    pen.line([place(one_x, one_y) for one_x, one_y in zip(x, smooth)], LINE, 3)
    for number, (name, value) in enumerate(marks.items()):
        at, _ = place(value, 0)
        pen.line([(at, top), (at, bottom)], MARKS[number], 2)
        pen.text((left + number * 240, 34), f"| {name}", MARKS[number], font(14))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
