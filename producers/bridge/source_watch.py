"""Whether the topics of the source are still those that the bridge reads, and how far behind it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from pipeline import metrics
from pipeline.errors import TopicRenewed
from pipeline.eventlog.port import EventLog, LogReader, lag

SECONDS = 2.0
"""Between two checks, of three cheap requests each."""


class SourceWatch:
    """Compares ids and partitions of topics with those at its begin, now and then; sets the lag metric."""

    def __init__(
        self, source: EventLog, topics: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._topics = tuple(topics)
        self._clock = clock
        self._known = self._look()
        self._due = clock()

    def check(self, reader: LogReader) -> None:
        """Check the topics, if a check is due.

        Raises:
            TopicRenewed: a topic was deleted, was made again, or has more partitions than are read.
            LogUnavailable: the source does not answer.
        """
        if self._clock() < self._due:
            return
        if self._look() != self._known:
            raise TopicRenewed("topics of the bridge's source are not those that it began to read")
        behind = lag(self._source.end_offsets(self._topics), reader.positions())
        metrics.LAG.labels("bridge").set(sum(behind.values()))
        self._due = self._clock() + SECONDS

    def _look(self) -> tuple[dict[str, str], dict[str, int]]:
        return self._source.topic_ids(self._topics), self._source.partition_counts(self._topics)
