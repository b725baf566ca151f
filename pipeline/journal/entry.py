"""The journal: each batch is written down before it is learned.

Polling a log gives other batches after a restart than before it. So each MicroBatch is named
by its end offsets in one durable record before it is learned, and a restarted learner cuts
the same batches from the log. Which Segments are replayed and which negatives are drawn
follows from seed, generation and step, and need not be written down.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

from pipeline.eventlog.port import EventLog, Offsets, TopicPartition, read

FORMAT = 1


class Verb(StrEnum):
    """What the learner does at an entry."""

    START = "start"
    """Nothing: the entry holds the offsets from which learning begins."""
    LEARN = "learn"
    FOLD = "fold"
    """Add the batch to the stream state, without gradient."""
    ADOPT = "adopt"
    """No batch: go on from another state, at that state's offsets."""


Ends = dict[str, tuple[int, ...]]
"""Next offsets of each topic, one per partition."""


class Adopts(BaseModel):
    """The state that an adoption goes on from.

    Attributes:
        kind: of the order.
        state: folder of the checkpoint, below the model's.
        order: key of the order on the control topic.
        reason: of the order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["promotion", "rollback"]
    state: str
    order: str
    reason: str


class JournalEntry(BaseModel):
    """One batch: everything up to `ends` that no earlier entry covered; or an adoption.

    Attributes:
        fingerprint: of the machine and settings; a batch gives the same bits only if it is equal.
        ends: next offsets of the input topics after the batch.
        through: append time in ms of the last record before these ends.
        control: offset of the next record of the control topic to be obeyed.
        adopts: the adopted state; None unless the entry is an adoption.
        fold_to: offsets up to which records are folded, not learned; empty to learn all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: int = FORMAT
    generation: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    verb: Verb
    fingerprint: str
    ends: Ends
    through: int = 0
    control: Annotated[int, Field(ge=0)] = 0
    adopts: Adopts | None = None
    fold_to: Ends = {}

    @classmethod
    def of(
        cls,
        generation: int,
        step: int,
        verb: Verb,
        fingerprint: str,
        ends: Offsets,
        *,
        through: int = 0,
        control: int = 0,
        adopts: Adopts | None = None,
        fold_to: Offsets | None = None,
    ) -> Self:
        """Make the entry of a batch that ends at the given offsets; name all partitions."""
        return cls(
            generation=generation,
            step=step,
            verb=verb,
            fingerprint=fingerprint,
            ends=_by_topic(ends),
            through=through,
            control=control,
            adopts=adopts,
            fold_to=_by_topic(fold_to or {}),
        )

    @property
    def offsets(self) -> dict[TopicPartition, int]:
        """End offsets by partition."""
        return _by_partition(self.ends)

    @property
    def folds_to(self) -> dict[TopicPartition, int]:
        """Offsets before which everything is folded, by partition."""
        return _by_partition(self.fold_to)

    @property
    def version(self) -> str:
        """``<generation>-<step>``, as a snapshot after the batch is called."""
        return f"{self.generation}-{self.step}"

    def encode(self) -> bytes:
        """Return the wire form, about 200 bytes."""
        return orjson.dumps(self.model_dump(exclude_defaults=True) | {"v": self.v})


def read_journal(log: EventLog, topic: str, start: int | None = None) -> Iterator[tuple[JournalEntry, int]]:
    """Yield the entries from an offset on (default: all), oldest first, each with the offset after it."""
    begin = None if start is None else {TopicPartition(topic, 0): start}
    for record in read(log, topic, begin):
        if record.value is not None:
            yield JournalEntry.model_validate_json(record.value), record.offset + 1


def _by_topic(offsets: Offsets) -> Ends:
    """Offsets as an entry writes them, all partitions named."""
    ends: Ends = {}
    for source in sorted(offsets):
        ends[source.topic] = (*ends.get(source.topic, ()), offsets[source])
    return ends


def _by_partition(ends: Ends) -> dict[TopicPartition, int]:
    """Offsets as an entry wrote them."""
    return {TopicPartition(t, p): end for t, parts in ends.items() for p, end in enumerate(parts)}
