"""Create, name and close kafka-python's producers and consumers with this engine's settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors

from pipeline.eventlog.kafka.batches import TolerantPartitionRecords
from pipeline.eventlog.kafka.knock import knock
from pipeline.eventlog.kafka.refusals import unreachable

# Its DEBUG lines contain passwords, keys and values; its INFO lines report every connection.
if not logging.getLogger("kafka").level:  # that of the settings, which have no debug
    logging.getLogger("kafka").setLevel(logging.WARNING)
# Seven lines for each connection that fails, again and again; what they mean is in the errors of this engine.
logging.getLogger("kafka.net").setLevel(logging.CRITICAL)
logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
DELIVERY_SECONDS = 60.0
"""How long an append is retried: a broker that was killed and restarted is back in 15 s or less."""

_BATCH_BYTES = 256 * 1024
_FETCH_BYTES = 512 * 1024  # per partition


def new_producer(connection: Mapping[str, Any], role: str, **settings: Any) -> Any:
    """Connect a producer whose appends are acknowledged by all replicas.

    Raises:
        LogUnavailable: no broker answers; or LogRefused, see `connected`.
    """
    return connected(
        KafkaProducer,
        client_id=client_id(role),
        acks="all",
        batch_size=_BATCH_BYTES,
        delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
        max_block_ms=int(DELIVERY_SECONDS * 1000),
        reconnect_backoff_max_ms=1_000,
        allow_auto_create_topics=False,
        metrics_enabled=False,
        connection=connection,
        **settings,
    )


def new_consumer(connection: Mapping[str, Any]) -> Any:
    """Connect a consumer of committed records, without a consumer group or automatic commits.

    What it cannot decode it returns as placeholders, see `batches`.

    Raises:
        LogUnavailable: no broker answers; or LogRefused, see `connected`.
    """
    consumer = connected(
        KafkaConsumer,
        client_id=client_id("reader"),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_FETCH_BYTES,
        reconnect_backoff_max_ms=1_000,
        allow_auto_create_topics=False,
        metrics_enabled=False,
        connection=connection,
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


def connected(client: Callable[..., Any], connection: Mapping[str, Any], **settings: Any) -> Any:
    """Make a client, which connects.

    Raises:
        LogUnavailable: no broker answers.
        LogRefused: the cluster refuses the login, or one side the other's certificate.
    """
    if connection.get("security_protocol", "PLAINTEXT") != "PLAINTEXT":
        knock(connection)
    try:
        return client(**settings, **connection)
    except kafka_errors.KafkaError as error:
        raise unreachable(connection, error) from error
