"""The server of an application, beside the threads that work for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from pipeline.config.http import HttpConfig
from pipeline.http.certificate import check_certificate
from pipeline.http.draining import Draining
from pipeline.http.request_limit import RequestLimit
from pipeline.http.sockets import listening, sharing


class _Listening(Protocol):
    """The part of the settings that says where a server listens."""

    @property
    def host(self) -> str:
        """Address or name of a host."""

    @property
    def port(self) -> int:
        """Port of the host."""


GRACE_SECONDS = 3
"""Time that running requests have to finish at shutdown."""

KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep idle connections, usually 60 s: if the server closed first, a request on its way
would be lost, which a proxy answers with 502."""
POLL_SECONDS = 0.05


class _Server(uvicorn.Server):
    """Leaves signals to the daemon, which sets `stop`; uvicorn's own would end it before it drains."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals."""
        yield


def _server(app: ASGIApp, host: str, port: int, http: HttpConfig) -> uvicorn.Server:
    """Make the server of an application; it writes no line per request, which would contain user ids."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=RequestLimit,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        proxy_headers=bool(http.proxies),
        forwarded_allow_ips=list(http.proxies),
        ssl_certfile=http.certificate,
        ssl_keyfile=http.private_key,
    )
    return _Server(config)


def serve_beside(
    app: FastAPI,
    address: _Listening,
    table: str,
    workers: Sequence[Callable[[], None]],
    stop: Event,
    on_stop: Callable[[], None] = lambda: None,
    *,
    http: HttpConfig = HttpConfig(),  # noqa: B008 (frozen)
    is_ready: Callable[[], bool] = lambda: True,
    is_shared: bool = False,
) -> None:
    """Answer requests beside workers in threads until `stop` is set or one of them ends; then end the others.

    After `stop` it goes on answering for a while, and says that it is not ready: see `HttpConfig`.

    Args:
        app: what answers.
        address: host and port; `table` of the settings names them.
        workers: each ends when `stop` is set, or when `on_stop` was called.
        stop: set when the server ends, too.
        on_stop: called once then.
        http: TLS, proxies, and how the server leaves.
        is_ready: says from when on connections are accepted.
        is_shared: whether the address is `reserved` for several processes.

    Raises:
        InvalidSettings: the server cannot listen at the address, or has no certificate that can be used.
        Exception: whatever a worker raises.
    """
    check_certificate(http, table)
    draining = Draining(app)
    server = _server(draining, address.host, address.port, http)
    opened = sharing if is_shared else listening

    ended = Event()

    def end(_: Future[Any]) -> None:
        if not stop.is_set():  # a worker has ended by itself
            server.should_exit = True

    with (
        opened(address.host, address.port, table) as sockets,
        ThreadPoolExecutor(len(workers) + 1, thread_name_prefix=table) as threads,
    ):
        running: list[Future[Any]] = [threads.submit(worker) for worker in workers]
        for one in running:
            one.add_done_callback(end)
        threads.submit(_leave, server, draining, http.drain_seconds, stop, ended)
        try:
            while not (server.should_exit or stop.is_set() or is_ready()):
                stop.wait(POLL_SECONDS)
            if not stop.is_set():
                server.run(sockets)
        finally:
            ended.set()
            stop.set()
            on_stop()
        for one in running:
            one.result()


def _leave(
    server: uvicorn.Server, draining: Draining, drain_seconds: float, stop: Event, ended: Event
) -> None:
    """Wait for `stop`; let a server drain until `ended` is set or the time is over, and end it."""
    stop.wait()
    if server.started and not server.should_exit:
        draining.begin()
        ended.wait(drain_seconds)
    server.should_exit = True
