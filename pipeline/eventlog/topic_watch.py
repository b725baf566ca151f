"""The topic watch: whether the topics that a process reads are still those that it began with."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pipeline.errors import TopicError, TopicRenewed
from pipeline.eventlog.port import EventLog
from pipeline.wording import counted

SECONDS = 5.0
"""Between two checks, of one cheap request each."""


class TopicWatch:
    """Compares ids and numbers of partitions of some topics with those at its begin, now and then.

    The log would answer reads of a topic that was deleted and made again, with other records under
    the same offsets; and partitions that were added would not be read.

    Attributes:
        ids: of the topics, at its begin.
    """

    def __init__(self, event_log: EventLog, topics: Iterable[str], seconds: float = SECONDS) -> None:
        self._log = event_log
        self._topics = tuple(topics)
        self._seconds = seconds
        self.ids = event_log.topic_ids(self._topics)
        self._partitions = event_log.partition_counts(self._topics)
        self._due = time.monotonic() + seconds

    def check(self) -> None:
        """Check the topics, if a check is due.

        Raises:
            TopicRenewed: a topic was deleted and made again.
            TopicError: a topic is missing, or has another number of partitions.
            LogUnavailable: the log does not answer.
        """
        if time.monotonic() < self._due:
            return
        ids, partitions = self._log.topic_ids(self._topics), self._log.partition_counts(self._topics)
        for topic in self._topics:
            self._check_partitions(topic, partitions.get(topic))
            if ids.get(topic) != self.ids[topic]:
                raise TopicRenewed(f"{topic} was deleted and made again")
        self._due = time.monotonic() + self._seconds

    def _check_partitions(self, topic: str, now: int | None) -> None:
        if now is None:
            raise TopicError(f"{topic} was deleted; run `millstream topics create`, and start again")
        if now != self._partitions[topic]:
            raise TopicError(
                f"{topic} has {counted(now, 'partition')} now, {self._partitions[topic]} before; keys must "
                "stay in their partition, so its events must be copied to new topics: run "
                "`millstream topics check`, which says how"
            )
