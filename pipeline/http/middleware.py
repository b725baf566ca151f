"""Middleware of every route: observe responses, let no cache keep them, and refuse what is not UTF-8."""

from __future__ import annotations

import time
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import metrics
from pipeline.http.problems import problem


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


class NotKept:
    """Forbids caches to keep responses: each is of its moment, and repeated lists leave no impression.

    Without this header some keep what says nothing, content delivery networks for a day.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, and add the header to its response."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
            await send(message)

        await self._app(scope, receive, marked)


class Utf8Check:
    """Refuses paths and queries that are not UTF-8: decoded, different ids would be the same one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or respond with 400."""
        if scope["type"] != "http" or all(_is_utf8(scope[part]) for part in ("raw_path", "query_string")):
            await self._app(scope, receive, send)
        else:
            await problem(400, "path and query must be percent-encoded UTF-8")(scope, receive, send)


def _is_utf8(quoted: bytes) -> bool:
    try:
        unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        return False
    return True
