"""HTTP/1.1 by httptools, with bounds on the head of a request and on the time until all of it is there."""

from __future__ import annotations

from asyncio import Transport
from asyncio.events import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 * 1024
"""Request line and headers together, as much as h11 allows; a part of one read may come on top."""
ARRIVAL_SECONDS = 60.0
"""For a request to arrive whole. Uvicorn has a limit between requests alone, so that clients which are cut
off within one, or before the first, would hold their connections until the process has no files left."""


class RequestLimit(HttpToolsProtocol):
    """Closes a connection whose request does not arrive, or whose head, which httptools keeps, has no end."""

    _head_bytes = 0
    _in_head = True
    _arrival: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what was read; answer 400 where the head is too long."""
        self._expect()
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the head has ended."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request has arrived."""
        self._arrived()
        super().on_message_complete()

    def _expect(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL_SECONDS, self.transport.abort)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
