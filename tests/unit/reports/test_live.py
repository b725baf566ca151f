"""A page that is made again."""

from __future__ import annotations

import io
from threading import Event

from rich.console import Console

from pipeline.reports.live import follow


def test_a_page_is_made_again_until_it_is_stopped() -> None:
    stop, out = Event(), io.StringIO()
    pages = iter(("first page", "second page", "last page"))

    def page() -> str:
        made = next(pages)
        if made == "last page":
            stop.set()
        return made

    follow(page, Console(file=out, force_terminal=True), stop, 0.0)
    assert all(text in out.getvalue() for text in ("first page", "second page", "last page"))
    assert next(pages, None) is None
