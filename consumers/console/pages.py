"""Renders the pages: Jinja templates with automatic escaping."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from consumers.console.access import Visitor
from pipeline.reports.numbers import figure, mib, number, seconds, utc
from pipeline.wording import counted

FOLDER = Path(__file__).with_name("pages")


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
            "counted": counted,
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
