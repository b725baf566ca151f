"""The position of a learner in journal and log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from pipeline.errors import CheckpointCorrupt, JournalCorrupt
from pipeline.eventlog.port import EventLog, FencedWriter, Offsets, TopicPartition, read
from pipeline.eventlog.replaced import same_topics
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import JournalEntry, Verb, entry_of, read_journal


@dataclass(frozen=True)
class Position:
    """A learner's position in journal and log, after a batch or an adoption.

    Attributes:
        fingerprint: of the machine and settings that learned the batch.
        journal: offset of the next journal entry.
        offsets: of the next input records.
        through: append time in ms of the last item or interaction before them.
        control: offset of the next record of the control topic to be obeyed.
        fold_to: offsets up to which records are folded, not learned; empty to learn all.
        topic_ids: by input topic, the log's id of the topic that the offsets are of; empty if the
            journal is older than ids.
    """

    generation: int
    step: int
    fingerprint: str
    journal: int
    offsets: dict[TopicPartition, int]
    through: int
    control: int
    fold_to: dict[TopicPartition, int]
    topic_ids: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def after(cls, entry: JournalEntry, journalled: int) -> Self:
        """Return the position after a journal entry; `journalled` is the offset after the entry."""
        return cls(
            entry.generation,
            entry.step,
            entry.fingerprint,
            journalled,
            entry.offsets,
            entry.through,
            entry.control,
            entry.folds_to,
            entry.topic_ids,
        )

    @property
    def version(self) -> str:
        """``<generation>-<step>``, as the snapshot taken here is called."""
        return f"{self.generation}-{self.step}"


def of_topic(topic: str, offsets: Offsets) -> dict[TopicPartition, int]:
    """Return the offsets of one topic."""
    return {source: at for source, at in offsets.items() if source.topic == topic}


def first_position(event_log: EventLog, topics: Topics, journal: FencedWriter, fingerprint: str) -> Position:
    """Return the position where learning began; begin an empty journal with it.

    Args:
        event_log, topics: where to read.
        journal: where to write.
        fingerprint: the learner's.

    Raises:
        CheckpointCorrupt: the journal no longer holds its first entry.
    """
    first = next(read_journal(event_log, topics.journal), None)
    if first is not None:
        return beginning(topics, *first)
    begins, ids = event_log.begin_offsets(topics.inputs), event_log.topic_ids(topics.inputs)
    control = event_log.end_offsets([topics.control])[TopicPartition(topics.control, 0)]
    entry = JournalEntry.of(1, 0, Verb.START, fingerprint, begins, control=control, topic_ids=ids)
    return Position.after(entry, journal.append(entry.encode()) + 1)


def beginning(topics: Topics, entry: JournalEntry, journalled: int) -> Position:
    """Return the position after a journal's first entry.

    Raises:
        CheckpointCorrupt: it is not the entry that learning began with.
    """
    if entry.verb is not Verb.START:
        raise CheckpointCorrupt(
            f"{topics.journal} no longer reaches back to its beginning, and there is no checkpoint: "
            "put one back, or begin another model under another log.prefix"
        )
    return Position.after(entry, journalled)


def check_position(event_log: EventLog, topics: Topics, position: Position) -> None:
    """Check where a checkpoint stands against what the journal says of its version, if it says anything.

    Raises:
        CheckpointCorrupt: the journal says otherwise.
    """
    written = _written(event_log, topics, position)
    if written is None:
        return
    same = same_topics(written.topic_ids, position.topic_ids)
    if not same or written != replace(position, topic_ids=written.topic_ids):
        raise CheckpointCorrupt(
            f"checkpoint {position.version} does not stand where the journal says that {position.version} "
            "does: it is another log's, or forged"
        )


def _written(event_log: EventLog, topics: Topics, position: Position) -> Position | None:
    """Return the journal's position of the same version; where it is not expected, search all of it."""
    source = TopicPartition(topics.journal, 0)
    begin, end = (
        offsets([topics.journal])[source] for offsets in (event_log.begin_offsets, event_log.end_offsets)
    )
    last = position.journal - 1
    if begin <= last < end:
        at = next(_readable(event_log, source, last), None)
        if at is not None and at.version == position.version:
            return at
    found = _readable(event_log, source, begin)
    return next((at for at in found if at.version == position.version), None)


def _readable(event_log: EventLog, source: TopicPartition, start: int) -> Iterator[Position]:
    """Yield the positions after the entries from an offset on that can be read."""
    for record in read(event_log, source.topic, {source: start}):
        try:
            yield Position.after(entry_of(record), record.offset + 1)
        except JournalCorrupt:
            continue  # who learns it again names it
