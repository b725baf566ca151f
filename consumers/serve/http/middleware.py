"""What stands before every route: the size of bodies, and the time and status of answers."""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence

from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumers.serve.schemas import Problem
from pipeline import metrics

MOST_BODY_BYTES = 512 * 1024


class BodyLimit:
    """Refuses bodies that are too large or do not say how large they are.

    A declared length is enough to look at: the HTTP server holds senders to it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 411 or 413."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal():
            await problem(411, "Length Required", "send Content-Length")(scope, receive, send)
        elif int(length) > MOST_BODY_BYTES:
            said = f"at most {MOST_BODY_BYTES} bytes"
            await problem(413, "Content Too Large", said)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class RequestTimes:
    """Observes how long each answer took, by route template and status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and observe it; one that broke counts as 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            # A path that no route knows is one label value, or the series would grow for ever.
            route = getattr(scope.get("route"), "path_format", "unknown")
            seconds = time.perf_counter() - started
            metrics.REQUEST_SECONDS.labels(route, str(status)).observe(seconds)


def is_key(given: str | None, keys: Sequence[SecretStr]) -> bool:
    """Whether a key is one of those configured, in a time that does not tell how nearly."""
    sent = (given or "").encode("latin-1")  # the bytes as sent: that is how headers are read
    matches = [hmac.compare_digest(sent, key.get_secret_value().encode()) for key in keys]
    return any(matches)


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """A problem as an answer."""
    body = Problem(title=title, status=status, detail=detail).model_dump()
    return JSONResponse(body, status, media_type="application/problem+json")
