"""The start page of a run as HTML, in the style that this project has."""

from __future__ import annotations

import hashlib
from functools import cache

from phoenix.files import FOLDER
from phoenix.health.page import Page
from phoenix.watch.page_html import html

STYLE = FOLDER / "components/home/style.css"


def render(page: Page) -> str:
    """The whole page; equal pages give equal text."""
    return html(page.model_dump(mode="json"), version())


@cache
def version() -> str:
    """The version of the style, so that a browser never shows a page with a cached older style."""
    return hashlib.sha256(STYLE.read_bytes()).hexdigest()[:12]
