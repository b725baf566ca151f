"""The sockets that a server listens at: opened before it starts, so that a taken port has a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from socket import (
    AF_INET6,
    AI_PASSIVE,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    create_server,
    getaddrinfo,
    socket,
)
from typing import Any, Protocol

from pipeline.errors import InvalidSettings


def check_free(host: str, port: int, table: str) -> None:
    """Check that an address can be listened at, without listening; port 0 is always free.

    It costs nothing beside what a daemon loads before it listens.

    Raises:
        InvalidSettings: the host has no address here, or the port is taken or not allowed.
    """
    with _opened(host, port, table, partial(_bound, is_shared=False)):
        pass


@contextmanager
def listening(host: str, port: int, table: str) -> Iterator[list[socket]]:
    """Listen at every address of a host; `table` of the settings names host and port.

    Raises:
        InvalidSettings: the host has no address here, or the port is taken or not allowed.
    """
    with _opened(host, port, table, create_server) as sockets:
        yield sockets


@contextmanager
def sharing(host: str, port: int, table: str) -> Iterator[list[socket]]:
    """Bind sockets to an address that is `reserved`; connections are divided among all that listen there.

    Raises:
        InvalidSettings: the host has no address here, or the port is taken or not allowed.
    """
    with _opened(host, port, table, partial(_bound, is_shared=True)) as sockets:
        yield sockets


@contextmanager
def reserved(host: str, port: int, table: str) -> Iterator[None]:
    """Keep an address for processes of this user that share it; nobody listens there yet.

    Raises:
        InvalidSettings: the host has no address here, or the port is taken or not allowed.
    """
    with _opened(host, port, table, partial(_bound, is_shared=False)) as sockets:
        # The kernel looks at these flags when another socket is bound: from here on one that shares can be,
        # and no other, even while nobody listens.
        for one in sockets:
            one.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
            one.setsockopt(SOL_SOCKET, SO_REUSEADDR, 0)
        yield


class _Opener(Protocol):
    """Opens a socket at an address."""

    def __call__(self, address: Any, *, family: int) -> socket:
        """Open it."""


@contextmanager
def _opened(host: str, port: int, table: str, open_one: _Opener) -> Iterator[list[socket]]:
    """Open a socket at every address of a host."""
    with ExitStack() as opened:
        try:
            found = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)
            addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
            sockets = [
                opened.enter_context(open_one(address, family=family)) for family, address in addresses
            ]
        except OSError as error:
            raise InvalidSettings(
                f"the server cannot listen at {host}:{port} ({error}): is another one running there? Stop "
                f"it, or set another port or host in [{table}]"
            ) from error
        for one in sockets:
            # Connections inherit it. asyncio sets it only where a socket names its protocol, as these do not;
            # without it, the body of an answer waits 40 ms for the client to acknowledge the head.
            one.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        yield sockets


def _bound(address: Any, *, family: int, is_shared: bool) -> socket:
    """Bind a socket as `create_server` does, and do not listen."""
    bound = socket(family, SOCK_STREAM)
    try:
        bound.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        bound.setsockopt(SOL_SOCKET, SO_REUSEPORT, is_shared)
        if family == AF_INET6:
            bound.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
