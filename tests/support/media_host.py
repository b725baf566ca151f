"""A host of media on this machine, which answers as well or as badly as a test wants."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Self

Answer = Callable[[BaseHTTPRequestHandler], None]


class MediaHost:
    """Answers at paths; counts requests, and the bytes of an endless body that were taken."""

    def __init__(self) -> None:
        host, self.closing = self, Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.requests.append(self.path)
                with suppress(OSError):
                    host.answers.get(self.path, missing)(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.sent_bytes = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.block_on_close = False
        self.name = f"127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def secure(self, certificate: Path) -> None:
        """Answer by TLS from now on, with a certificate and its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"http://{self.name}{path}"

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Answer with a body; return the URL."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer
        return self.url(path)

    def raw(self, path: str, content: bytes) -> str:
        """Answer with some bytes, and end; return the URL."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(content)

        self.answers[path] = answer
        return self.url(path)

    def redirect(self, path: str, to: str) -> str:
        """Answer with a redirect; return the URL."""
        return self.put(path, b"", 302, Location=to)

    def endless(self, path: str) -> str:
        """Answer with a body that does not end, after the first bytes of a picture; return the URL."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            block = b"\x89PNG\r\n\x1a\n" + bytes(1 << 16)
            while not self.closing.is_set():
                self.sent_bytes += handler.wfile.write(block)

        self.answers[path] = answer
        return self.url(path)

    def drip(self, path: str, first: bytes = b"HTTP/1.0 200 OK\r\n\r\n") -> str:
        """Answer with some bytes, and then one at a time, for ever; return the URL."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(first)
            while not self.closing.wait(0.02):
                handler.wfile.write(b"x")

        self.answers[path] = answer
        return self.url(path)


def missing(handler: BaseHTTPRequestHandler) -> None:
    """Answer 404."""
    handler.send_response(404)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
