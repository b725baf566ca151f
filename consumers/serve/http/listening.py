"""The sockets that the server listens at: opened before it starts, so that a taken port has a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import AI_PASSIVE, SOCK_STREAM, create_server, getaddrinfo, socket

from pipeline.errors import InvalidSettings


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket]]:
    """Listen at every address of a host.

    Raises:
        InvalidSettings: the host has no address here, or the port is taken or not allowed.
    """
    with ExitStack() as opened:
        try:
            found = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)
            addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
            sockets = [
                opened.enter_context(create_server(address, family=family)) for family, address in addresses
            ]
        except OSError as error:
            raise InvalidSettings(
                f"the server cannot listen at {host}:{port} ({error}): is another one running there? Stop "
                "it, or set another port or host in [serve]"
            ) from error
        yield sockets
