"""The journal: each batch is written down before it is learned.

Polling a log gives other batches after a restart than before it. So each MicroBatch is named
by its end offsets in one durable record before it is learned, and a restarted learner cuts
the same batches from the log. Which Segments are replayed and which negatives are drawn
follows from seed, generation and step, and need not be written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.bounded import Count, Generation, Key, Reason, StatePath, Step, TopicIds, TopicName, fault_of
from pipeline.errors import JournalCorrupt
from pipeline.eventlog.port import EventLog, Offsets, Record, TopicPartition, read
from pipeline.events import Milliseconds, Offset
from pipeline.sealing import open_record, seal_record

FORMAT: Literal[1] = 1


class Verb(StrEnum):
    """What the learner does at an entry."""

    START = "start"
    """Nothing: the entry holds the offsets from which learning begins."""
    LEARN = "learn"
    FOLD = "fold"
    """Add the batch to the stream state, without gradient."""
    REHEARSE = "rehearse"
    """Learn replayed Segments once more, in spare time; the batch is empty."""
    ADOPT = "adopt"
    """No batch: go on from another state, at that state's offsets."""
    SKIP = "skip"
    """No batch: go on after a gap that was accepted, with the same state."""


Partitions = Annotated[tuple[Offset, ...], Field(max_length=10_000)]
Ends = Annotated[dict[TopicName, Partitions], Field(max_length=16)]
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
    state: StatePath
    order: Key
    reason: Reason


class JournalEntry(BaseModel):
    """One batch: everything up to `ends` that no earlier entry covered; or an adoption, or a gap.

    Attributes:
        fingerprint: of the machine and settings; a batch gives the same bits only if it is equal.
        ends: next offsets of the input topics after the batch.
        through: append time in ms of the last item or interaction before these ends.
        control: offset of the next record of the control topic to be obeyed.
        adopts: the adopted state; None unless the entry is an adoption.
        fold_to: offsets up to which records are folded, not learned; empty to learn all.
        topic_ids: by input topic, the log's id of the topic that the ends are offsets of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = FORMAT
    generation: Generation
    step: Step
    verb: Verb
    fingerprint: Key
    ends: Ends
    through: Milliseconds = 0
    control: Count = 0
    adopts: Adopts | None = None
    fold_to: Ends = {}
    topic_ids: TopicIds = {}

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
        topic_ids: Mapping[str, str] | None = None,
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
            topic_ids=dict(topic_ids or {}),
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
    def is_break(self) -> bool:
        """Whether what follows does not go on from what came before: an adoption or a gap."""
        return self.verb in (Verb.ADOPT, Verb.SKIP)

    @property
    def cause(self) -> str:
        """What a break comes from: the order that was carried out, or a gap."""
        return self.adopts.order if self.adopts else "a gap in the log"

    @property
    def version(self) -> str:
        """``<generation>-<step>``, as a snapshot after the batch is called."""
        return f"{self.generation}-{self.step}"

    def encode(self) -> bytes:
        """Return the wire form, about 200 bytes, with a seal."""
        return seal_record(self.model_dump(exclude_defaults=True) | {"v": self.v})

    @classmethod
    def decode(cls, wire: bytes) -> Self:
        """Read the wire form.

        Raises:
            ValueError: it is damaged, or no entry.
        """
        return cls.model_validate(open_record(wire))


def read_journal(log: EventLog, topic: str, start: int | None = None) -> Iterator[tuple[JournalEntry, int]]:
    """Yield the entries from an offset on (default: all), oldest first, each with the offset after it.

    Raises:
        JournalCorrupt: an entry cannot be read.
    """
    begin = None if start is None else {TopicPartition(topic, 0): start}
    for record in read(log, topic, begin):
        if record.value is not None:
            yield entry_of(record), record.offset + 1


def entry_of(record: Record) -> JournalEntry:
    """Return the entry that a record of the journal holds.

    Raises:
        JournalCorrupt: it cannot be read: nothing after it can be learned as it was learned before.
    """
    try:
        return JournalEntry.decode(record.value or b"")
    except ValueError as error:
        raise JournalCorrupt(
            f"{record.source}/{record.offset} is no entry of the journal ({fault_of(error)}): only the "
            "learner may write this topic; find out what else did, then go on under another log.prefix, or "
            "from a copy of the log that ends before it"
        ) from None


def _by_topic(offsets: Offsets) -> Ends:
    """Offsets as an entry writes them, all partitions named."""
    ends: Ends = {}
    for source in sorted(offsets):
        ends[source.topic] = (*ends.get(source.topic, ()), offsets[source])
    return ends


def _by_partition(ends: Ends) -> dict[TopicPartition, int]:
    """Offsets as an entry wrote them."""
    return {TopicPartition(t, p): end for t, parts in ends.items() for p, end in enumerate(parts)}
