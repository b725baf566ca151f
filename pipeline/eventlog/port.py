"""The port of the event log: the interface that every engine (SQLite, Kafka) implements.

A log has topics, a topic has partitions, and a partition is an ordered sequence of records with
increasing offsets (compaction and transactions may leave gaps). `Offsets` always name the *next*
record: ``{(topic, partition): 5}`` means that the records up to 4 have been processed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol, Self

from pipeline.errors import LogUnavailable
from pipeline.eventlog.records import (
    MAX_RECORD_BYTES,
    NO_TOPIC_ID,
    Offsets,
    Record,
    TopicPartition,
    TopicSpec,
    check_record,
)

__all__ = [
    "MAX_RECORD_BYTES",
    "NO_TOPIC_ID",
    "EventLog",
    "FencedWriter",
    "LogReader",
    "LogWriter",
    "Offsets",
    "Record",
    "TopicPartition",
    "TopicSpec",
    "check_record",
    "lag",
    "named",
    "read",
    "read_compacted",
]


_STALLED_SECONDS = 60.0
_READ_RECORDS = 5_000


class _Closing(Protocol):
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class LogWriter(_Closing, Protocol):
    """Appends records. May be used from several threads.

    A writer that lost a record stays failed: every later `append` and `flush` raises, so that
    no thread takes another's loss for its own success. To continue, open a new writer.
    """

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        """Append one record; it is certainly durable only after `flush` returns.

        Without `partition` the key's murmur2 hash chooses it, the same on every engine;
        a record without a key goes to partition 0. Blocks while too many records are in flight.
        Without `flush` a record still becomes durable and visible within milliseconds.

        Raises:
            DeliveryError: an *earlier* append failed; or this record is too large, has neither
                key nor value, or has no key although the topic is compacted.
            TopicError: the topic or its partition does not exist.
        """

    def flush(self) -> None:
        """Wait until every appended record is acknowledged and durable.

        Raises:
            DeliveryError: an append was not acknowledged.
        """


class LogReader(_Closing, Protocol):
    """Reads assigned partitions, starting at given offsets. For one thread at a time."""

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """Return the next records: in order within a partition, and fairly from all partitions.

        Waits at most `timeout_seconds` for the first record; may return fewer than
        `max_records`, or none. A record that cannot be read is returned with its `error`, and
        logged and counted once per place; the reader continues after it.

        Raises:
            OffsetsExpired: a position lies outside the offsets that the log holds.
            LogUnavailable: the log refuses the request; an unreachable broker is only waited for.
        """

    def seek(self, offsets: Offsets) -> None:
        """Continue at the given offsets in the given partitions."""

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offset at which to continue, for every assigned partition.

        It is the one after the last returned record, or after the gap that follows it.
        """


class FencedWriter(_Closing, Protocol):
    """The only writer of a one-partition topic. Opening a second one fences the first."""

    def append(self, value: bytes) -> int:
        """Store one record durably and return its offset.

        Raises:
            Fenced: another owner has opened this topic since.
            DeliveryError: the log did not acknowledge the record, which may or may not be stored.
                The writer is unusable: open another one, then read the topic's end.
        """


class EventLog(_Closing, Protocol):
    """A log at one URL; opens readers and writers, which the caller closes.

    Every method may raise LogUnavailable. May be used from several threads.
    """

    def ping(self, timeout_seconds: float) -> None:
        """Raise LogUnavailable unless the log answers within a time; cheap."""

    def version(self) -> str:
        """Return the name and version of the engine, such as ``SQLite 3.45.1`` or ``Kafka 4.1``."""

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that do not exist yet; return their names, in the order of `specs`."""

    def describe_topics(self) -> dict[str, TopicSpec]:
        """Return the actual settings of all topics, by name."""

    def alter_topic(self, spec: TopicSpec, fields: Collection[str]) -> None:
        """Set these fields of an existing topic as in `spec`; the partitions cannot be changed."""

    def alter_command(self, spec: TopicSpec, field: str) -> str:
        """Return the command by which a person sets a field of an existing topic as in `spec`."""

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return the id that the log gave each topic at its creation, for those that exist.

        A topic that was deleted and created again has another id, although its name is the same and its
        offsets may fit. An id is NO_TOPIC_ID where the log has none.
        """

    def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each topic, for those that exist.

        One cheap request; partitions that were added since a reader or writer was opened show here.
        """

    def writer(self, *, max_in_flight: int = 20_000) -> LogWriter:
        """Open a writer with at most `max_in_flight` unacknowledged records."""

    def reader(self, offsets: Offsets) -> LogReader:
        """Open a reader of exactly these partitions, starting at these offsets.

        Raises:
            TopicError: a topic or partition does not exist.
        """

    def fenced_writer(self, topic: str, owner: str) -> FencedWriter:
        """Open the only writer of a topic; every earlier writer of the topic is fenced from now on.

        `owner` is a name for people. Fencing is by topic, so two owners cannot both write. Open
        the writer *before* reading the topic: opening resolves an append that an earlier writer
        left unfinished.

        Raises:
            TopicError: the topic does not exist or has more than one partition.
        """

    def begin_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Return the first offset that is still held, for every partition of the topics.

        Raises:
            TopicError: a topic does not exist.
        """

    def end_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Return the offset after the last readable record, for every partition of the topics.

        Raises:
            TopicError: a topic does not exist.
        """

    def offsets_at(self, topics: Iterable[str], append_time: int) -> dict[TopicPartition, int]:
        """Return the first offset appended at or after a time in ms, or the end, for every partition.

        Raises:
            TopicError: a topic does not exist.
        """

    def report(self, group: str, offsets: Offsets) -> None:
        """Publish the progress of a group for lag tools, all offsets at once.

        No daemon depends on it; `migrate` continues from its own group's.
        """

    def reported(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Return the offsets that a group last reported, for the partitions that it reported."""


def read(log: EventLog, topic: str, start: Offsets | None = None) -> Iterator[Record]:
    """Read a topic from its beginning, or from given offsets, to its end at the time of the call.

    Raises:
        LogUnavailable: no record arrived for a minute.
    """
    end = log.end_offsets([topic])
    with log.reader(start or log.begin_offsets([topic])) as reader:
        deadline = time.monotonic() + _STALLED_SECONDS
        while any(offset < end[source] for source, offset in reader.positions().items()):
            records = reader.poll(_READ_RECORDS, timeout_seconds=1.0)
            if records:
                deadline = time.monotonic() + _STALLED_SECONDS
            elif time.monotonic() > deadline:
                raise LogUnavailable(
                    f"{topic}: no record arrived for {_STALLED_SECONDS:.0f} s before the end"
                )
            yield from (record for record in records if record.offset < end[record.source])


def read_compacted(log: EventLog, topic: str) -> dict[str, Record]:
    """Read the last record of each key of a topic, without the keys whose last record is a tombstone."""
    latest: dict[str, Record] = {}
    for record in read(log, topic):
        if record.key is None:
            continue
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = record
    return latest


def named(offsets: Offsets) -> dict[str, int]:
    """Convert offsets to ``{"topic/partition": offset}``, the form in files and responses."""
    return {str(source): offset for source, offset in sorted(offsets.items())}


def lag(end: Offsets, positions: Offsets) -> dict[TopicPartition, int]:
    """Return the number of records between positions and the end, for each partition."""
    return {source: max(0, end[source] - positions.get(source, 0)) for source in end}
