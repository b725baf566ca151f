"""Report each record that cannot be read: one log line and one count per place."""

from __future__ import annotations

import logging
from collections import OrderedDict
from threading import Lock

from pipeline import metrics
from pipeline.eventlog.port import Record

logger = logging.getLogger(__name__)

_REMEMBERED_PLACES = 100_000


class _Places:
    """The places that were reported last; bounded, because a damaged disk has many of them."""

    def __init__(self) -> None:
        self._reported: OrderedDict[tuple[str, int, int], None] = OrderedDict()
        self._lock = Lock()

    def add(self, place: tuple[str, int, int]) -> bool:
        """Remember a place; return whether it is new."""
        with self._lock:
            if place in self._reported:
                return False
            self._reported[place] = None
            if len(self._reported) > _REMEMBERED_PLACES:
                self._reported.popitem(last=False)
            return True


_places = _Places()


def unreadable(topic: str, partition: int, offset: int, append_time: int, error: str) -> Record:
    """Build the record that stands for an unreadable one, and report it if its place is new.

    Its value is empty and not None: None would make it a tombstone.
    """
    if _places.add((topic, partition, offset)):
        metrics.UNREADABLE_RECORDS.inc()
        logger.error("%s/%d: the record at offset %d cannot be read: %s", topic, partition, offset, error)
    return Record(topic, partition, offset, append_time, None, b"", error)
