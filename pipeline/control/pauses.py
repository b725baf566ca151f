"""The pause of learning that stands, as the control topic has it."""

from __future__ import annotations

from contextlib import suppress

from pipeline.control.records import Order, Pause, Resume, order_in
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics


def standing_pause(event_log: EventLog, topics: Topics) -> Pause | None:
    """Return the pause of the control topic that no later record ended.

    Raises:
        TopicError: there is no control topic.
    """
    standing: Pause | None = None
    for record in read(event_log, topics.control):
        with suppress(TypeError, ValueError):  # who obeys orders says which records are damaged
            standing = after_order(standing, order_in(record.value or b""))
    return standing


def after_order(standing: Pause | None, order: Order | None) -> Pause | None:
    """Return the pause that stands after an order; a second pause changes nothing."""
    match order:
        case Pause():
            return standing or order
        case Resume():
            return None
    return standing
