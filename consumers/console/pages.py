"""Renders the pages: Jinja templates with automatic escaping, and how figures are written in them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from consumers.console.access import Visitor

FOLDER = Path(__file__).with_name("pages")
UNKNOWN = "–"
MIB = 2**20


class Pages:
    """The templates."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "number": number,
            "figure": figure,
            "seconds": seconds,
            "mib": mib,
            "utc": utc,
        }

    def text(self, name: str, **values: object) -> str:
        """Render a template."""
        return self._environment.get_template(name).render(values)

    def page(
        self, name: str, request: Request, visitor: Visitor | None, code: int = 200, **values: object
    ) -> HTMLResponse:
        """Render a page with what all pages have: who is signed in, and where the visitor is."""
        path = request.url.path
        return HTMLResponse(self.text(name, visitor=visitor, path=path, **values), code)


def is_fragment(request: Request) -> bool:
    """Whether a script of the page asks for a part of it."""
    return request.headers.get("HX-Request") == "true"


def number(value: float | None) -> str:
    """Write a number without decimals.

    >>> number(1234.4), number(None)
    ('1,234', '–')
    """
    return UNKNOWN if value is None else f"{value:,.0f}"


def figure(value: float | None) -> str:
    """Write a figure with four decimals."""
    return UNKNOWN if value is None else f"{value:.4f}"


def seconds(value: float | None) -> str:
    """Write seconds.

    >>> seconds(0.512), seconds(75.0), seconds(8000.0), seconds(None)
    ('0.51 s', '75 s', '2.2 h', '–')
    """
    if value is None:
        return UNKNOWN
    if value >= 3_600:
        return f"{value / 3_600:.1f} h"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def mib(value: float | None) -> str:
    """Write bytes as MiB, or GiB if they are many.

    >>> mib(2**20), mib(2**31), mib(None)
    ('1 MiB', '2.0 GiB', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value / MIB:,.0f} MiB" if value < 1024 * MIB else f"{value / MIB / 1024:.1f} GiB"


def utc(time_ms: float) -> str:
    """Write a time in UTC, to the second.

    >>> utc(1_700_000_000_000)
    '2023-11-14 22:13:20'
    """
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
