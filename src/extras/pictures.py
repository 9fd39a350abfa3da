"""The pictures of README and docs: report and board in a browser, and the doctor's sheet. Their photographs
are of the clothing competition, which is in the public domain (CC0). runs/ -> docs/images/

Run: python -m src pictures [run]        make pictures
"""

import io
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from src.run.files import atomic

FOLDER = Path("docs/images")
RUN, DOCTOR = "clothing-head", "clothing-baseline"  # runs: of the report, and of the sheet that augments
WIDTH, QUALITY = 1200, 80  # pixels at most, and WebP's
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Shot(NamedTuple):
    """A part of a page as it looks on a screen."""

    page: str  # below runs/
    start: str  # a selector: what stands at the top of the picture
    width: int
    height: int
    scheme: str = "light"


SHOTS = {
    "report": Shot("{run}/report.html", "header", 1200, 1130),
    "curves": Shot("{run}/report.html", "#curves", 1200, 620),
    "mistakes": Shot("{run}/report.html", "#mistakes", 1200, 1000),
    "board": Shot("index.html", "header", 1400, 1250),
}


def pictures(runs: Path = Path("runs"), run: str = RUN, folder: Path = FOLDER) -> list[Path]:
    """Write all pictures; returns their paths. Raises ValueError for what is missing."""
    sheet = runs / DOCTOR / "doctor" / "augment.png"
    needed = {shot.page.format(run=run) for shot in SHOTS.values()}
    missing = [path for path in [*(runs / page for page in sorted(needed)), sheet] if not path.exists()]
    if missing:
        raise ValueError(
            f"{missing[0]} is not there: make submit COMP=clothing EXP=head REPORT=1, make doctor"
            " COMP=clothing, make board, then make pictures"
        )
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ValueError("pictures are taken by playwright: pip install -r requirements-dev.txt") from error
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise ValueError(f"pictures are taken in a browser, and none of {', '.join(BROWSERS)} is here")
    paths = []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, shot in SHOTS.items():
            png = take(chromium, (runs / shot.page.format(run=run)).resolve(), shot)
            paths.append(save(Image.open(io.BytesIO(png)), folder / f"{name}.webp"))
        chromium.close()
    with Image.open(sheet) as picture:
        top = picture.crop((0, 0, picture.width, min(picture.height, picture.width)))
        paths.append(save(top, folder / "doctor.webp"))
    for path in paths:
        print(f"pictures: {path}, {path.stat().st_size / 1000:.0f} kB")
    return paths


def take(chromium: Any, page_file: Path, shot: Shot) -> bytes:
    """The picture of a part of a page, as PNG."""
    page = chromium.new_page(viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme)
    page.goto(page_file.as_uri())
    page.add_style_tag(
        content="nav { position: static !important } html { scroll-behavior: auto !important }"
    )
    top = page.locator(shot.start).first.bounding_box()["y"]
    clip = {"x": 0, "y": max(top, 0) + 1, "width": shot.width, "height": shot.height}
    png = page.screenshot(full_page=True, clip=clip)
    page.close()
    return png


def save(picture: Image.Image, path: Path) -> Path:
    """As WebP, no wider than WIDTH."""
    picture = picture.convert("RGB")
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    with atomic(path) as part:
        picture.save(part, "WEBP", quality=QUALITY, method=6)
    return path


def main(words: list[str]) -> None:
    if len(words) > 1:
        raise ValueError("usage: python -m src pictures [run]        make pictures")
    pictures(run=words[0] if words else RUN)
