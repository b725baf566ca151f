"""Middleware of every route: limit the size of bodies, observe time and status of responses."""

from __future__ import annotations

import time
from collections.abc import Mapping

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumers.serve.schemas import Problem
from pipeline import metrics

MAX_BODY_BYTES = 512 * 1024


class BodyLimit:
    """Refuses bodies that are too large or have no declared length.

    Checking the declared length is enough, because the HTTP server enforces it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or respond with 411 or 413."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal():
            await problem(411, "Length Required", "send Content-Length")(scope, receive, send)
        elif int(length) > MAX_BODY_BYTES:
            detail = f"at most {MAX_BODY_BYTES} bytes"
            await problem(413, "Content Too Large", detail)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class RequestTimes:
    """Observes the duration of each response, by route template and status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request and observe it; count a request that raised as 500."""
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
            # All unknown paths share one label value, because the series would grow without bound.
            route = getattr(scope.get("route"), "path_format", "unknown")
            seconds = time.perf_counter() - started
            metrics.REQUEST_SECONDS.labels(route, str(status)).observe(seconds)


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem response (RFC 9457)."""
    body = Problem(title=title, status=status, detail=detail).model_dump()
    return JSONResponse(body, status, headers, media_type="application/problem+json")
