"""The plot of `make bench ONLY=scale`.  scale.json -> an SVG that follows light and dark

Run: python -m src.extras.bench.scale_plot scale.json docs/images/scale.svg
"""

import sys
from pathlib import Path

from src.extras.bench.scale import Part
from src.extras.page.charts import Scale
from src.run.files import read_json, write_text

# what is drawn, of which field
PANELS = (
    ("seconds of all cores", "processor"),
    ("anonymous memory, MiB", "anonymous"),
    ("open files", "files"),
)
COLOURS = "#1f77b4 #d97706 #2e8b57 #b4318c #7c6fd6 #b03030 #5f6b7a".split()
WIDTH, HEIGHT, LEFT, TOP, GAP = 230, 190, 52, 34, 64  # of a panel, and around it
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}path{fill:none;stroke-width:2}"
    ".grid{stroke:#8884;stroke-width:1}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}}"
)


def plot(parts: list[Part]) -> str:
    """A row of panels per kind of competition: each field over the number of images, both logarithmic."""
    kinds = list(dict.fromkeys(part.kind for part in parts))
    width, height = LEFT + len(PANELS) * (WIDTH + GAP) + 40, TOP + len(kinds) * (HEIGHT + GAP)
    drawn = [
        panel([part for part in parts if part.kind == kind], title, field, column, row)
        for row, kind in enumerate(kinds)
        for column, (title, field) in enumerate(PANELS)
    ]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{"".join(drawn)}</svg>\n'


def panel(parts: list[Part], title: str, field: str, column: int, row: int) -> str:
    left, top = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP)
    sizes, values = [part.size for part in parts], [max(getattr(part, field), 0.1) for part in parts]
    x = Scale(min(sizes), max(sizes), left, left + WIDTH, log=True)
    y = Scale(min(values) / 1.3, max(values) * 1.3, top + HEIGHT, top, log=True)
    words = [text(left, top - 10, f"{parts[0].kind}: {title}")]
    for size in sorted({*sizes}):
        words.append(text(float(x(size)), top + HEIGHT + 16, f"{size:,}", "middle"))
    for tick in y.ticks:
        at = float(y(tick))
        words.append(f'<path class="grid" d="M{left},{at:.1f}H{left + WIDTH}"/>')
        words.append(text(left - 6, at + 4, f"{tick:g}", "end"))
    names = dict.fromkeys(part.part for part in parts)
    for name, colour in zip(names, COLOURS):
        own = sorted((part.size, max(getattr(part, field), 0.1)) for part in parts if part.part == name)
        points = [f"{float(x(size)):.1f},{float(y(value)):.1f}" for size, value in own]
        words.append(f'<path stroke="{colour}" d="M{"L".join(points)}"><title>{name}</title></path>')
        if column == len(PANELS) - 1:
            place = top + 14 + 18 * list(names).index(name)
            words.append(text(left + WIDTH + 8, place, name, colour=colour))
    return "".join(words)


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = "") -> str:
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{words}</text>'


def main(source: str, target: str) -> None:
    write_text(plot([Part(**part) for part in read_json(Path(source))["parts"]]), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
