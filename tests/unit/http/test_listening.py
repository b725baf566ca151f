"""The server listens at every address of its host, or names what is in the way."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from fastapi import FastAPI

from pipeline.config import ServeConfig
from pipeline.errors import InvalidSettings, MillstreamError
from pipeline.http.listening import listening, serve_beside


def test_it_listens_while_it_is_open_and_not_after() -> None:
    with listening("127.0.0.1", 0, "serve") as sockets:
        (one,) = sockets
        address = one.getsockname()
        socket.create_connection(address, timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_nothing_stays_open_when_one_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr("pipeline.http.listening.getaddrinfo", lambda *_, **__: found)
        with (
            pytest.raises(InvalidSettings, match=rf"at both:{port} .* in \[gateway\]"),
            listening("both", port, "gateway"),
        ):
            pass
    socket.create_server(("127.0.0.2", port)).close()


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    with (
        listening("127.0.0.1", 0, "serve") as (one,),
        socket.create_connection(one.getsockname(), timeout=5),
    ):
        accepted, _ = one.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def fails() -> None:
    raise MillstreamError("the worker has failed")


@pytest.mark.parametrize(("worker", "error"), [(fails, "the worker has failed"), (lambda: None, None)])
def test_the_server_ends_with_its_worker_and_tells_the_others(
    worker: Callable[[], None], error: str | None
) -> None:
    stop, asked = Event(), list[str]()

    def other() -> None:
        stop.wait(30)

    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(
            lambda: serve_beside(
                FastAPI(), ServeConfig(port=0), "serve", [worker, other], stop, lambda: asked.append("stop")
            )
        )
        if error is None:
            serving.result(timeout=20)
        else:
            with pytest.raises(MillstreamError, match=error):
                serving.result(timeout=20)
    assert stop.is_set() and asked == ["stop"]
