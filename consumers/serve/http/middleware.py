"""Middleware of every route: limit the size of bodies, which are sent uncompressed."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.http.compression import COMPRESSED, is_compressed
from pipeline.http.problems import problem

MAX_BODY_BYTES = 512 * 1024


class BodyLimit:
    """Refuses bodies that are compressed, are too large, or have no declared length.

    Checking the declared length is enough, because the HTTP server enforces it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or respond with 411, 413 or 415."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal():
            await problem(411, "send Content-Length")(scope, receive, send)
        elif int(length) > MAX_BODY_BYTES:
            detail = f"at most {MAX_BODY_BYTES} bytes"
            await problem(413, detail)(scope, receive, send)
        elif is_compressed(headers):
            await problem(415, COMPRESSED)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
