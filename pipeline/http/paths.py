"""Paths of requests: ids are any text, with slashes and line breaks; a slash behind a route says nothing."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Router
from starlette.types import Receive, Scope, Send


class IdConvertor(Convertor[str]):
    """Takes the rest of a path, or all before what follows it in a route: `/v1/items/{item:id}`.

    Starlette's own stops at a line break, so a request for `mug%0A` was one for `mug`. At the end of a path
    nothing is no id, because `/v1/items/` is `/v1/items`.
    """

    regex = "(?s:.+|(?=/))"

    def convert(self, value: str) -> str:
        """Return the text as it is; the route's parameter bounds it."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text as it is."""
        return value


class _WithoutSlash:
    """Answers a path that no route has, and that ends in slashes, as the path without them."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._unknown = router.default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the routes once more, or say that there is no such route."""
        path = scope["path"].rstrip("/")
        if scope["type"] != "http" or path == scope["path"]:
            await self._unknown(scope, receive, send)
            return
        scope["path"] = path
        await self._router(scope, receive, send)


def register_ids() -> None:
    """Let routes have ids in their paths, as `{name:id}`."""
    register_url_convertor("id", IdConvertor())


def answer_with_slashes(app: FastAPI) -> None:
    """Let an application answer `/v1/items/` as `/v1/items`, instead of with a redirect.

    Few clients send a body or a key once more, and behind a proxy the redirect names another host or scheme.
    """
    app.router.redirect_slashes = False
    app.router.default = _WithoutSlash(app.router)
