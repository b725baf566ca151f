"""Ids in paths: any text, with slashes and line breaks."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class IdConvertor(Convertor[str]):
    """Takes the rest of a path, or all before what follows it in a route: `/v1/items/{item:id}`.

    Starlette's own stops at a line break, so a request for `mug%0A` was one for `mug`.
    """

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Return the text as it is; the route's parameter bounds it."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text as it is."""
        return value


def register_ids() -> None:
    """Let routes have ids in their paths, as `{name:id}`."""
    register_url_convertor("id", IdConvertor())
