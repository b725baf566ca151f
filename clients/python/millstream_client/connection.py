"""What both clients share: addresses, keys and bounds, applied to calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import httpx

from millstream_client import exchange
from millstream_client.answers import Receipt
from millstream_client.batches import Batches
from millstream_client.calls import Call, Service
from millstream_client.errors import ClientError
from millstream_client.events import Sent
from millstream_client.exchange import Exchange
from millstream_client.retries import Retries

T = TypeVar("T")
SERVER, GATEWAY = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
KEY_HEADER = "X-API-Key"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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

    def __post_init__(self) -> None:
        """Refuse keys that no header can hold.

        Raises:
            ClientError: one has a control character, such as the line break of a file.
        """
        if any(CONTROL.search(key) for key in (self.key, self.gateway_key) if key):
            raise ClientError(
                "an API key has no line breaks or other control characters: strip what was read"
            )

    def ask(self, call: Call[T]) -> Exchange[T]:
        """Send a call until it has its answer."""
        return exchange.ask(call, self.retries)

    def send(self, path: str, events: Sent | Iterable[Sent], key: str | None = None) -> Exchange[Receipt]:
        """Send events in batches; `key` names them all, else a new one does."""
        return exchange.send(path, events, key, self.batches, self.retries)

    def request(self, call: Call[object]) -> httpx.Request:
        """Make the HTTP request of a call."""
        key = self._key(call.service)
        headers = {"Accept": "application/json", **call.headers, **({KEY_HEADER: key} if key else {})}
        return httpx.Request(
            call.method,
            self._url(call.service) + call.path,
            params=call.params,
            headers=httpx.Headers(headers, encoding="utf-8"),  # of a key the server has the digest of UTF-8
            content=call.body,
            extensions={"timeout": httpx.Timeout(self.timeout).as_dict()},
        )

    def _url(self, service: Service) -> str:
        return (self.server if service == "server" else self.gateway).rstrip("/")

    def _key(self, service: Service) -> str | None:
        return self.gateway_key or self.key if service == "gateway" else self.key
