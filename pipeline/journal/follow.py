"""Follow the journal while a learner writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

from pipeline.eventlog.port import EventLog, Offsets, TopicPartition
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import JournalEntry, entry_of
from pipeline.signals import check_goes_on

POLL_SECONDS = 0.5
READ_ENTRIES = 500


def follow_journal(
    event_log: EventLog,
    topics: Topics,
    start: int,
    stop: Event,
    idle: Callable[[], None] = lambda: None,
) -> Iterator[tuple[JournalEntry, int]]:
    """Read the entries from an offset on, each with the offset after it; wait for later ones.

    `idle` is called again and again while it waits.

    Raises:
        JournalCorrupt: an entry cannot be read.
        Stopped: `stop` was set.
    """
    with event_log.reader({TopicPartition(topics.journal, 0): start}) as reader:
        while True:
            records = reader.poll(READ_ENTRIES, POLL_SECONDS)
            for record in records:
                if record.value is not None:
                    yield entry_of(record), record.offset + 1
            check_goes_on(stop)
            if not records:
                idle()


def recorded(topics: Topics, offsets: Offsets) -> int:
    """Count the records of the interactions topic before some offsets."""
    return sum(at for source, at in offsets.items() if source.topic == topics.interactions)
