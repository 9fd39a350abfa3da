"""A curve over a logarithmic axis, drawn with Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from src.extras.contact_sheet import INK, font

PALE, DOT, LINE = (225, 225, 225), (150, 180, 230), (30, 90, 200)
MARKS = ((200, 40, 40), (20, 140, 60), (150, 80, 180))
WIDTH, HEIGHT = 760, 440
LEFT, TOP, RIGHT, BOTTOM = 64, 66, WIDTH - 20, HEIGHT - 48  # of the axes


def draw_curve(
    path: Path, x: np.ndarray, y: np.ndarray, smooth: np.ndarray, *, title: str, marks: dict[str, float]
) -> None:
    """Loss y over a rate x: the values as dots, the smoothed ones as a line, a vertical line per mark."""
    high = float(min(1.15 * y.max(), 2.5 * y[0]))
    first, last = np.log10(x[0]), np.log10(max(x[-1], *marks.values()))

    def place_x(value: float) -> float:
        return LEFT + (np.log10(value) - first) / (last - first) * (RIGHT - LEFT)

    def place_y(value: float) -> float:
        return BOTTOM - min(value, high) / high * (BOTTOM - TOP)

    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((LEFT, 8), title, INK, font(15))
    for decade in range(int(np.ceil(first)), int(np.floor(last)) + 1):
        at = place_x(10.0**decade)
        pen.line([(at, TOP), (at, BOTTOM)], PALE)
        pen.text((at, BOTTOM + 6), f"1e{decade}", INK, font(), anchor="ma")
    for value in np.linspace(0, high, 5):
        at = place_y(value)
        pen.line([(LEFT, at), (RIGHT, at)], PALE)
        pen.text((LEFT - 8, at), f"{value:.2f}", INK, font(), anchor="rm")
    pen.text(((LEFT + RIGHT) / 2, BOTTOM + 26), "learning rate of the head", INK, font(), anchor="ma")
    pen.text((LEFT - 8, TOP - 18), "loss", INK, font(), anchor="rm")
    for at_x, at_y in zip(map(place_x, x), map(place_y, y)):
        pen.ellipse([at_x - 2, at_y - 2, at_x + 2, at_y + 2], fill=DOT)
    pen.line([(place_x(a), place_y(b)) for a, b in zip(x, smooth)], LINE, 3)
    for number, (name, value) in enumerate(marks.items()):
        pen.line([(place_x(value), TOP), (place_x(value), BOTTOM)], MARKS[number], 2)
        pen.line([(LEFT + number * 240, 42), (LEFT + number * 240 + 18, 42)], MARKS[number], 3)
        pen.text((LEFT + number * 240 + 26, 34), name, MARKS[number], font(14))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
