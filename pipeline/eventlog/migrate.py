"""Copy the events of a model to new topics with another number of partitions.

Context. A key's partition is its hash modulo the number of partitions, so adding partitions to a
topic sends a user's new events to another partition than the old ones: their order is lost, and so
is the dedupe by event id, which is per partition.

Decision. The number of partitions of a topic never changes. More partitions are new topics under
another prefix, into which the events are copied: `interactions`, `impressions`, `items`, `users`,
`rules`, `policies` and the `positions` of bridges, byte for byte, in the order of append over all
partitions. So each key is in one partition, in its order, with its event ids, and dedupe drops what it
would have dropped before. This also mends topics whose partitions were added by hand. The old topics
stay as they are, for the way back.

What is not copied, because it names offsets of the old topics or follows from the events: journal,
snapshots, histories, control, dead letters. A learner that starts under the new prefix is a new
model, which learns the copied events from their beginning. To adopt an old checkpoint instead, copy
with `until` set to the checkpoint's offsets: the `target` offsets of the result then stand for the
same events. Splitting its per-partition state by the new hash is up to the caller.

Consequences. Append times are those of the copy: windows by time begin there, and retention, too, so
an event may be kept for up to twice as long. Records that cannot be read are left behind and counted.

Exactly once. After each chunk the copied offsets of source and target are reported together, under a
group of this target. A later run continues there: what an interrupted run had stored after its last
report is found in the target and not stored again. So producers may go on during a first run; stop
them, run again for the rest, and start everything under the new prefix. A run that reaches its end
verifies what it copied: each key's values, in their order.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from pipeline.errors import DeliveryError, InvalidSettings, TopicError
from pipeline.eventlog.port import (
    EventLog,
    LogWriter,
    Offsets,
    Record,
    TopicPartition,
    check_record,
    read,
)
from pipeline.eventlog.topics import Topics

logger = logging.getLogger(__name__)

_CHUNK_RECORDS = 20_000
"""Records between two reports; also the most that an interrupted run can have stored unreported."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What one run copied of one topic.

    Attributes:
        records: the number of records copied.
        left_behind: the number of records that could not be read, or that no engine stores.
        source: the offsets up to which the source has been copied, in all runs together.
        target: the end offsets of the target.
    """

    records: int
    left_behind: int
    source: dict[TopicPartition, int]
    target: dict[TopicPartition, int]


def migrate(
    log: EventLog, source: Topics, target: Topics, partitions: int, retention_ms: int, compaction_lag_ms: int
) -> dict[str, Copied]:
    """Create the target's topics with `partitions`, and copy and verify the events; by source topic.

    Raises:
        InvalidSettings: source and target are the same.
        TopicError: a source topic is missing (`positions`, `users`, `rules` and `policies` may be, as in
            older versions); a target topic has other settings or holds records that are not copies; or the
            copy differs.
    """
    if source == target:
        raise InvalidSettings("the new topics need another prefix than the old ones")
    log.end_offsets([source.interactions, source.impressions, source.items])  # they must exist
    target.create(log, partitions, retention_ms, compaction_lag_ms)
    target.check(log, partitions, retention_ms, compaction_lag_ms)
    copies = {
        source.positions: target.positions,  # first: a bridge must not go on behind events not copied yet
        source.interactions: target.interactions,
        source.impressions: target.impressions,
        source.items: target.items,
        source.users: target.users,
        source.rules: target.rules,
        source.policies: target.policies,
    }
    present = log.partition_counts(copies)
    return {old: copy_topic(log, old, new) for old, new in copies.items() if old in present}


def copy_topic(log: EventLog, source: str, target: str, until: Offsets | None = None) -> Copied:
    """Copy a topic's records that earlier runs have not copied, up to offsets or its end, and verify.

    Holds a number for each key in memory, about 150 bytes a key.

    Raises:
        OffsetsExpired: retention deleted records that an earlier run had not copied yet.
        TopicError: the target holds records that are not copies, or the copy differs.
    """
    group = f"millstream-migrate-{target}"
    start = {**log.begin_offsets([source]), **log.reported(group, [source])}
    before = {**log.begin_offsets([target]), **log.reported(group, [target])}
    end = {**log.end_offsets([source]), **(until or {})}
    run = _Run(
        log,
        source,
        target,
        group,
        start,
        dict(start),
        stored=_stored_since(log, target, before),
        expected=_Digest(log.describe_topics()[target].compacted),
    )
    with log.writer() as writer:
        for record in _in_append_order(log, source, start, end):
            run.copy(writer, record)
        run.offsets.update({partition: max(start[partition], at) for partition, at in end.items()})
        run.report(writer)
    run.verify(before)
    return Copied(run.records, run.left_behind, run.offsets, log.end_offsets([target]))


class _Digest:
    """A number for each key that depends on its values and their order; the last value if compacted."""

    def __init__(self, compacted: bool) -> None:
        self.compacted = compacted
        self.of_key: dict[str | None, int] = {}

    def add(self, record: Record) -> None:
        previous = 0 if self.compacted else self.of_key.get(record.key, 0)
        self.of_key[record.key] = hash((previous, record.value))


@dataclass(slots=True)
class _Run:
    """One run over one topic: where it is, and what it has copied."""

    log: EventLog
    source: str
    target: str
    group: str
    begin: Offsets
    offsets: dict[TopicPartition, int]
    stored: Counter[tuple[str | None, bytes | None]]
    expected: _Digest
    records: int = 0
    left_behind: int = 0
    _unreported: int = field(default=0)

    def copy(self, writer: LogWriter, record: Record) -> None:
        """Store a record in the target, unless an interrupted run has done so."""
        if _can_be_stored(record):
            self._store(writer, record)
        else:
            self.left_behind += 1
        self.offsets[record.source] = record.offset + 1
        self._unreported += 1
        if self._unreported == _CHUNK_RECORDS:
            self.report(writer)

    def report(self, writer: LogWriter) -> None:
        """Make the copied records durable, then the offsets at which the next run continues."""
        writer.flush()
        self.log.report(self.group, {**self.offsets, **self.log.end_offsets([self.target])})
        self._unreported = 0

    def verify(self, before: Offsets) -> None:
        """Compare the target's records since `before` with what was copied.

        Raises:
            TopicError: they differ.
        """
        actual = _Digest(self.expected.compacted)
        for record in read(self.log, self.target, before):
            actual.add(record)
        keys = self.expected.of_key.keys() | actual.of_key.keys()
        different = sum(self.expected.of_key.get(key) != actual.of_key.get(key) for key in keys)
        if self.stored.total() or different:
            # Back to where this run began, so that a later run cannot miss it.
            self.log.report(self.group, {**self.begin, **before})
        if self.stored.total():
            raise TopicError(_foreign(self.target))
        if different:
            raise TopicError(
                f"{self.target}: {different} keys differ from {self.source}; copy to another prefix"
            )

    def _store(self, writer: LogWriter, record: Record) -> None:
        content = record.key, record.value
        if self.stored[content]:
            self.stored[content] -= 1
        else:
            writer.append(self.target, record.key, record.value)
        self.expected.add(record)
        self.records += 1


def _in_append_order(log: EventLog, topic: str, start: Offsets, end: Offsets) -> Iterator[Record]:
    """Merge the partitions by append time; the order within each partition is kept in any case."""
    return heapq.merge(
        *(_read_partition(log, topic, partition, start[partition], end[partition]) for partition in start),
        key=lambda record: (record.append_time, record.partition, record.offset),
    )


def _read_partition(
    log: EventLog, topic: str, partition: TopicPartition, start: int, end: int
) -> Iterator[Record]:
    if start < end:
        yield from takewhile(lambda record: record.offset < end, read(log, topic, {partition: start}))


def _stored_since(log: EventLog, topic: str, offsets: Offsets) -> Counter[tuple[str | None, bytes | None]]:
    """Count the contents of the records that an interrupted run stored after its last report.

    Raises:
        TopicError: there are more than one run can leave, so somebody else has written them.
    """
    end = log.end_offsets([topic])
    if sum(end[partition] - at for partition, at in offsets.items()) > _CHUNK_RECORDS:
        raise TopicError(_foreign(topic))
    return Counter((record.key, record.value) for record in read(log, topic, offsets))


def _can_be_stored(record: Record) -> bool:
    if record.error is not None:
        return False
    try:
        check_record(record.key, record.value)
    except DeliveryError as error:
        logger.warning("%s/%d is left behind: %s", record.source, record.offset, error)
        return False
    return True


def _foreign(topic: str) -> str:
    return f"{topic}: holds records that are not copies, so the order could be lost; copy to another prefix"
