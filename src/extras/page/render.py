"""A page as one file: style, script and pictures are inside, and its policy forbids any request."""

from pathlib import Path
from typing import Any

from src.extras.page.blocks import Section
from src.run.files import write_text

FOLDER = Path(__file__).parent


def render(template: str, folder: Path, *, sections: list[Section], **values: Any) -> str:
    """The HTML of a template in `folder` that extends base.html.j2. Whatever is put in is escaped. Raises
    ValueError without jinja2.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ValueError("this page needs jinja2: pip install -r requirements-report.txt") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(sections=sections, **values)


def write_page(html: str, path: Path) -> float:
    """Write it whole or not at all; returns its size in MB."""
    write_text(html, path)
    return path.stat().st_size / 1e6
