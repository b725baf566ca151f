"""Requests to the cluster: its readiness, and the topic and offset requests of `KafkaLog`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from pipeline.eventlog.kafka.client import ANSWER_SECONDS, client_id, connected
from pipeline.eventlog.kafka.refusals import translated

T = TypeVar("T")


def ready(servers: str, timeout_seconds: float) -> bool:
    """Return whether a cluster lists a broker within the timeout; an open port is not enough."""
    deadline = time.monotonic() + timeout_seconds
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=servers.split(","),
            client_id="millstream-ready",
            bootstrap_timeout_ms=int(timeout_seconds * 1000),
            reconnect_backoff_max_ms=200,
        )
    except kafka_errors.KafkaError:
        return False
    try:
        while time.monotonic() < deadline:
            if admin.describe_cluster()["brokers"]:
                return True
            time.sleep(0.05)
    except kafka_errors.KafkaError:
        return False
    finally:
        admin.close()
    return False


class Admin:
    """One admin client, connected on first use; threads may share it."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._connection = connection
        self._open_client: Any = None
        self._lock = Lock()

    def ask(self, what: str, request: Callable[[Any], T], seconds: float | None = None) -> T:
        """Send a request with the client, and repeat it while its error is retriable.

        `what` names the request in the error message. `seconds` limits the time, in place of
        ANSWER_SECONDS.

        Raises:
            LogUnavailable: the cluster did not answer in time, or could not do it.
            LogRefused: the cluster refused this client, or the request.
        """
        limit = ANSWER_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + limit
        while True:
            try:
                return request(self._client(limit))
            except kafka_errors.KafkaError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise translated(what, error) from error
            time.sleep(0.1)

    def close(self) -> None:
        """Close the client; a second time is harmless."""
        with self._lock:
            if self._open_client is not None:
                self._open_client.close()
                self._open_client = None

    def _client(self, seconds: float) -> Any:
        with self._lock:
            if self._open_client is None:
                self._open_client = connected(
                    KafkaAdminClient,
                    self._connection,
                    client_id=client_id("admin"),
                    bootstrap_timeout_ms=int(seconds * 1000),
                    reconnect_backoff_max_ms=1_000,
                )
            return self._open_client
