"""How a server leaves: it says so first, answers all who have not heard it yet, and then ends."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.http.problems import problem

READINESS = "/readyz"


class Draining:
    """Wraps an application: from `begin` on it is not ready, and each connection ends with its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._has_begun = False

    def begin(self) -> None:
        """Say from now on that the server leaves."""
        self._has_begun = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request, and let its connection end with the answer."""
        if scope["type"] != "http" or not self._has_begun:
            await self._app(scope, receive, send)
            return

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        answers: ASGIApp = self._app
        if scope["path"] == READINESS:
            answers = problem(503, "the server was asked to stop: ask another one")
        await answers(scope, receive, last)
