"""The head of a request has a bound; bodies and further requests of a connection do not count towards it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from fastapi import FastAPI, Request

from pipeline.config import ServeConfig
from pipeline.demo.processes import free_port
from pipeline.http.listening import serve_beside
from pipeline.http.request_limit import MOST_HEAD_BYTES
from tests.support.serve_tools import wait_until


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


def test_bodies_and_further_requests_may_be_longer(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        long = b"a" * (3 * MOST_HEAD_BYTES)
        assert [client.post("/", content=long).json() for _ in range(3)] == 3 * [len(long)]
        headers = {"X": "a" * (MOST_HEAD_BYTES // 2)}
        assert [client.post("/", headers=headers).json() for _ in range(3)] == 3 * [0]
