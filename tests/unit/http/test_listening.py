"""The server listens at every address of its host, or names what is in the way."""

from __future__ import annotations

import socket

import pytest

from pipeline.errors import InvalidSettings
from pipeline.http.listening import listening


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
