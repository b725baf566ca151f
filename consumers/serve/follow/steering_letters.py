"""Dead letters of users and rules: servers alone read these topics, so they write them.

A server reads the topics from their beginning whenever it starts, and there may be several. A place has one
letter, because its key is the place. What the servers have reported is not written again, so that a letter
which was sent once more does not come back.
"""

from __future__ import annotations

import logging
from collections import deque

from pipeline.errors import DeliveryError, InvalidEvent, LogUnavailable
from pipeline.eventlog.intake import dead_letter
from pipeline.eventlog.port import EventLog, Offsets, Record, TopicPartition
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.eventlog.topics import Topics
from pipeline.wording import counted

MOST_WAITING = 1_000
"""Letters that wait for the log, the newest; the others stay counted and in the log of the daemon."""

log = logging.getLogger(__name__)


class SteeringLetters:
    """Counts, and writes letters of, the records that are no users and no rules; for one thread."""

    def __init__(self, event_log: EventLog, topics: Topics, refusals: RefusalLog) -> None:
        self._log, self._refusals = event_log, refusals
        self._group = f"{topics.prefix}.steering"
        self._sources, self._letters = (topics.users, topics.rules), topics.dead_letters
        self._reported: Offsets | None = None
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=MOST_WAITING)

    def add(self, record: Record, error: InvalidEvent) -> None:
        """Count a refused record; its letter is written by the next `settle`.

        Raises:
            LogUnavailable: the log does not say which letters were written.
        """
        if self._reported is None:
            self._reported = self._log.reported(self._group, self._sources)
        self._refusals.add(record, error)
        if record.offset >= self._reported.get(record.source, 0):
            self._waiting.append(dead_letter(record, error))

    def settle(self, positions: Offsets) -> None:
        """Write the letters that wait, and report how far the topics were read; what fails waits."""
        self._refusals.settle()
        if not self._waiting:
            return
        try:
            with self._log.writer() as writer:
                for letter in self._waiting:
                    writer.append(self._letters, *letter)
            self._report({source: at for source, at in positions.items() if source.topic in self._sources})
        except (DeliveryError, LogUnavailable) as error:
            log.warning("%s waiting for the log: %s", counted(len(self._waiting), "dead letter"), error)
            return
        self._waiting.clear()

    def _report(self, read: dict[TopicPartition, int]) -> None:
        self._log.report(self._group, read)
        self._reported = read
