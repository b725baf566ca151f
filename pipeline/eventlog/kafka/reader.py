"""Reading: assigned partitions polled fairly, and Kafka's reasons for having no record, in our names."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors as kafka_errors

from pipeline.errors import LogUnavailable, OffsetsExpired, TopicError
from pipeline.eventlog.fairness import fair_shares
from pipeline.eventlog.port import Offsets, Record, TopicPartition

_HELD_RECORDS = 5_000
_ALL = 1 << 30


class KafkaReader:
    """Polls assigned partitions; no consumer group. See `LogReader`.

    The client hands out one partition's fetched records before the next one's. They are held
    here, a partition each, and shared out fairly. (Pausing partitions would be the other way;
    in kafka-python 3.0.12 records parked by a pause may stay so for ever.)
    """

    def __init__(self, consumer: Any, offsets: Offsets) -> None:
        self._consumer = consumer
        self._held: dict[TopicPartition, deque[Record]] = {source: deque() for source in offsets}
        consumer.assign([KafkaTopicPartition(*source) for source in offsets])
        self.seek(offsets)

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """See `LogReader.poll`."""
        self._fetch(max_records, timeout_seconds)
        shares = fair_shares({source: len(held) for source, held in self._held.items()}, max_records)
        records = [self._held[source].popleft() for source, share in shares.items() for _ in range(share)]
        first = next(iter(self._held), None)
        if first is not None:  # another partition first at the next turn
            self._held[first] = self._held.pop(first)
        return records

    def seek(self, offsets: Offsets) -> None:
        """See `LogReader.seek`."""
        foreign = [str(source) for source in offsets if source not in self._held]
        if foreign:
            raise TopicError(f"not assigned to this reader: {', '.join(foreign)}")
        for source, offset in offsets.items():
            self._held[source].clear()
            self._consumer.seek(KafkaTopicPartition(*source), offset)

    def positions(self) -> dict[TopicPartition, int]:
        """See `LogReader.positions`."""
        return {
            source: held[0].offset if held else self._consumer.position(KafkaTopicPartition(*source))
            for source, held in sorted(self._held.items())
        }

    def close(self) -> None:
        """Close the client; a second time is harmless."""
        self._consumer.close(autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fetch(self, max_records: int, timeout_seconds: float) -> None:
        held = sum(map(len, self._held.values()))
        if held >= max(max_records, _HELD_RECORDS):
            return
        timeout_ms = 0 if held else int(timeout_seconds * 1000)
        try:
            # All that has come, so that every partition has its share; a fetch bounds it.
            fetched = self._consumer.poll(timeout_ms, max_records=_ALL)
        except kafka_errors.OffsetOutOfRangeError as error:
            raise self._expired(error.args[0]) from error
        except kafka_errors.LogTruncationError as error:
            raise self._expired(dict.fromkeys(error.divergent_offsets)) from error
        except kafka_errors.KafkaError as error:
            raise LogUnavailable(f"poll: {error}") from error
        for source, records in fetched.items():
            self._held[TopicPartition(*source)].extend(map(_record, records))

    def _expired(self, where: Mapping[Any, int | None]) -> OffsetsExpired:
        source, offset = next(iter(where.items()))
        if offset is None:
            offset = self._consumer.position(source)
        begin = self._consumer.beginning_offsets([source])[source]
        end = self._consumer.end_offsets([source])[source]
        return OffsetsExpired(source.topic, source.partition, offset, begin, end)


def _record(record: Any) -> Record:
    # A foreign producer's key need not be text; it must not stop the reader.
    key = None if record.key is None else record.key.decode("utf-8", "backslashreplace")
    return Record(record.topic, record.partition, record.offset, record.timestamp, key, record.value)
