"""The event log's port: what every engine (SQLite, Kafka) must be able to do.

A log has topics, a topic has partitions, a partition is an ordered run of records with
growing offsets (gaps are allowed: compaction, transactions). `Offsets` always name the
*next* record: ``{(topic, partition): 5}`` means that records up to 4 are behind us.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from pipeline.errors import DeliveryError, LogUnavailable

MAX_RECORD_BYTES = 1_000_000
"""Key and value of one record together; a little below what a Kafka broker takes by default."""

_STALLED_SECONDS = 60.0
_READ_RECORDS = 5_000


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote."""
        topic, _, partition = text.rpartition("/")
        return cls(topic, int(partition))


Offsets = Mapping[TopicPartition, int]


class Record(NamedTuple):
    """One stored record; `append_time` is the log's clock in ms, never the producer's."""

    topic: str
    partition: int
    offset: int
    append_time: int
    key: str | None
    value: bytes | None

    @property
    def source(self) -> TopicPartition:
        """Where the record stands."""
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is to be: `retention_ms` None keeps records for ever.

    A compacted topic keeps the last record of each key; superseded ones stay readable for at
    least `compaction_lag_ms`, so that whoever replays a journal reads what was read then.
    """

    name: str
    partitions: int
    compacted: bool = False
    retention_ms: int | None = None
    compaction_lag_ms: int = 0


class _Closing(Protocol):
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class LogWriter(_Closing, Protocol):
    """Appends records. May be used from several threads.

    A writer that lost a record stays failed: every later `append` and `flush` raises, so that
    no thread takes another's loss for its own success. To go on, open a new one.
    """

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        """Hand over one record; durable only after `flush` returns.

        Without `partition` the key's murmur2 hash chooses it, the same on every engine;
        a record without key goes to partition 0. Blocks while too many are in flight.
        Without `flush` a record still becomes durable and visible within milliseconds.

        Raises:
            DeliveryError: an *earlier* append failed, or this record is too large, has neither
                key nor value, or has no key and the topic is compacted.
            TopicError: the topic or its partition does not exist.
        """

    def flush(self) -> None:
        """Return when everything appended is acknowledged and durable.

        Raises:
            DeliveryError: some append was not acknowledged.
        """


class LogReader(_Closing, Protocol):
    """Reads assigned partitions from given offsets on. For one thread at a time."""

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """The next records, each partition's in order, no partition starved by another.

        Waits at most `timeout_seconds` for the first record; may return fewer than
        `max_records`, or none.

        Raises:
            OffsetsExpired: a position lies outside what the log holds.
            LogUnavailable: the log refuses to answer; a broker that is only away is waited for.
        """

    def seek(self, offsets: Offsets) -> None:
        """Go on from the given offsets in the partitions named."""

    def positions(self) -> dict[TopicPartition, int]:
        """The offset to go on from, of every assigned partition.

        It is the one after the last record returned, or after the gap that follows it.
        """


class FencedWriter(_Closing, Protocol):
    """The one writer of a one-partition topic. Opening a second fences the first."""

    def append(self, value: bytes) -> int:
        """Store one record durably and return its offset.

        Raises:
            Fenced: another owner has opened this topic since.
            DeliveryError: the log did not acknowledge it, it may or may not be stored; the
                writer is spent. Open another, then look at the topic's end.
        """


class EventLog(_Closing, Protocol):
    """A log behind one URL; makes readers and writers, which are closed by who asked for them.

    Every method may raise LogUnavailable. May be used from several threads.
    """

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that do not exist yet; return their names, in the order given."""

    def describe_topics(self) -> dict[str, TopicSpec]:
        """All topics as they are, by name."""

    def writer(self, *, max_in_flight: int = 20_000) -> LogWriter:
        """A writer with at most so many unacknowledged records."""

    def reader(self, offsets: Offsets) -> LogReader:
        """A reader assigned to exactly these partitions, at these offsets.

        Raises:
            TopicError: a topic or partition does not exist.
        """

    def fenced_writer(self, topic: str, owner: str) -> FencedWriter:
        """Take over the topic: from here on every earlier writer of it is fenced.

        `owner` says who, to people; fencing goes by the topic, so two owners cannot slip past
        each other. Open it *before* reading the topic: what an earlier writer left half done
        is resolved by then.

        Raises:
            TopicError: the topic does not exist or has more than one partition.
        """

    def begin_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """The first offset still held, of every partition of the topics.

        Raises:
            TopicError: a topic does not exist. So do the three below.
        """

    def end_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """The offset after the last readable record, of every partition of the topics."""

    def offsets_at(self, topics: Iterable[str], append_time: int) -> dict[TopicPartition, int]:
        """The first offset appended at or after a time in ms; the end where there is none."""

    def report(self, group: str, offsets: Offsets) -> None:
        """Publish a group's progress for lag tools; nothing in millstream depends on it."""

    def reported(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """What a group last reported, where it has."""


def check_record(key: str | None, value: bytes | None) -> None:
    """Refuse what some engine could not store, before it is in flight.

    Raises:
        DeliveryError: the record has neither key nor value, or is too large.
    """
    if key is None and value is None:
        raise DeliveryError("a record needs a key or a value")
    # Only what could be too large is measured: a character has four bytes of UTF-8 at most.
    if 4 * len(key or "") + len(value or b"") > MAX_RECORD_BYTES:
        size = len((key or "").encode()) + len(value or b"")
        if size > MAX_RECORD_BYTES:
            raise DeliveryError(f"a record of {size} bytes is larger than {MAX_RECORD_BYTES}")


def read(log: EventLog, topic: str, start: Offsets | None = None) -> Iterator[Record]:
    """All records of a topic from its begin, or from given offsets, to its end as of now.

    Raises:
        LogUnavailable: no progress for a minute.
    """
    end = log.end_offsets([topic])
    with log.reader(start or log.begin_offsets([topic])) as reader:
        deadline = time.monotonic() + _STALLED_SECONDS
        while any(offset < end[source] for source, offset in reader.positions().items()):
            records = reader.poll(_READ_RECORDS, timeout_seconds=1.0)
            if records:
                deadline = time.monotonic() + _STALLED_SECONDS
            elif time.monotonic() > deadline:
                raise LogUnavailable(f"{topic}: no record for {_STALLED_SECONDS:.0f} s before its end")
            yield from (record for record in records if record.offset < end[record.source])


def read_compacted(log: EventLog, topic: str) -> dict[str, Record]:
    """The last record of each key of a topic as of now; tombstoned keys are absent."""
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
    """Offsets with partitions as ``topic/partition``, as files and answers write them."""
    return {str(source): offset for source, offset in sorted(offsets.items())}


def lag(end: Offsets, positions: Offsets) -> dict[TopicPartition, int]:
    """Records between positions and the end, a partition."""
    return {source: max(0, end[source] - positions.get(source, 0)) for source in end}
