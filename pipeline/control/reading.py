"""The records of one kind that the control topic has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from pipeline.control.records import ControlRecord
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics

Found = TypeVar("Found", bound=ControlRecord)


def records_of(
    event_log: EventLog, topics: Topics, decode: Callable[[bytes], Found | None]
) -> Iterator[Found]:
    """Yield the records that `decode` reads, oldest first; it leaves out or refuses all others.

    Raises:
        TopicError: there is no control topic.
    """
    for record in read(event_log, topics.control):
        found = None
        with suppress(AttributeError, TypeError, ValueError):  # who obeys records says which are damaged
            found = decode(record.value or b"")
        if found is not None:
            yield found
