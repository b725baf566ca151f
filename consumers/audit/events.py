"""Events beside what was learned: each event id is learned, a duplicate, or a dead letter, exactly once.

The records are judged here independently of any learner, by the rules of the door alone: a
partition's events, in their order, with the learner's window of event ids.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from consumers.audit.check import AuditCheck
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import impression_of, interaction_of, item_of
from pipeline.eventlog.port import EventLog, Offsets, Record, TopicPartition, read
from pipeline.eventlog.topics import Topics
from pipeline.state.dedupe import SeenEvents
from pipeline.wording import counted


def _offsets() -> defaultdict[TopicPartition, array[int]]:
    return defaultdict(lambda: array("q"))


@dataclass
class EventTally:
    """What the records of the input topics are: offsets by partition, in order; 8 bytes a record.

    Attributes:
        events: interactions to be learned.
        duplicates: interactions that are known already.
        shown: impressions that can be joined.
        refused: interactions, items and impressions that are dead letters.
    """

    window: int
    events: defaultdict[TopicPartition, array[int]] = field(default_factory=_offsets)
    duplicates: defaultdict[TopicPartition, array[int]] = field(default_factory=_offsets)
    shown: defaultdict[TopicPartition, array[int]] = field(default_factory=_offsets)
    refused: defaultdict[TopicPartition, array[int]] = field(default_factory=_offsets)
    _seen: dict[TopicPartition, SeenEvents] = field(default_factory=dict)

    def add_interaction(self, record: Record) -> None:
        """Judge the next record of the interactions topic."""
        seen = self._seen.setdefault(record.source, SeenEvents(self.window))
        try:
            kind = self.events if seen.is_first(interaction_of(record)) else self.duplicates
        except InvalidEvent:
            kind = self.refused
        kind[record.source].append(record.offset)

    def add_item(self, record: Record) -> None:
        """Judge the next record of the items topic."""
        try:
            item_of(record)
        except InvalidEvent:
            self.refused[record.source].append(record.offset)

    def add_impression(self, record: Record) -> None:
        """Judge the next record of the impressions topic."""
        try:
            impression_of(record)
        except InvalidEvent:
            self.refused[record.source].append(record.offset)
        else:
            self.shown[record.source].append(record.offset)

    def events_before(self, ends: Offsets) -> int:
        """Count the events to be learned before some offsets."""
        return sum(bisect_left(self.events[source], end) for source, end in ends.items())

    def refused_between(self, begins: Offsets, ends: Offsets) -> set[str]:
        """Return the places of dead letters between offsets; a partition without one begins at 0."""
        return {
            f"{source}/{offset}"
            for source, offsets in self.refused.items()
            for offset in offsets[
                bisect_left(offsets, begins.get(source, 0)) : bisect_left(offsets, ends.get(source, 0))
            ]
        }

    def holds_valid(self, place: str) -> bool:
        """Whether the record at a place is an event to be learned, a duplicate, or an impression."""
        text, _, offset = place.rpartition("/")
        source = TopicPartition.parse(text)
        return any(_has(kind[source], int(offset)) for kind in (self.events, self.duplicates, self.shown))


def tally(event_log: EventLog, topics: Topics, window: int) -> EventTally:
    """Judge all records of the input topics; `window` is the number of event ids that are remembered."""
    found = EventTally(window)
    for record in read(event_log, topics.interactions):
        found.add_interaction(record)
    for record in read(event_log, topics.items):
        found.add_item(record)
    for record in read(event_log, topics.impressions):
        found.add_impression(record)
    return found


def check_events(found: EventTally, learned: Iterable[tuple[str, Offsets, int]]) -> AuditCheck:
    """Check the number of events that states say to have learned; each is a name, end offsets and events."""
    states = list(learned)
    findings = [
        f"{name} has learned {counted(events, 'event')}, but the log holds {expected:,} before its offsets"
        for name, ends, events in states
        if events != (expected := found.events_before(ends))
    ]
    counts = {"event": found.events, "duplicate": found.duplicates}
    tallied = ", ".join(counted(sum(map(len, kind.values())), word) for word, kind in counts.items())
    return AuditCheck.of("events", f"{tallied}, in {counted(len(states), 'state')}", findings)


def check_dead_letters(
    event_log: EventLog, topics: Topics, found: EventTally, begins: Offsets, ends: Offsets
) -> AuditCheck:
    """Check that the records refused before the newest snapshot, and no valid ones, have a dead letter.

    Args:
        begins: of partitions that are read from later on than their beginning.
        ends: of what was read for the snapshot; none without one.
    """
    letters = {record.key for record in read(event_log, topics.dead_letters) if record.key is not None}
    refused = found.refused_between(begins, ends)
    missing = [f"{place} was refused, but has no dead letter" for place in sorted(refused - letters)]
    wrong = [f"{place} is valid, but has a dead letter" for place in sorted(_valid(found, letters))]
    return AuditCheck.of("dead letters", counted(len(refused), "refused record"), [*missing, *wrong])


def _valid(found: EventTally, letters: Iterable[str]) -> Iterator[str]:
    return (place for place in letters if found.holds_valid(place))


def _has(offsets: Sequence[int], offset: int) -> bool:
    index = bisect_left(offsets, offset)
    return index < len(offsets) and offsets[index] == offset
