"""Templates of the console: what Jinja passes over without a word."""

import re
from pathlib import Path

import pytest

from app.console import pages

TEMPLATES = Path(pages.__file__).parent / "templates"
PAGES = [path for path in sorted(TEMPLATES.glob("*.html")) if 'extends "base.html"' in path.read_text()]


def blocks(path: Path) -> set[str]:
    return set(re.findall(r"{% block (\w+) %}", path.read_text()))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_fills_blocks_that_the_base_has(path: Path) -> None:
    # Any other is left out of the page, with the scripts and styles that stand in it.
    assert blocks(path) <= blocks(TEMPLATES / "base.html")
