"""What both clients share: addresses, keys and bounds, applied to calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import httpx

from millstream_client import exchange
from millstream_client.answers import Receipt
from millstream_client.batches import Batches
from millstream_client.calls import Call, Service
from millstream_client.events import Sent
from millstream_client.exchange import Exchange
from millstream_client.retries import Retries

T = TypeVar("T")
SERVER, GATEWAY = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
KEY_HEADER = "X-API-Key"


class Options(TypedDict, total=False):
    """Options of both clients.

    Attributes:
        key: an API key of server and gateway.
        gateway_key: of the gateway, if it has another.
        timeout: seconds for connecting, and for each wait for data.
        retries: how often and when a request is repeated.
        batches: how many events a request has.
    """

    key: str | None
    gateway_key: str | None
    timeout: float
    retries: Retries
    batches: Batches


@dataclass(frozen=True)
class Connection:
    """Addresses, keys and bounds, see `Options`."""

    server: str
    gateway: str
    key: str | None = None
    gateway_key: str | None = None
    timeout: float = 5.0
    retries: Retries = Retries()
    batches: Batches = Batches()

    def ask(self, call: Call[T]) -> Exchange[T]:
        """Send a call until it has its answer."""
        return exchange.ask(call, self.retries)

    def send(self, path: str, events: Sent | Iterable[Sent], key: str | None = None) -> Exchange[Receipt]:
        """Send events in batches; `key` names them all, else a new one does."""
        return exchange.send(path, events, key, self.batches, self.retries)

    def request(self, call: Call[object]) -> httpx.Request:
        """Make the HTTP request of a call."""
        key = self._key(call.service)
        return httpx.Request(
            call.method,
            self._url(call.service) + call.path,
            params=call.params,
            headers={"Accept": "application/json", **call.headers, **({KEY_HEADER: key} if key else {})},
            content=call.body,
            extensions={"timeout": httpx.Timeout(self.timeout).as_dict()},
        )

    def _url(self, service: Service) -> str:
        return (self.server if service == "server" else self.gateway).rstrip("/")

    def _key(self, service: Service) -> str | None:
        return self.gateway_key or self.key if service == "gateway" else self.key
