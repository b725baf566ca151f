"""Create, name and close kafka-python's producers and consumers with this engine's settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors

from pipeline.errors import LogUnavailable
from pipeline.eventlog.kafka.batches import TolerantPartitionRecords

# Its DEBUG lines contain passwords, keys and values; its INFO lines report every connection.
if not logging.getLogger("kafka").level:  # that of the settings, which have no debug
    logging.getLogger("kafka").setLevel(logging.WARNING)
logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
DELIVERY_SECONDS = 60.0
"""How long an append is retried: a broker that was killed and restarted is back in 15 s or less."""

_BATCH_BYTES = 256 * 1024
_FETCH_BYTES = 512 * 1024  # per partition


def new_producer(connection: Mapping[str, Any], role: str, **settings: Any) -> Any:
    """Connect a producer whose appends are acknowledged by all replicas.

    Raises:
        LogUnavailable: no broker answers.
    """
    return _connected(
        KafkaProducer,
        client_id=client_id(role),
        acks="all",
        batch_size=_BATCH_BYTES,
        delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
        max_block_ms=int(DELIVERY_SECONDS * 1000),
        reconnect_backoff_max_ms=1_000,
        allow_auto_create_topics=False,
        metrics_enabled=False,
        **settings,
        **connection,
    )


def new_consumer(connection: Mapping[str, Any]) -> Any:
    """Connect a consumer of committed records, without a consumer group or automatic commits.

    What it cannot decode it returns as placeholders, see `batches`.

    Raises:
        LogUnavailable: no broker answers.
    """
    consumer = _connected(
        KafkaConsumer,
        client_id=client_id("reader"),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_FETCH_BYTES,
        reconnect_backoff_max_ms=1_000,
        allow_auto_create_topics=False,
        metrics_enabled=False,
        **connection,
    )
    consumer._fetcher.PartitionRecords = TolerantPartitionRecords  # the client has no setting for it
    return consumer


def close_producer(producer: Any, at_once: bool) -> None:
    """Close a producer, immediately or after the records in flight; a second time is harmless."""
    try:
        producer.close(timeout=0 if at_once else ANSWER_SECONDS)
    except kafka_errors.KafkaTimeoutError:
        logger.warning("event log writer closed with records in flight; the client drops them")


def client_id(role: str) -> str:
    """Return the name that the broker's own logs and metrics show."""
    return f"millstream-{role}-{os.getpid()}"


def _connected(client: Callable[..., Any], **settings: Any) -> Any:
    try:
        return client(**settings)
    except kafka_errors.KafkaError as error:
        raise LogUnavailable(f"{', '.join(settings['bootstrap_servers'])}: {error}") from error
