"""Append from several threads, with a bounded window of unacknowledged sends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any, Self

from kafka import errors as kafka_errors

from pipeline.errors import DeliveryError, TopicError
from pipeline.eventlog.kafka.client import ANSWER_SECONDS, DELIVERY_SECONDS, close_producer
from pipeline.eventlog.kafka.refusals import translated
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import check_record


class KafkaWriter:
    """An idempotent producer with a window of unacknowledged sends. See `LogWriter`.

    Sends are kept in order until acknowledged. When the window is full, `append` waits for the
    oldest one; this avoids a callback per record.
    """

    def __init__(self, producer: Any, partition_count: Callable[[str], int], max_in_flight: int) -> None:
        self._producer = producer
        self._partition_count = partition_count
        self._max_in_flight = max(1, max_in_flight)
        self._counts: dict[str, int] = {}
        self._in_flight: deque[Any] = deque()
        self._lock = Lock()
        self._error: DeliveryError | None = None

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        """See `LogWriter.append`."""
        check_record(key, value)
        target = self._partition_for(topic, key, partition)
        with self._lock:
            self._make_room()
            try:
                self._in_flight.append(
                    self._producer.send(topic, value, None if key is None else key.encode(), partition=target)
                )
            except kafka_errors.KafkaError as error:
                self._fail(error)

    def flush(self) -> None:
        """See `LogWriter.flush`; other threads may append meanwhile."""
        with self._lock:
            self._raise_if_failed()
            sent = list(self._in_flight)
        try:
            self._producer.flush(timeout=DELIVERY_SECONDS + ANSWER_SECONDS)
        except kafka_errors.KafkaError as error:
            self._fail(error)
        for future in sent:
            self._wait_for(future)
        with self._lock:
            self._forget_acknowledged()

    def close(self) -> None:
        """Flush, then close; a second time is harmless.

        Raises:
            DeliveryError: an append was not acknowledged.
        """
        try:
            if self._error is None:
                self.flush()
        finally:
            self._error = self._error or DeliveryError("the writer is closed")
            close_producer(self._producer, at_once=bool(self._in_flight))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _partition_for(self, topic: str, key: str | None, partition: int | None) -> int:
        if topic not in self._counts:
            self._counts[topic] = self._partition_count(topic)
        count = self._counts[topic]
        if partition is None:
            return partition_of(key, count)
        if not 0 <= partition < count:
            raise TopicError(f"{topic}: has no partition {partition}, only {count}")
        return partition

    def _make_room(self) -> None:
        self._forget_acknowledged()
        while len(self._in_flight) >= self._max_in_flight:
            self._wait_for(self._in_flight.popleft())

    def _forget_acknowledged(self) -> None:
        self._raise_if_failed()
        while self._in_flight and self._in_flight[0].is_done:
            self._wait_for(self._in_flight.popleft())

    def _wait_for(self, future: Any) -> None:
        try:
            future.get(timeout=DELIVERY_SECONDS + ANSWER_SECONDS)
        except kafka_errors.KafkaError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = DeliveryError(str(translated("the broker did not acknowledge a record", error)))
        raise self._error from error

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise DeliveryError(str(self._error)) from self._error
