"""The orders that were refused, as the control topic has them."""

from __future__ import annotations

from contextlib import suppress

from pipeline.control.records import Refusal
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics


def refused_orders(event_log: EventLog, topics: Topics) -> set[str]:
    """Read the control topic for the keys of orders that were refused.

    Raises:
        TopicError: there is no control topic.
    """
    refused = set[str]()
    for record in read(event_log, topics.control):
        with suppress(TypeError, ValueError):  # another kind of record, or a damaged one
            refused.add(Refusal.decode(record.value or b"").order)
    return refused
