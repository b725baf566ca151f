"""Where a bridge is in a topic of its source; kept in the event log, so the source is only read.

A consumer group's offsets would not do: the source forgets them after some days without a commit, and when
the topic is made again. Then a bridge would read everything again, or pass over records, in silence.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.bounded import Count, Key, TopicName, fault_of
from pipeline.errors import TopicError
from pipeline.eventlog.port import EventLog, LogWriter, Record, TopicPartition, read_compacted
from pipeline.eventlog.topics import Topics

POSITION_SECONDS = 1.0
"""Between two stored positions of a slow stream, so that it does not fill their topic."""
Partition = Annotated[int, Field(ge=0, lt=1_000_000, strict=False)]


class SourcePosition(BaseModel):
    """The next offset of each partition of a topic.

    Attributes:
        topic_id: what the source gave the topic at its creation.
        identity: part of all ids of events; another one after offsets have begun to mean other records.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: TopicName
    topic_id: Key
    identity: Key
    offsets: Annotated[Mapping[Partition, Count], Field(max_length=100_000)]

    @property
    def by_partition(self) -> dict[TopicPartition, int]:
        """The offsets as the event log takes them."""
        return {TopicPartition(self.topic, partition): at for partition, at in self.offsets.items()}

    def at(self, offsets: Mapping[int, int]) -> SourcePosition:
        """Return the same with other offsets."""
        return self.model_copy(update={"offsets": offsets})

    def encode(self) -> bytes:
        """Return the value of the record that keeps it."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_NON_STR_KEYS)


def key_of(bridge: str, topic: str) -> str:
    """Return the key of a position's record."""
    return f"{bridge}/{topic}"


def stored_positions(event_log: EventLog, topics: Topics, bridge: str) -> dict[str, SourcePosition]:
    """Read a bridge's last positions, by topic.

    Raises:
        TopicError: one cannot be read, or the topic of positions is missing.
    """
    found = {}
    for key, record in read_compacted(event_log, topics.positions).items():
        name, _, topic = key.partition("/")
        if name == bridge:
            found[topic] = _decoded(record)
    return found


def _decoded(record: Record) -> SourcePosition:
    try:
        return SourcePosition.model_validate_json(record.value or b"")
    except ValidationError as error:
        raise TopicError(
            f"{record.source}/{record.offset}: the position of {record.key} cannot be read "
            f"({fault_of(error)}): give the bridge another name in [bridge], and say where it starts"
        ) from None


class Positions:
    """The positions in all topics of a source, and when they were last stored."""

    def __init__(
        self, found: Mapping[str, SourcePosition], topics: Topics, bridge: str, most_pending: int
    ) -> None:
        """Begin at some positions; after a crash, so many records or those of a second are read again."""
        self._found = dict(found)
        self._topic = topics.positions
        self._bridge = bridge
        self._changed = set(found)
        self._most_pending = most_pending
        self._pending = 0
        self._due = 0.0

    @property
    def offsets(self) -> dict[TopicPartition, int]:
        """Next offsets of all partitions."""
        return {source: at for one in self._found.values() for source, at in one.by_partition.items()}

    def of(self, record: Record) -> SourcePosition:
        """Return the position in the topic of a record."""
        return self._found[record.topic]

    def advance(self, records: Sequence[Record]) -> None:
        """Go on behind records whose events are durable."""
        offsets: dict[str, dict[int, int]] = {}
        for record in records:
            offsets.setdefault(record.topic, {})[record.partition] = record.offset + 1
        for topic, at in offsets.items():
            self._found[topic] = self._found[topic].at({**self._found[topic].offsets, **at})
        self._changed.update(offsets)
        self._pending += len(records)

    def write_if_due(self, writer: LogWriter) -> None:
        """Store what has changed, if it is much, or some time after it changed."""
        if self._pending >= self._most_pending or (self._changed and time.monotonic() >= self._due):
            self.write(writer)

    def write(self, writer: LogWriter) -> None:
        """Store what has changed; a flush makes it durable."""
        for topic in sorted(self._changed):
            writer.append(self._topic, key_of(self._bridge, topic), self._found[topic].encode())
        self._changed.clear()
        self._pending, self._due = 0, time.monotonic() + POSITION_SECONDS
