"""Kafka's client in an outage: its errors are those of the port, and it is not waited for for ever."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from kafka import errors as kafka_errors

from pipeline.errors import DeliveryError, LogUnavailable
from pipeline.eventlog.kafka import fenced
from pipeline.eventlog.kafka.fenced import KafkaFencedWriter
from pipeline.eventlog.kafka.reader import KafkaReader
from pipeline.eventlog.port import TopicPartition

SOURCE = TopicPartition("shop.interactions", 0)


class Consumer:
    """A client whose broker is away."""

    def __init__(self, position: int | Exception | None) -> None:
        self._position = position

    def assign(self, partitions: object) -> None:
        pass

    def seek(self, partition: object, offset: int) -> None:
        pass

    def position(self, partition: object, timeout_ms: int) -> int | None:
        if isinstance(self._position, Exception):
            raise self._position
        return self._position

    def poll(self, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        raise kafka_errors.OffsetOutOfRangeError({SOURCE: 3})

    def beginning_offsets(self, partitions: object) -> dict[Any, int]:
        raise kafka_errors.KafkaConnectionError("111 ECONNREFUSED")


class Unsent:
    """What becomes of a record that is not sent."""

    def get(self, timeout: float) -> Any:
        raise kafka_errors.KafkaTimeoutError


class Producer:
    """A client whose transaction stays stuck, although the broker is back."""

    def __init__(self) -> None:
        self.closed = Event()

    def init_transactions(self) -> None:
        pass

    def begin_transaction(self) -> None:
        pass

    def send(self, *record: object, **named: object) -> Unsent:
        return Unsent()

    def commit_transaction(self) -> None:
        self.closed.wait()

    def close(self, timeout: float) -> None:
        self.closed.set()


@pytest.mark.parametrize("position", [kafka_errors.KafkaConnectionError("111 ECONNREFUSED"), None])
def test_a_position_that_is_not_answered_is_unavailable(position: Exception | None) -> None:
    with pytest.raises(LogUnavailable, match="shop.interactions/0"):
        KafkaReader(Consumer(position), {SOURCE: 3}).positions()


def test_a_position_is_the_clients() -> None:
    assert KafkaReader(Consumer(3), {SOURCE: 3}).positions() == {SOURCE: 3}


def test_an_outage_while_expired_offsets_are_looked_up_is_unavailable() -> None:
    with pytest.raises(LogUnavailable, match="ECONNREFUSED"):
        KafkaReader(Consumer(3), {SOURCE: 3}).poll(1, 0)


def test_a_stuck_append_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fenced, "APPEND_SECONDS", 0.01)
    producer = Producer()
    writer = KafkaFencedWriter(producer, "shop.journal")
    with pytest.raises(DeliveryError, match="shop.journal"):
        writer.append(b"entry")
    with pytest.raises(DeliveryError):
        writer.append(b"the writer stays failed")
    writer.close()
    assert producer.closed.is_set()
