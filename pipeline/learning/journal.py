"""The journal: what is about to be learned, written down before it is.

A log's poll gives other batches after a restart than before it. So each MicroBatch is named
by its end offsets in one durable record before it is learned, and a restarted learner cuts
the same batches from the log. Which Segments are replayed and which negatives are drawn
follows from seed, generation and step, and needs no writing down.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

from pipeline.eventlog.port import EventLog, Offsets, TopicPartition, read

FORMAT = 1


class Verb(StrEnum):
    """What is done with a batch."""

    START = "start"
    """Nothing: the entry says from which offsets learning begins."""
    LEARN = "learn"
    FOLD = "fold"


class JournalEntry(BaseModel):
    """One batch: everything up to `ends` that no earlier entry covered.

    Attributes:
        fingerprint: of the machine and settings; bits are promised for equal ones only.
        ends: topic to the next offset after the batch, by partition.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: int = FORMAT
    generation: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    verb: Verb
    fingerprint: str
    ends: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, generation: int, step: int, verb: Verb, fingerprint: str, ends: Offsets) -> Self:
        """The entry for a batch that ends at the given offsets, all partitions named."""
        by_topic: dict[str, tuple[int, ...]] = {}
        for source in sorted(ends):
            by_topic[source.topic] = (*by_topic.get(source.topic, ()), ends[source])
        return cls(generation=generation, step=step, verb=verb, fingerprint=fingerprint, ends=by_topic)

    @property
    def offsets(self) -> dict[TopicPartition, int]:
        """The end offsets by partition."""
        return {TopicPartition(t, p): end for t, ends in self.ends.items() for p, end in enumerate(ends)}

    def encode(self) -> bytes:
        """The wire form, about 200 bytes."""
        return orjson.dumps(self.model_dump())


def read_journal(log: EventLog, topic: str, start: int | None = None) -> Iterator[tuple[JournalEntry, int]]:
    """The entries from an offset on (default: all), oldest first, each with the offset after it."""
    begin = None if start is None else {TopicPartition(topic, 0): start}
    for record in read(log, topic, begin):
        if record.value is not None:
            yield JournalEntry.model_validate_json(record.value), record.offset + 1
