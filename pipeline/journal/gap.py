"""Gaps: the log lost records before they were learned, or a topic is not the one that it was.

Retention deletes what was not learned in time; a topic can be deleted and made again; a log can be
restored from an old copy. A learner does not pass over any of these in silence: it stops and says
what is lost. Once a person has accepted that, a journal entry says where learning goes on, with the
model as it is, in a new generation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.errors import RecordsLost
from pipeline.eventlog.port import NO_TOPIC_ID, EventLog, FencedWriter, Offsets, TopicPartition
from pipeline.eventlog.replaced import renewed, replacements, wait_for_the_end
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import JournalEntry, Verb, read_journal
from pipeline.journal.position import Position, of_topic
from pipeline.wording import counted

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""For a log that ends too early."""


@dataclass(frozen=True)
class Skip:
    """A step over a gap in the log, with the same state.

    Attributes:
        position: of the learner after it, the first of a new generation.
        before: its position before it.
    """

    position: Position
    before: Position

    @property
    def lost(self) -> dict[TopicPartition, int]:
        """Number of records that were skipped, by partition; unknown where a topic was made again."""
        return _lost(self.before, self.position.offsets, self.position.topic_ids)

    @property
    def topics(self) -> set[str]:
        """The topics that have lost records, were made again, or end too early."""
        moved = {
            source.topic for source, at in self.position.offsets.items() if at != self.before.offsets[source]
        }
        return moved | renewed(self.before.topic_ids, self.position.topic_ids)

    @property
    def reason(self) -> str:
        """What was lost, in words."""
        faults = _faults(self.before, self.position.offsets, self.position.topic_ids)
        return "; ".join(faults) or "the journal has lost entries"

    @property
    def goes_back(self) -> bool:
        """Whether offsets from before it mean other records, or none."""
        offsets, before = self.position.offsets, self.before.offsets
        return self.position.topic_ids != self.before.topic_ids or any(
            at < before[source] for source, at in offsets.items()
        )


def resume(
    event_log: EventLog,
    topics: Topics,
    journal: FencedWriter,
    start: Position,
    fingerprint: str,
    *,
    accepts: bool,
) -> Position:
    """Return where a learner goes on that stands at `start`: there, or after the gap that follows.

    Args:
        event_log, topics: where to read.
        journal: where a gap is written once it is accepted.
        start: where the learner stands.
        fingerprint: the learner's.
        accepts: whether a gap is accepted that the journal does not have yet. One of impressions alone always
            is: it costs outcomes, which are counted as lost, and no interaction.

    Raises:
        RecordsLost: there is one, and it is not.
    """
    expected = {TopicPartition(topics.journal, 0): start.journal, **start.offsets}
    wait_for_the_end(event_log, expected, PATIENCE_SECONDS)
    last, at = start.generation, start
    faults = _journal_faults(event_log, topics, start)
    for entry, journalled in read_journal(event_log, topics.journal, None if faults else start.journal):
        last = max(last, entry.generation)
        if entry.verb is Verb.SKIP:
            at, faults = Position.after(entry, journalled), []
    ids = event_log.topic_ids({*topics.inputs, *(source.topic for source in at.offsets)})
    held = _held(event_log, at, ids)
    needed = faults + _faults(_without(at, topics.impressions), held, ids)
    faults += _faults(at, held, ids)
    if not faults:
        return replace(at, topic_ids=ids)
    lost = f"not learned after {at.version}: {'; '.join(faults)}"
    if needed and not accepts:
        raise RecordsLost(lost)
    log.warning("%s", lost)
    others = renewed(at.topic_ids, ids)
    entry = JournalEntry.of(
        last + 1,
        at.step + 1,
        Verb.SKIP,
        fingerprint,
        held,
        through=at.through,
        control=at.control,
        fold_to={source: end for source, end in at.fold_to.items() if source.topic not in others},
        topic_ids=ids,
    )
    return Position.after(entry, journal.append(entry.encode()) + 1)


def _without(at: Position, topic: str) -> Position:
    """Return a position that knows nothing of a topic."""
    ours = of_topic(topic, at.offsets)
    offsets = {source: offset for source, offset in at.offsets.items() if source not in ours}
    return replace(at, offsets=offsets, topic_ids={**at.topic_ids, topic: NO_TOPIC_ID})


def _held(event_log: EventLog, at: Position, ids: Mapping[str, str]) -> dict[TopicPartition, int]:
    """Return the offsets nearest to those of a position from which the log can be read."""
    others = renewed(at.topic_ids, ids)
    topics = {source.topic for source in at.offsets}
    begins, ends = event_log.begin_offsets(topics), event_log.end_offsets(topics)
    return {
        source: begins[source] if source.topic in others else min(max(offset, begins[source]), ends[source])
        for source, offset in at.offsets.items()
    }


def _journal_faults(event_log: EventLog, topics: Topics, start: Position) -> list[str]:
    """Say whether the journal no longer holds what follows a position, or never did."""
    source = TopicPartition(topics.journal, 0)
    begin = event_log.begin_offsets([topics.journal])[source]
    end = event_log.end_offsets([topics.journal])[source]
    if begin <= start.journal <= end:
        return []
    return [f"{source} holds {begin} to {end}, and not {start.journal}"]


def _faults(at: Position, held: Offsets, ids: Mapping[str, str]) -> list[str]:
    """Say what the log has lost of what comes after a position; `held`: the nearest offsets that it holds."""
    return replacements(at.offsets, at.topic_ids, held, ids) + [
        f"{source} has lost {counted(count, 'record')}, {held[source] - count} to {held[source] - 1}"
        for source, count in sorted(_lost(at, held, ids).items())
    ]


def _lost(at: Position, held: Offsets, ids: Mapping[str, str]) -> dict[TopicPartition, int]:
    """Count by partition what the log no longer holds after a position, in topics that are still the same."""
    others = renewed(at.topic_ids, ids)
    return {
        source: held[source] - offset
        for source, offset in at.offsets.items()
        if source.topic not in others and held[source] > offset
    }
