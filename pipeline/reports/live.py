"""A page of the terminal that is made again every few seconds."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from rich.console import Console, RenderableType
from rich.live import Live


def follow(make_page: Callable[[], RenderableType], console: Console, stop: Event, seconds: float) -> None:
    """Show a page, and make it again every so many seconds, until `stop` is set."""
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            live.update(make_page(), refresh=True)
            if stop.wait(seconds):
                return
