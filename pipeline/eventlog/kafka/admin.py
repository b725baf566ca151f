"""Requests to the cluster: its readiness, and the topic and offset requests of `KafkaLog`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from pipeline.errors import LogUnavailable
from pipeline.eventlog.kafka.client import ANSWER_SECONDS, client_id

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

    def ask(self, what: str, request: Callable[[Any], T]) -> T:
        """Send a request with the client, and repeat it while its error is retriable.

        `what` names the request in the error message.

        Raises:
            LogUnavailable: the cluster did not answer in time, or refused the request.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return request(self._client())
            except kafka_errors.KafkaError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise LogUnavailable(f"{what}: {error}") from error
            time.sleep(0.1)

    def close(self) -> None:
        """Close the client; a second time is harmless."""
        with self._lock:
            if self._open_client is not None:
                self._open_client.close()
                self._open_client = None

    def _client(self) -> Any:
        with self._lock:
            if self._open_client is None:
                self._open_client = KafkaAdminClient(
                    client_id=client_id("admin"),
                    bootstrap_timeout_ms=int(ANSWER_SECONDS * 1000),
                    reconnect_backoff_max_ms=1_000,
                    **self._connection,
                )
            return self._open_client
