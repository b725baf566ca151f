"""The pause of learning that stands, as the control topic has it."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.control.reading import records_of
from pipeline.control.records import ControlRecord, Pause, Resume, order_in
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics


def read_pause(event_log: EventLog, topics: Topics) -> Pause | None:
    """Read the control topic for the pause that stands.

    Raises:
        TopicError: there is no control topic.
    """
    return standing_pause(records_of(event_log, topics, order_in))


def standing_pause(records: Iterable[ControlRecord], standing: Pause | None = None) -> Pause | None:
    """Return the pause that stands after records; of several the first, until a resume ends it."""
    for record in records:
        match record:
            case Pause():
                standing = standing or record
            case Resume():
                standing = None
    return standing
