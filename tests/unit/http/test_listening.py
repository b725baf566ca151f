"""The server listens at every address of its host, or names what is in the way."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import httpx
import pytest
from fastapi import FastAPI, Request

from pipeline.config import HttpConfig, ServeConfig
from pipeline.demo.processes import free_port as find_free_port
from pipeline.errors import InvalidSettings, MillstreamError
from pipeline.http.listening import serve_beside
from pipeline.http.sockets import check_free, listening, reserved, sharing
from tests.support.certificates import Authority
from tests.support.serve_tools import wait_until


@pytest.fixture
def free_port() -> int:
    return find_free_port()


def test_it_listens_while_it_is_open_and_not_after() -> None:
    with listening("127.0.0.1", 0, "serve") as sockets:
        (one,) = sockets
        address = one.getsockname()
        socket.create_connection(address, timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_a_port_is_tried_without_listening_there(free_port: int) -> None:
    check_free("127.0.0.1", free_port, "serve")
    refused = pytest.raises(InvalidSettings, match=rf"listen at 127.0.0.1:{free_port} .* in \[serve\]")
    with listening("127.0.0.1", free_port, "serve"), refused:
        check_free("127.0.0.1", free_port, "serve")
    with reserved("127.0.0.1", free_port, "serve"), pytest.raises(InvalidSettings):
        check_free("127.0.0.1", free_port, "serve")


def test_nothing_stays_open_when_one_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr("pipeline.http.sockets.getaddrinfo", lambda *_, **__: found)
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


def test_a_reserved_port_is_for_those_that_share_it(free_port: int) -> None:
    address = "127.0.0.1", free_port
    with reserved(*address, "serve"):
        with pytest.raises(InvalidSettings), reserved(*address, "serve"):
            pass
        with pytest.raises(InvalidSettings), listening(*address, "serve"):
            pass
        with pytest.raises(ConnectionRefusedError):  # nobody listens there
            socket.create_connection(address, timeout=5)
        with sharing(*address, "serve") as (one,), sharing(*address, "serve") as (other,):
            one.listen()
            other.listen()
            socket.create_connection(address, timeout=5).close()
    with listening(*address, "serve"):
        pass


def test_what_listens_alone_is_not_shared() -> None:
    with listening("127.0.0.1", 0, "serve") as (one,):
        host, port = one.getsockname()
        with pytest.raises(InvalidSettings), sharing(host, port, "serve"):
            pass


def test_connections_are_accepted_once_it_is_ready(free_port: int) -> None:
    stop, ready = Event(), Event()
    address = ServeConfig(port=free_port)
    with reserved(address.host, address.port, "serve"), ThreadPoolExecutor(1) as threads:
        asked, waiting = Event(), partial(wait_for, stop)

        def is_ready() -> bool:
            asked.set()
            return ready.is_set()

        serving = threads.submit(
            lambda: serve_beside(
                FastAPI(),
                address,
                "serve",
                [waiting],
                stop,
                is_ready=is_ready,
                is_shared=True,
            )
        )
        try:
            assert asked.wait(20)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address.host, address.port), timeout=5)
            ready.set()
            wait_until(lambda: is_listening(address) or serving.done())
        finally:
            stop.set()
        serving.result(timeout=20)


def wait_for(stop: Event) -> None:
    stop.wait(30)


def is_listening(address: ServeConfig) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


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


def shows_the_client() -> FastAPI:
    app = FastAPI()

    @app.get("/readyz")
    def readiness() -> str:
        return "ready"

    @app.get("/client")
    def client(request: Request) -> list[str]:
        assert request.client
        return [request.client.host, request.url.scheme]

    return app


@contextmanager
def serving(http: HttpConfig, port: int) -> Iterator[Event]:
    """Serve until the end of the block, or until the event is set."""
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        address = ServeConfig(port=port)
        done = threads.submit(
            lambda: serve_beside(
                shows_the_client(), address, "serve", [partial(wait_for, stop)], stop, http=http
            )
        )
        try:
            wait_until(lambda: is_listening(address) or done.done())
            yield stop
        finally:
            stop.set()
        done.result(timeout=20)


FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("proxies", "client"),
    [
        ((), ["127.0.0.1", "http"]),
        (("10.0.0.0/8",), ["127.0.0.1", "http"]),
        (("127.0.0.0/8",), ["203.0.113.9", "https"]),
    ],
)
def test_only_named_proxies_are_believed(free_port: int, proxies: tuple[str, ...], client: list[str]) -> None:
    with serving(HttpConfig(proxies=proxies), free_port):
        answer = httpx.get(f"http://127.0.0.1:{free_port}/client", headers=FORWARDED)
    assert answer.json() == client


def test_answers_by_https(free_port: int, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.file)
    with (
        serving(HttpConfig(certificate=authority.issue("server")), free_port),
        httpx.Client(verify=trusting, base_url=f"https://127.0.0.1:{free_port}") as client,
    ):
        assert client.get("/client").json() == ["127.0.0.1", "https"]
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{free_port}/client")


def test_it_is_not_ready_first_and_answers_until_it_is_gone(free_port: int) -> None:
    with (
        serving(HttpConfig(drain_seconds=1.0), free_port) as stop,
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client,
    ):
        assert client.get("/readyz").status_code == 200
        kept = client.get("/client")
        assert "connection" not in kept.headers
        stop.set()
        wait_until(lambda: client.get("/readyz").status_code == 503)
        last = client.get("/client")
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        assert is_listening(ServeConfig(port=free_port))
    assert not is_listening(ServeConfig(port=free_port))
