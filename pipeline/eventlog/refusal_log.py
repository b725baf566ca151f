"""Refusals in the log of a daemon: the first of each reason and a rise at once, then how many a minute."""

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
RISE_TIMES, RISE_FROM = 10, 100
"""So many times as many as in the minute before, and at least so many, are a rise."""

log = logging.getLogger(__name__)


class RefusalLines:
    """Writes about refusals without repeating a value: a line for each reason, then one line a minute.

    A rise within a minute is written at once.

    `remedy` says where to look further. For one thread at a time.
    """

    def __init__(self, remedy: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._remedy = remedy
        self._clock = clock
        self._known: set[str] = set()
        self._since = clock()
        self._recent = Counter[str]()
        self._last_place = ""
        self._before = 0
        self._rise_is_known = False

    def add(self, code: str, place: str, field: str, reason: str) -> None:
        """Write about a refusal at once if it is the first of its reason."""
        if code in self._known:
            self._recent[code] += 1
            self._last_place = place
            self._watch_for_rise()
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
            counts, last = _counts(self._recent), self._last_place
            log.warning("refused in the last %.0f s: %s; the last was %s", seconds, counts, last)
        self._before, self._rise_is_known = self._recent.total(), False
        self._recent.clear()
        self._since = self._clock()

    def _watch_for_rise(self) -> None:
        number = self._recent.total()
        if self._rise_is_known or number < max(RISE_FROM, RISE_TIMES * self._before):
            return
        self._rise_is_known = True
        log.warning(
            "refusals rise: %s in %.0f s (%s), %s in the minute before; the last was %s; %s",
            f"{number:,}",
            self._clock() - self._since,
            _counts(self._recent),
            f"{self._before:,}",
            self._last_place,
            self._remedy,
        )


def _counts(codes: Counter[str]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in codes.most_common())


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
        for reason in RefusalReason:
            metrics.DEAD_LETTERS.labels(daemon, reason)  # from 0: an increase is only seen from there

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
