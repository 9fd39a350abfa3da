"""Report and board in a real Chromium: no error, no request, light and dark, phone and desktop, by mouse and
by keyboard, and fit for a screen reader by axe-core.
"""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Bench, fast, open_run
from PIL import Image
from test_report import SCRIPT

from src.extras import pictures
from src.extras.board import command as board
from src.extras.report import command as report

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here: apt install chromium"),
]
SCREENS = [(scheme, width) for scheme in ("light", "dark") for width in (390, 1400)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Iterator[dict[str, Path]]:
    """The report of a run whose first class is a script, with views and a neighbour, and the board of both."""
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(tmp_path_factory.mktemp("kit"), patch)
        for name in ("train.csv", "sample_submission.csv"):
            table = pd.read_csv(bench.inputs / name)
            table.assign(colour=table["colour"].replace("blue", SCRIPT)).to_csv(
                bench.inputs / name, index=False
            )
        bench.run(fast("epochs=1"), "first")
        second = bench.run(fast("epochs=3 tta=hflip"), "second")
        Path("submissions/ledger.csv").write_text("submission,public,private\nsecond.csv,0.61,0.6\n")
        yield {"report": report.report(open_run(second)).resolve(), "board": board.board().resolve()}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, pages) -> Iterator[object]:
    """opened(name, scheme, width): the page; at the end, that it had no error and asked for nothing."""
    contexts, problems = [], []

    def open_page(name: str, scheme: str = "light", width: int = 1400):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: requested.append(request.url))
        requested: list[str] = []
        page.goto(pages[name].as_uri())
        page.wait_for_load_state("networkidle")
        asked = [url for url in requested if not url.startswith("data:")]
        assert asked == [pages[name].as_uri()]
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems, problems


@pytest.mark.parametrize("name", ["report", "board"])
@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_a_page_fits_the_screen_and_axe_finds_no_serious_fault(opened, name, scheme, width):
    page = opened(name, scheme, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, re.findall(r"\d+", background))) > 200) == (scheme == "light")
    violations = axe.Axe().run(page).response["violations"]
    serious = [
        f"{one['id']}: {[node['target'] for node in one['nodes'][:3]]}"
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious, serious


def column(page, caption: str, number: int) -> list[str]:
    cells = page.locator(
        f"figure.table:has(figcaption:has-text('{caption}')) tbody tr > :nth-child({number})"
    )
    return cells.all_inner_texts()


def test_tables_are_sorted_and_the_matrix_is_ordered_anew(opened):
    page = opened("report")
    head = page.locator("figure.table:has(figcaption:has-text('Each class')) thead button").nth(2)
    head.click()
    falling = [float(text) for text in column(page, "Each class", 3)]
    head.click()
    rising = [float(text) for text in column(page, "Each class", 3)]
    assert falling == sorted(falling, reverse=True) and rising == falling[::-1] and len(set(rising)) > 1
    names = page.locator("figure.matrix tbody th")
    before = names.all_inner_texts()
    page.locator("figure.matrix select").select_option("by recall")
    assert sorted(names.all_inner_texts()) == sorted(before) and SCRIPT in before
    diagonal = page.evaluate(
        "[...document.querySelectorAll('figure.matrix tbody tr')].every((row, i) => row.cells[i +"
        " 1].matches('.right'))"
    )
    assert diagonal, "rows and columns move together"


def test_images_are_filtered_enlarged_and_gone_through_by_keyboard(opened):
    page = opened("report")
    gallery, tiles = page.locator("#gallery"), page.locator("#gallery .tile-button")
    gallery.locator("select[name=kind]").select_option("")
    everything = tiles.count()
    assert everything >= 24
    gallery.locator("select[name=fold]").select_option("1")
    assert 0 < tiles.count() < everything
    gallery.locator(".reset").click()
    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.tile-button')[1]")
    page.keyboard.press("Enter")
    dialog = page.locator("#enlarged")
    assert dialog.is_visible() and "(2 of" in dialog.inner_text()
    page.keyboard.press("ArrowRight")
    assert "(3 of" in dialog.inner_text()
    box = dialog.locator("img").bounding_box()
    assert box["width"] > 250 and dialog.locator("img").evaluate("image => image.naturalWidth") > 0
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement === document.querySelectorAll('.tile-button')[2]")
    page.locator(".matrix td button").first.click()
    assert gallery.locator("select[name=label]").input_value() != ""
    assert tiles.count() >= 1, "each cell has something to show"


def test_the_heat_map_and_the_map_of_images_are_drawn(opened):
    page = opened("report", "dark", 390)
    is_drawn = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v"
        " > 0)"
    )
    assert page.locator(".tile-button canvas").first.evaluate(is_drawn)
    assert page.locator("#map-figure canvas").evaluate(is_drawn)
    page.locator("#map-figure canvas").scroll_into_view_if_needed()
    box = page.locator("#map-figure canvas").bounding_box()
    found = False
    for step in range(400):  # somewhere there is a point
        page.mouse.move(box["x"] + step % 20 / 20 * box["width"], box["y"] + step // 20 / 20 * box["height"])
        if found := page.locator("#map-figure .tip").is_visible():
            break
    assert found and page.locator("#map-figure .tip p").inner_text()


def test_the_board_is_filtered_and_sorted(opened):
    page = opened("board")
    rows = page.locator("#runs tbody tr:visible")
    assert rows.count() == 2
    page.locator("#runs input").fill("epochs=3")
    assert rows.count() == 1 and "1 of 2 rows" in page.locator("#runs .count").inner_text()
    page.locator("#runs input").fill("")
    page.locator("#runs thead button").first.click()
    assert column(page, "The newest first", 1) == ["first", "second"]
    assert page.locator("#runs svg.spark").count() == 1
    assert page.locator("#runs a").first.get_attribute("href") == "second/report.html"


def test_pictures_are_taken_of_parts_of_the_pages(browser, pages, tmp_path):
    shot = pictures.Shot("", "#curves", 600, 400, "dark")
    picture = Image.open(io.BytesIO(pictures.take(browser, pages["report"], shot)))
    assert picture.size == (600, 400) and np.asarray(picture.convert("L")).mean() < 100
    path = pictures.save(picture, tmp_path / "images" / "curves.webp")
    assert Image.open(path).format == "WEBP" and path.stat().st_size < 40_000


def test_a_page_is_readable_on_paper_and_without_its_script(browser, pages):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["report"].as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible() and page.locator("#classes table").first.is_visible()
    assert "switched off here" in page.locator("noscript").first.inner_text()
    context.close()
