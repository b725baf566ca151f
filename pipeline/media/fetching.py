"""Fetch a file over HTTP within limits, from hosts that are allowed: what its URL names is a stranger's.

Each hop of a redirect is checked as the URL was. Proxies of the environment are not used: they would resolve
hosts by themselves. Nothing is unpacked: a body that is compressed is no picture.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from threading import Timer
from urllib.parse import quote, urljoin

from pipeline.config import MediaConfig
from pipeline.errors import MediaReason, MediaRefused
from pipeline.media.addresses import DEFAULT_PORTS, Endpoint, addresses_of, endpoint_of
from pipeline.wording import counted

MOST_REDIRECTS = 5
MOVED = (301, 302, 303, 307, 308)
CHUNK = 1 << 16
READ_AS_IT_IS = "%/:=&?~#+!$,;'@()*[]"
"""In paths and queries; other characters that a URL may not have are quoted."""


class _Deadline:
    """Ends the connection of a fetch when its time is over, however slowly bytes drip."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; none left is an error.

        Raises:
            MediaRefused: there are none.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise MediaRefused(MediaReason.TOO_SLOW, "not fetched within media.fetch_seconds")
        return left

    @contextmanager
    def ends(self, connected: socket.socket) -> Iterator[None]:
        """Shut a connection down at the deadline; what that breaks is then too slow."""
        timer = Timer(self.left, _shut, [connected])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            _ = self.left  # an end that came with it, as of a body without a length, is no end


def _shut(connected: socket.socket) -> None:
    try:
        # That of the socket below TLS, whose own is not for another thread.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


class Fetcher:
    """Fetches files; for several threads."""

    def __init__(self, config: MediaConfig) -> None:
        self._config = config
        self._tls = ssl.create_default_context()

    def fetch(self, url: str) -> bytes:
        """Return what a URL names.

        Raises:
            MediaRefused: it may not be fetched, or cannot be within the limits.
        """
        deadline = _Deadline(self._config.fetch_seconds)
        for _ in range(1 + MOST_REDIRECTS):
            endpoint = endpoint_of(url, self._config.hosts)
            try:
                found = self._ask(endpoint, deadline)
            except (OSError, HTTPException, ValueError) as error:
                _ = deadline.left
                text = f"{endpoint.host}: {type(error).__name__}: {error}"[:200]
                raise MediaRefused(MediaReason.UNREACHABLE, text) from None
            if isinstance(found, bytes):
                return found
            url = _joined(url, found)
        raise MediaRefused(MediaReason.REDIRECTS, f"more than {MOST_REDIRECTS}")

    def _ask(self, endpoint: Endpoint, deadline: _Deadline) -> bytes | str:
        """Return the body of an answer, or where it is."""
        with self._connected(endpoint, deadline) as connected, deadline.ends(connected):
            if isinstance(connected, ssl.SSLSocket):
                connected.do_handshake()
            with closing(HTTPConnection(endpoint.host, endpoint.port)) as connection:
                connection.sock = connected
                connection.auto_open = False  # never to another address than the one that was checked
                connection.putrequest("GET", quote(endpoint.target, safe=READ_AS_IT_IS), skip_host=True)
                connection.putheader("Host", _named(endpoint))
                connection.putheader("User-Agent", "millstream")
                connection.endheaders()
                with connection.getresponse() as response:
                    return self._answer(response, endpoint)

    @contextmanager
    def _connected(self, endpoint: Endpoint, deadline: _Deadline) -> Iterator[socket.socket]:
        """Connect to the first address of a host that answers."""
        error: OSError | None = None
        for address in addresses_of(endpoint, self._config.private_addresses):
            try:
                connected = socket.create_connection((address, endpoint.port), deadline.left)
            except OSError as failed:
                error = failed
                continue
            with self._secured(connected, endpoint) as ready:
                yield ready
            return
        raise error or OSError("no address")

    def _secured(self, connected: socket.socket, endpoint: Endpoint) -> socket.socket:
        """Return the socket to speak by, which takes the place of a plain one; its handshake is to come."""
        if endpoint.scheme == "http":
            return connected
        return self._tls.wrap_socket(connected, do_handshake_on_connect=False, server_hostname=endpoint.host)

    def _answer(self, response: HTTPResponse, endpoint: Endpoint) -> bytes | str:
        location = response.getheader("Location")
        if response.status in MOVED and location:
            return location
        if response.status != 200:
            raise MediaRefused(MediaReason.STATUS, f"{endpoint.host} answers {response.status}")
        return self._body(response)

    def _body(self, response: HTTPResponse) -> bytes:
        """Read a body, and no more of it than is allowed."""
        most, body = self._config.max_bytes, bytearray()
        if (size := response.length or 0) > most:
            text = f"{counted(size, 'byte')}, more than media.max_bytes ({most:,})"
            raise MediaRefused(MediaReason.TOO_LARGE, text)
        while chunk := response.read(CHUNK):
            body += chunk
            if len(body) > most:
                raise MediaRefused(MediaReason.TOO_LARGE, f"more bytes than media.max_bytes ({most:,})")
        if response.length:
            raise HTTPException(f"the connection ended {counted(response.length, 'byte')} too early")
        return bytes(body)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise MediaRefused(MediaReason.HOST, "redirects to what is no URL") from None


def _named(endpoint: Endpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return host if endpoint.port == DEFAULT_PORTS[endpoint.scheme] else f"{host}:{endpoint.port}"
