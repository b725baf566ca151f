"""The orders that were refused, as the control topic has them."""

from __future__ import annotations

from pipeline.control.reading import records_of
from pipeline.control.records import Refusal
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics


def refused_orders(event_log: EventLog, topics: Topics) -> set[str]:
    """Read the control topic for the keys of orders that were refused.

    Raises:
        TopicError: there is no control topic.
    """
    return {refusal.order for refusal in records_of(event_log, topics, Refusal.decode)}
