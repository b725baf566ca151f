"""Whether the topics of the source are still those that the bridge reads, and how far behind it is."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pipeline import metrics
from pipeline.errors import TopicRenewed
from pipeline.eventlog.port import EventLog, LogReader, lag

SECONDS = 2.0
"""Between two checks, of three cheap requests each."""


class SourceWatch:
    """Compares ids and partitions of topics with those at its begin; sets the lag metric now and then."""

    def __init__(self, source: EventLog, topics: Iterable[str]) -> None:
        self._source = source
        self._topics = tuple(topics)
        self._ids = source.topic_ids(self._topics)
        self._partitions = source.partition_counts(self._topics)
        self._due = time.monotonic()

    def confirm(self) -> None:
        """Check that what was read until now is of these topics, at the price of one request.

        A topic that was made again has other records under the same offsets, and the log would return them.

        Raises:
            TopicRenewed: a topic was deleted or made again.
            LogUnavailable: the source does not answer.
        """
        if self._source.topic_ids(self._topics) != self._ids:
            raise TopicRenewed("a topic of the bridge's source was deleted or made again")

    def check(self, reader: LogReader) -> None:
        """Check the topics and measure the lag, if that is due.

        Raises:
            TopicRenewed: a topic was deleted, was made again, or has more partitions than are read.
            LogUnavailable: the source does not answer.
        """
        if time.monotonic() < self._due:
            return
        self.confirm()
        if self._source.partition_counts(self._topics) != self._partitions:
            raise TopicRenewed("a topic of the bridge's source has other partitions than before")
        behind = lag(self._source.end_offsets(self._topics), reader.positions())
        metrics.LAG.labels("bridge").set(sum(behind.values()))
        self._due = time.monotonic() + SECONDS
