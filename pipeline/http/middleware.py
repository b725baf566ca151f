"""Middleware of every route: observe time and status of responses."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import metrics


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
