"""The pause of learning that stands, as the control topic has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from pipeline.control.records import ControlRecord, Order, Pause, Resume, order_in
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics


def read_pause(event_log: EventLog, topics: Topics) -> Pause | None:
    """Read the control topic for the pause that stands.

    Raises:
        TopicError: there is no control topic.
    """
    return standing_pause(_orders(event_log, topics))


def standing_pause(records: Iterable[ControlRecord], standing: Pause | None = None) -> Pause | None:
    """Return the pause that stands after records; of several the first, until a resume ends it."""
    for record in records:
        match record:
            case Pause():
                standing = standing or record
            case Resume():
                standing = None
    return standing


def _orders(event_log: EventLog, topics: Topics) -> Iterator[Order]:
    for record in read(event_log, topics.control):
        with suppress(TypeError, ValueError):  # who obeys orders says which records are damaged
            order = order_in(record.value or b"")
            if order is not None:
                yield order
