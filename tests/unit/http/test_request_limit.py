"""The head of a request has a bound; offers of other protocols are declined, and no body is lost."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from fastapi import FastAPI, Request

from pipeline.config import ServeConfig
from pipeline.demo.processes import free_port
from pipeline.http import request_limit
from pipeline.http.listening import serve_beside
from pipeline.http.request_limit import MOST_HEAD_BYTES
from tests.support.serve_tools import wait_until

EMPTY = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server that says how long a body is."""
    app, stop, address = FastAPI(), Event(), ServeConfig(port=free_port())

    @app.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    def wait() -> None:
        stop.wait()

    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve_beside, app, address, "serve", [wait], stop)
        try:
            wait_until(lambda: answers(address.port) or serving.done())
            yield address.port
        finally:
            stop.set()
        serving.result(timeout=20)


def answers(port: int) -> bool:
    try:
        return httpx.post(f"http://127.0.0.1:{port}/").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX"])
def test_a_head_without_end_is_refused(port: int, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(start)
        with pytest.raises(OSError):
            for _ in range(1_000):
                connection.sendall(b"a" * MOST_HEAD_BYTES)


def test_many_headers_are_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * (MOST_HEAD_BYTES // 6 + 2))
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_request_that_does_not_arrive_ends_its_connection(
    port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_limit, "ARRIVAL_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        assert is_ended(connection)


def test_what_follows_an_answer_has_to_arrive_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limit, "ARRIVAL_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(EMPTY)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\r\n")  # it ends uvicorn's own limit
        assert is_ended(connection)


def test_a_connection_that_waits_for_its_next_request_is_kept(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_limit, "ARRIVAL_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(EMPTY)
            assert connection.recv(1_000).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.6)


def is_ended(connection: socket.socket) -> bool:
    """Whether a server ends a connection before it has waited for long."""
    try:
        while connection.recv(1_000):
            continue
    except ConnectionResetError:
        return True
    return True


def test_bodies_and_further_requests_may_be_longer(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        long = b"a" * (3 * MOST_HEAD_BYTES)
        assert [client.post("/", content=long).json() for _ in range(3)] == 3 * [len(long)]
        headers = {"X": "a" * (MOST_HEAD_BYTES // 2)}
        assert [client.post("/", headers=headers).json() for _ in range(3)] == 3 * [0]


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
"""What Java's client sends with the first request of a connection."""
OFFERED = b"POST / HTTP/1.1\r\n" + OFFER + b"Content-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "lengths"),
    [
        ([OFFERED + b"12345"], b"5"),
        ([OFFERED, b"12345"], b"5"),
        ([OFFERED[:40], OFFERED[40:] + b"12", b"345" + OFFERED, b"12345"], b"55"),
        ([3 * (OFFERED + b"12345") + EMPTY], b"5550"),
        ([CHUNKED + b"3\r\n123\r\n", b"0\r\n\r\n" + EMPTY], b"30"),
        ([EMPTY.replace(b"Content", OFFER + b"Content") + EMPTY], b"00"),
        ([(OFFERED + b"12345").replace(b"h2c", b"websocket") + EMPTY], b"50"),
    ],
    ids=["at once", "head and body", "anywhere", "pipelined", "chunks", "no body", "websocket"],
)
def test_a_request_that_offers_another_protocol_keeps_its_body(
    port: int, parts: list[bytes], lengths: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
        answer = b""
        while len(said := re.findall(rb"\r\n\r\n(\d)", answer)) < len(lengths):
            assert (more := connection.recv(10_000)), "the server has closed the connection"
            answer += more
    assert b"".join(said) == lengths


def test_the_body_after_an_offer_has_to_arrive_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limit, "ARRIVAL_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(OFFERED + b"123")
        assert is_ended(connection)


@pytest.mark.parametrize("target", [b"shop:443", b"/"])
def test_a_tunnel_is_refused(port: int, target: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"CONNECT %s HTTP/1.1\r\nHost: shop\r\n\r\n" % target)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 400 ")
