"""Refusals in the log of a daemon: the first of each reason at once, then how many a minute."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable

import orjson

from pipeline import metrics
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.port import Record

RATE_SECONDS = 60.0

log = logging.getLogger(__name__)


class RefusalLines:
    """Writes about refusals without repeating a value: a line for each reason, then one line a minute.

    `remedy` says where to look further. For one thread at a time.
    """

    def __init__(self, remedy: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._remedy = remedy
        self._clock = clock
        self._known: set[str] = set()
        self._since = clock()
        self._recent = Counter[str]()
        self._last_place = ""

    def add(self, code: str, place: str, field: str, reason: str) -> None:
        """Write about a refusal at once if it is the first of its reason."""
        if code in self._known:
            self._recent[code] += 1
            self._last_place = place
            return
        self._known.add(code)
        # The field's name is the sender's: quoted, so that it cannot break the line.
        log.warning(
            "first refusal of reason %s: %s, field %r: %s; %s", code, place, field, reason, self._remedy
        )

    def settle(self) -> None:
        """Write how many were refused since the last time, at most once a minute."""
        seconds = self._clock() - self._since
        if seconds < RATE_SECONDS:
            return
        if self._recent:
            counts = ", ".join(f"{code} {count:,}" for code, count in self._recent.most_common())
            log.warning("refused in the last %.0f s: %s; the last was %s", seconds, counts, self._last_place)
        self._recent.clear()
        self._since = self._clock()


class RefusalLog:
    """Counts refused records by reason, and writes about them as `RefusalLines`."""

    def __init__(
        self,
        daemon: str,
        clock: Callable[[], float] = time.monotonic,
        remedy: str = "see `millstream dead-letters list`",
    ) -> None:
        """`daemon` is the label of the metric, `remedy` says where to look further."""
        self._daemon = daemon
        self._lines = RefusalLines(remedy, clock)
        self.settle = self._lines.settle

    def add(self, record: Record, error: InvalidEvent) -> None:
        """Count a refused record; write about it at once if it is the first of its reason."""
        self._add(error.code, f"{record.source}/{record.offset}", error.field, error.reason)

    def add_letters(self, letters: Iterable[tuple[str, bytes]]) -> None:
        """Count the records of dead letters, given by key and value; the key is the record's place."""
        for place, value in letters:
            letter = orjson.loads(value)
            self._add(letter["code"], place, letter["field"], letter["reason"])

    def _add(self, code: str, place: str, field: str, reason: str) -> None:
        metrics.DEAD_LETTERS.labels(self._daemon, code).inc()
        if code == RefusalReason.COLLISION:
            metrics.COLLISIONS.labels(self._daemon).inc()
        self._lines.add(code, place, field, reason)
