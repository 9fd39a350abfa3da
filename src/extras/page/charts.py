"""Drawings as inline SVG: their colours are the page's, so that they follow light and dark, and a page needs
no other file. Text is escaped.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 360, 236  # of the view box; the page scales it to its column
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 40  # margins, in the same units
NUM_COLOURS = 8  # classes c0 ... c7 of style.css


class Scale:
    """Values to places in the view box."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        if not (np.isfinite(low) and np.isfinite(high)):
            low, high = 0.0, 1.0
        if low == high:
            low, high = low - abs(low) * 0.1 - 1e-3, high + abs(high) * 0.1 + 1e-3
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def __call__(self, values: object) -> np.ndarray:
        numbers = np.asarray(values, dtype=float)
        low, high = self.low, self.high
        if self.log:
            numbers, low, high = np.log(numbers), np.log(low), np.log(high)
        return self.start + (numbers - low) / (high - low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """About five round numbers within the range."""
        if self.log:
            powers = range(int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high))) + 1)
            ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) > 2:  # a narrow range has the ticks of a linear one
                return inside[:: -(-len(inside) // 6)]
        rough = (self.high - self.low) / 5
        power = 10.0 ** np.floor(np.log10(rough))
        step = power * next(one for one in (1, 2, 2.5, 5, 10) if one * power >= rough * 0.999)
        places = range(int(np.ceil(self.low / step - 1e-6)), int(np.floor(self.high / step + 1e-6)) + 1)
        return [float(place * step) for place in places]


class Line(NamedTuple):
    """A curve. colour: a class of style.css; look: "", thin, dashed, dots or steps."""

    x: Sequence[float]
    y: Sequence[float]
    colour: str = "c0"
    look: str = ""
    name: str = ""  # shown on hover


def x_scale(values: Sequence[float], *, log: bool = False, margin: float = 0.0) -> Scale:
    return Scale(*spread_of(values, margin, log=log), LEFT, WIDTH - RIGHT, log=log)


def y_scale(values: Sequence[float], *, margin: float = 0.05, height: float = HEIGHT) -> Scale:
    return Scale(*spread_of(values, margin), height - BOTTOM, TOP)


def spread_of(values: Sequence[float], margin: float, *, log: bool = False) -> tuple[float, float]:
    """The smallest and the largest of the finite values, with a margin on both sides."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if log:
        room = (high / low) ** margin if low > 0 else 1.0
        return max(low, 1e-9) / room, max(high, 1e-9) * room
    return low - margin * (high - low), high + margin * (high - low)


def tick_text(tick: float, ticks: Sequence[float]) -> str:
    """As few digits as tell the ticks apart; thousands and millions as k and M."""
    largest = max(abs(one) for one in ticks)
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if largest >= limit:
            return f"{tick / (1e6 if unit == 'M' else 1e3):g}{unit}"
    step = min(np.diff(ticks), default=largest or 1.0) if len(ticks) > 1 else largest or 1.0
    digits = int(np.clip(-np.floor(np.log10(abs(step) or 1.0) + 1e-9), 0, 6))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:  # 0.25
        digits += 1
    return f"{tick:.{digits}f}"


def plot(
    x: Scale,
    y: Scale,
    marks: Sequence[Markup],
    *,
    title: str,
    x_label: str,
    y_label: str,
    height: float = HEIGHT,
) -> Markup:
    """Axes, and the marks on them. title: read aloud in place of the drawing."""
    parts = []
    bottom = height - BOTTOM
    for tick in y.ticks:
        place = float(y(tick))
        parts.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, place, WIDTH - RIGHT))
        parts.append(text(LEFT - 6, place + 4, tick_text(tick, y.ticks), anchor="end"))
    for tick in x.ticks:
        parts.append(text(float(x(tick)), bottom + 16, tick_text(tick, x.ticks), anchor="middle"))
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, bottom, WIDTH - RIGHT))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, height - 6, x_label, anchor="middle", look="label"))
    parts.append(text(0, 12, y_label, look="label"))
    return svg(Markup().join([*parts, *marks]), title, height=height)


def svg(
    body: Markup, title: str, *, width: float = WIDTH, height: float = HEIGHT, look: str = "plot"
) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>').format(
        look, width, height, title, body
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", look: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, look, words
    )


def line(one: Line, x: Scale, y: Scale) -> Markup:
    """A curve, cut where a value is not finite."""
    places = np.stack([x(one.x), y(one.y)], axis=1)
    path, pen = [], "M"
    for px, py in places:
        if not np.isfinite([px, py]).all():
            pen = "M"
            continue
        path.append(f"{pen}{px:.1f} {py:.1f}")
        pen = "L"
    look = f"line {one.colour} {one.look}".strip()
    return Markup('<path class="{}" d="{}"><title>{}</title></path>').format(look, "".join(path), one.name)


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    at: float | None = None,
    at_name: str = "",
    log: bool = False,
    y_range: Sequence[float] = (),
) -> Markup:
    """Curves over one axis. at: an x that a vertical line marks. y_range: values that must be seen."""
    x = x_scale([value for one in lines for value in one.x], log=log)
    y = y_scale([*(value for one in lines for value in one.y), *y_range])
    marks = [line(one, x, y) for one in lines]
    if at is not None:
        place = float(x(at))
        marks.append(Markup('<path class="mark" d="M{:.1f} {}V{}"/>').format(place, TOP - 8, HEIGHT - BOTTOM))
        is_right = place > (LEFT + WIDTH - RIGHT) / 2  # there is room above; else the axis has its name there
        height, shift = (12, 0) if is_right else (HEIGHT - BOTTOM - 7, 5)
        anchor = "end" if is_right else "start"
        marks.append(text(place + shift, height, at_name, anchor=anchor, look="note"))
    return plot(x, y, marks, title=title, x_label=x_label, y_label=y_label)


def circles(
    x: np.ndarray, y: np.ndarray, looks: Sequence[str], names: Sequence[str], radius: float = 2.6
) -> Markup:
    """Points at these places of the view box, each with a name on hover."""
    point = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" class="{}">{}</circle>')
    hover = Markup("<title>{}</title>")
    return Markup().join(
        point.format(px, py, radius, look, hover.format(name) if name else Markup())
        for px, py, look, name in zip(x, y, looks, names)
    )


def intervals(
    names: Sequence[str],
    values: Sequence[float],
    margins: Sequence[float],
    *,
    title: str,
    x_label: str,
    marks: Sequence[tuple[float, str]] = (),
) -> Markup:
    """A point with its interval per line; marks: (value, name) of vertical lines."""
    top, row = 20, 26
    height = top + row * len(names) + BOTTOM
    margins = [0.0 if margin != margin else margin for margin in margins]
    ends = [v + m for v, m in zip(values, margins)] + [v - m for v, m in zip(values, margins)]
    left = min(24 + 7 * max(map(len, names), default=0), 150)
    low, high = spread_of([*ends, *(value for value, _ in marks)], 0.06)
    x = Scale(low, high, left, WIDTH - RIGHT)
    parts = [text(float(x(t)), height - 26, tick_text(t, x.ticks), anchor="middle") for t in x.ticks]
    parts += [
        Markup('<path class="grid" d="M{:.1f} {}V{}"/>').format(x(t), top - 6, height - 40) for t in x.ticks
    ]
    parts.append(text((left + WIDTH) / 2, height - 6, x_label, anchor="middle", look="label"))
    for value, name in marks:
        place = float(x(value))
        parts.append(Markup('<path class="mark" d="M{:.1f} {}V{}"/>').format(place, top - 6, height - 40))
        is_right = place > (left + WIDTH) / 2
        parts.append(text(place, 10, name, anchor="end" if is_right else "start", look="note"))
    for number, (name, value, margin) in enumerate(zip(names, values, margins)):
        y = top + row * number + 10
        parts.append(text(left - 10, y + 4, name, anchor="end"))
        if value != value:
            continue
        look = "c1" if number == len(names) - 1 and len(names) > 1 else "c0"
        span = '<path class="line {}" d="M{:.1f} {}H{:.1f}"/><circle class="{}" cx="{:.1f}" cy="{}" r="4.5"/>'
        parts.append(Markup(span).format(look, x(value - margin), y, x(value + margin), look, x(value), y))
    return svg(Markup().join(parts), title, height=height)


def histograms(
    parts: Sequence[tuple[str, np.ndarray, str]],
    *,
    title: str,
    x_label: str,
    log: bool = False,
    bins: int = 30,
) -> Markup:
    """The shares of several groups of numbers over the same bins, as steps. parts: (name, values, colour)."""
    values = np.concatenate([one for _, one, _ in parts])
    low, high = spread_of(list(np.quantile(values, [0.002, 0.998])) if len(values) else [], 0.02, log=log)
    edges = np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
    lines = []
    for name, numbers, colour in parts:
        share = np.histogram(numbers.clip(low, high), edges)[0] / max(len(numbers), 1)
        lines.append(
            Line(np.repeat(edges, 2)[1:-1].tolist(), np.repeat(share, 2).tolist(), colour, "steps", name)
        )
    return line_chart(lines, title=title, x_label=x_label, y_label="share", log=log, y_range=(0.0,))


def sparkline(values: Sequence[float], title: str, *, lower_is_better: bool = False) -> Markup:
    """A curve without axes, its best point marked."""
    finite = [value for value in values if value == value]
    if len(finite) < 2:
        return Markup()
    x, y = Scale(0, len(values) - 1, 3, 87), Scale(*spread_of(finite, 0), 23, 3)
    best = int(np.nanargmin(values) if lower_is_better else np.nanargmax(values))
    body = line(Line(range(len(values)), values), x, y)
    body += circles(x([best]), y([values[best]]), ["c1"], [""], radius=3)
    return svg(body, title, width=90, height=26, look="spark")
