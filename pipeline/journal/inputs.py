"""Inputs: readers of the input topics, which go on together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.eventlog.port import EventLog, Offsets, Record, lag
from pipeline.eventlog.topics import Topics
from pipeline.journal.position import of_topic
from pipeline.journal.record_buffer import RecordBuffer


class Cut(NamedTuple):
    """The records of a batch by topic, each in the order of a batch."""

    items: Sequence[Record] = ()
    interactions: Sequence[Record] = ()
    impressions: Sequence[Record] = ()
    users: Sequence[Record] = ()


class Inputs:
    """Readers of items and interactions, and of what not every journal names: impressions and users.

    Attributes:
        items, interactions: always read.
        impressions, users: None while they are not read.
    """

    def __init__(self, event_log: EventLog, topics: Topics, offsets: Offsets) -> None:
        """Read from offsets on; what they do not name is not read."""
        self._log, self._topics = event_log, topics
        self.items, self.interactions = (
            RecordBuffer(event_log, of_topic(topic, offsets)) for topic in (topics.items, topics.interactions)
        )
        self.impressions: RecordBuffer | None = None
        self.users: RecordBuffer | None = None
        self._read_optional(offsets)

    def read_impressions(self) -> RecordBuffer:
        """Return the reader of impressions, which begins at their end if there was none."""
        if self.impressions is None:
            self.impressions = RecordBuffer(self._log, self._log.end_offsets([self._topics.impressions]))
        return self.impressions

    def read_users(self) -> None:
        """Read users, from the first that the log holds if they were not read."""
        if self.users is None:
            self.users = RecordBuffer(self._log, self._log.begin_offsets([self._topics.users]))

    def cut_to(self, ends: Offsets) -> Cut:
        """Cut what a journal entry names.

        The first that names impressions or users, or none of them again, has none.
        """
        self.impressions = self._named(self.impressions, self._topics.impressions, ends)
        self.users = self._named(self.users, self._topics.users, ends)
        impressions, users = (
            buffer.cut_to(ends) if buffer else () for buffer in (self.impressions, self.users)
        )
        return Cut(self.items.cut_to(ends), self.interactions.cut_to(ends), impressions, users)

    def seek(self, offsets: Offsets) -> None:
        """Go on from other offsets; what they do not name is no longer read."""
        self.items.seek(offsets)
        self.interactions.seek(offsets)
        self._read_optional(offsets)

    def positions(self) -> Offsets:
        """Return the offsets after the last cut."""
        return {source: at for buffer in self._open() for source, at in buffer.positions().items()}

    def waiting(self) -> int:
        """Count the records of the log that are to be learned."""
        ends = self._log.end_offsets([self._topics.items, self._topics.interactions])
        return sum(lag(ends, self.items.positions() | self.interactions.positions()).values())

    def close(self) -> None:
        """Close the readers."""
        for buffer in self._open():
            buffer.close()

    def _open(self) -> Iterator[RecordBuffer]:
        every = self.items, self.interactions, self.impressions, self.users
        return (buffer for buffer in every if buffer is not None)

    def _named(self, buffer: RecordBuffer | None, topic: str, offsets: Offsets) -> RecordBuffer | None:
        """Return what reads a topic; a new one, from offsets on, where these or the reader lack it."""
        if buffer is not None and of_topic(topic, offsets):
            return buffer
        return self._reopened(buffer, topic, offsets)

    def _reopened(self, buffer: RecordBuffer | None, topic: str, offsets: Offsets) -> RecordBuffer | None:
        """Read a topic from offsets on; not at all if these do not name it."""
        if buffer is not None:
            buffer.close()
        ours = of_topic(topic, offsets)
        return RecordBuffer(self._log, ours) if ours else None

    def _read_optional(self, offsets: Offsets) -> None:
        """Read what not every journal names, from offsets on."""
        self.impressions = self._reopened(self.impressions, self._topics.impressions, offsets)
        self.users = self._reopened(self.users, self._topics.users, offsets)


def latest(records: Sequence[Record]) -> int:
    """Return the last append time in ms; 0 without records."""
    return max((record.append_time for record in records), default=0)
