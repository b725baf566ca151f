"""HTTP/1.1 by httptools and nothing else, with bounds on a request's head and on the time until all is there.

A request that offers to go on in another protocol is answered as one that does not (RFC 9110, section 7.8).
Java's client offers HTTP/2 with the first request of a connection. Uvicorn takes what follows such a head for
the other protocol: the body was lost, or taken for the next request.
"""

from __future__ import annotations

from asyncio import Transport
from asyncio.events import TimerHandle

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 * 1024
"""Request line and headers together, as much as h11 allows; a part of one read may come on top."""
ARRIVAL_SECONDS = 60.0
"""For a request to arrive whole. Uvicorn has a limit between requests alone, so that clients which are cut
off within one, or before the first, would hold their connections until the process has no files left."""
INVALID = "Invalid HTTP request received."


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
        """Take what was read; answer 400 where it is no HTTP, or the head is too long."""
        self._expect()
        self._unset_keepalive_if_required()
        try:
            self._feed(memoryview(data))
        except HttpParserError:
            self.logger.warning(INVALID)
            self.send_400_response(INVALID)
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
        """Note that the request has arrived; after an offer, only its head has."""
        if not self.parser.should_upgrade():
            self._arrived()
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Let uvicorn begin no answer to a head with an offer: it comes again, without."""
        return True

    def _feed(self, data: memoryview) -> None:
        """Parse what was read.

        Raises:
            HttpParserError: it is no HTTP, or asks for a tunnel.
        """
        while data:
            try:
                self.parser.feed_data(data)
                return
            except HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                self.parser.feed_data(self._head_without_offer())

    def _head_without_offer(self) -> bytes:
        """Write the head that was read last without the header that offers another protocol."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise HttpParserError("there is no tunnel here")
        kept = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        version = self.parser.get_http_version().encode()
        return b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(kept))

    def _expect(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL_SECONDS, self.transport.abort)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
