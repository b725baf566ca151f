"""Middleware of every route: limit the size of bodies, which are sent uncompressed."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.http.compression import COMPRESSED, is_compressed
from pipeline.http.problems import problem

MAX_BODY_BYTES = 512 * 1024
TOO_LARGE = f"at most {MAX_BODY_BYTES} bytes"


class BodyLimit:
    """Refuses bodies that are compressed or too large.

    A declared length is enough to know, because the HTTP server enforces it. What comes in chunks has none,
    as from .NET's client and from streams, and is counted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or respond with 413 or 415."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if int(headers.get("content-length", "0")) > MAX_BODY_BYTES:
            await problem(413, TOO_LARGE)(scope, receive, send)
        elif is_compressed(headers):
            await problem(415, COMPRESSED)(scope, receive, send)
        else:
            await self._app(scope, _counted(receive) if "transfer-encoding" in headers else receive, send)


def _counted(receive: Receive) -> Receive:
    """Receive a body of unknown length, up to the bound.

    Raises:
        HTTPException: on receipt of what exceeds it.
    """
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)
        return message

    return counted
