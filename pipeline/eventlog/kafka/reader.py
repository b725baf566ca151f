"""Poll assigned partitions fairly, and translate Kafka's errors to those of the port."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors as kafka_errors

from pipeline.errors import LogUnavailable, OffsetsExpired, TopicError
from pipeline.eventlog.fairness import fair_shares
from pipeline.eventlog.kafka.batches import Unreadable
from pipeline.eventlog.kafka.client import ANSWER_SECONDS
from pipeline.eventlog.kafka.refusals import translated
from pipeline.eventlog.port import Offsets, Record, TopicPartition
from pipeline.eventlog.unreadable import unreadable

_BUFFERED_RECORDS = 5_000
_NO_LIMIT = 1 << 30
_ANSWER_MS = int(ANSWER_SECONDS * 1000)


class KafkaReader:
    """Polls assigned partitions; no consumer group. See `LogReader`.

    The client returns all fetched records of one partition before those of the next. They are
    buffered here per partition and returned in fair shares. (The alternative, pausing partitions,
    does not work: in kafka-python 3.0.12 records parked by a pause may stay parked for ever.)
    """

    def __init__(self, consumer: Any, offsets: Offsets) -> None:
        self._consumer = consumer
        self._buffered: dict[TopicPartition, deque[Record]] = {source: deque() for source in offsets}
        consumer.assign([KafkaTopicPartition(*source) for source in offsets])
        self.seek(offsets)

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """See `LogReader.poll`."""
        self._fetch(max_records, timeout_seconds)
        shares = fair_shares({source: len(buffer) for source, buffer in self._buffered.items()}, max_records)
        records = [self._buffered[source].popleft() for source, share in shares.items() for _ in range(share)]
        first = next(iter(self._buffered), None)
        if first is not None:  # the next poll starts with another partition
            self._buffered[first] = self._buffered.pop(first)
        return records

    def seek(self, offsets: Offsets) -> None:
        """See `LogReader.seek`."""
        unassigned = [str(source) for source in offsets if source not in self._buffered]
        if unassigned:
            raise TopicError(f"not assigned to this reader: {', '.join(unassigned)}")
        for source, offset in offsets.items():
            self._buffered[source].clear()
            self._consumer.seek(KafkaTopicPartition(*source), offset)

    def positions(self) -> dict[TopicPartition, int]:
        """See `LogReader.positions`."""
        return {
            source: buffer[0].offset if buffer else self._position(KafkaTopicPartition(*source))
            for source, buffer in sorted(self._buffered.items())
        }

    def close(self) -> None:
        """Close the client; a second time is harmless."""
        self._consumer.close(autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fetch(self, max_records: int, timeout_seconds: float) -> None:
        buffered = sum(map(len, self._buffered.values()))
        if buffered >= max(max_records, _BUFFERED_RECORDS):
            return
        timeout_ms = 0 if buffered else int(timeout_seconds * 1000)
        try:
            # Take everything fetched, so that every partition gets its share; the fetch size bounds it.
            fetched = self._consumer.poll(timeout_ms, max_records=_NO_LIMIT)
        except kafka_errors.OffsetOutOfRangeError as error:
            raise self._expired(error.args[0]) from error
        except kafka_errors.LogTruncationError as error:
            raise self._expired(dict.fromkeys(error.divergent_offsets)) from error
        except kafka_errors.KafkaError as error:
            raise translated("poll", error) from error
        for source, records in fetched.items():
            self._buffered[TopicPartition(*source)].extend(map(_record, records))

    def _position(self, source: Any) -> int:
        """Return the client's position; after a lost connection it asks the broker.

        Raises:
            LogUnavailable: the broker does not answer.
        """
        with _translated(f"position in {source.topic}/{source.partition}"):
            position: int | None = self._consumer.position(source, timeout_ms=_ANSWER_MS)
        if position is None:
            raise LogUnavailable(f"position in {source.topic}/{source.partition}: no answer")
        return position

    def _expired(self, where: Mapping[Any, int | None]) -> OffsetsExpired:
        source, offset = next(iter(where.items()))
        if offset is None:
            offset = self._position(source)
        with _translated(f"offsets of {source.topic}/{source.partition}"):
            begin = self._consumer.beginning_offsets([source])[source]
            end = self._consumer.end_offsets([source])[source]
        return OffsetsExpired(source.topic, source.partition, offset, begin, end)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise translated(what, error) from error


def _record(record: Any) -> Record:
    if isinstance(record.value, Unreadable):
        return unreadable(record.topic, record.partition, record.offset, record.timestamp, record.value)
    # A key written by another producer may not be UTF-8; it must not stop the reader.
    key = None if record.key is None else record.key.decode("utf-8", "backslashreplace")
    return Record(record.topic, record.partition, record.offset, record.timestamp, key, record.value)
