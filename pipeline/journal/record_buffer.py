"""The record buffer: input records, cut into new batches or exactly as an earlier learner cut them."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice, takewhile

from pipeline.errors import LogUnavailable
from pipeline.eventlog.port import EventLog, LogReader, Offsets, Record, TopicPartition

STALLED_SECONDS = 60.0
POLL_RECORDS = 2_000
READ_AHEAD = 10_000


class RecordBuffer:
    """Reads some partitions; keeps the records that were read ahead of the last cut."""

    def __init__(self, log: EventLog, offsets: Offsets) -> None:
        self._reader: LogReader = log.reader(offsets)
        self._ahead: dict[TopicPartition, deque[Record]] = {source: deque() for source in offsets}

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offsets after the last cut."""
        read = self._reader.positions()
        return {s: ahead[0].offset if ahead else read[s] for s, ahead in self._ahead.items()}

    def seek(self, offsets: Offsets) -> None:
        """Go on from other offsets; only those of this buffer's partitions count."""
        self._reader.seek({source: offsets[source] for source in self._ahead})
        for ahead in self._ahead.values():
            ahead.clear()

    def cut_to(self, ends: Offsets) -> list[Record]:
        """Return all records before the given offsets, in the order of a batch.

        Raises:
            OffsetsExpired: the log no longer holds them.
            LogUnavailable: nothing arrived for a minute although there should be more.
        """
        ours = {source: ends[source] for source in self._ahead}
        deadline = time.monotonic() + STALLED_SECONDS
        while any(self._reader.positions()[source] < end for source, end in ours.items()):
            if self._read(timeout_seconds=0.5):
                deadline = time.monotonic() + STALLED_SECONDS
            elif time.monotonic() > deadline:
                raise LogUnavailable(
                    "records that the journal names do not arrive: is the log's data intact?"
                )
        return in_order(record for source, end in ours.items() for record in self._take_before(source, end))

    def cut(
        self,
        most: int,
        timeout_seconds: float,
        linger_seconds: float = 0.0,
        fits: Callable[[Record], bool] = lambda _: True,
    ) -> list[Record]:
        """Return at most so many of the next records, the earliest appended first; the first that does not
        fit ends them.

        Waits for a first record, then lingers for more: even a small batch has a fixed cost.
        Much is read ahead, so that a learner that catches up sees all partitions at about the
        same time of the log, however different their sizes are.
        """
        if self.waiting < READ_AHEAD:
            self._read(0 if self.waiting else timeout_seconds)
        deadline = time.monotonic() + linger_seconds
        while 0 < self.waiting < most and (left := deadline - time.monotonic()) > 0:
            self._read(left)
        earliest = heapq.merge(*self._ahead.values(), key=lambda record: record.append_time)
        chosen = [record.source for record in takewhile(fits, islice(earliest, most))]
        return in_order(self._ahead[source].popleft() for source in chosen)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    @property
    def waiting(self) -> int:
        """Number of records that were read ahead."""
        return sum(len(ahead) for ahead in self._ahead.values())

    def _read(self, timeout_seconds: float) -> bool:
        records = self._reader.poll(POLL_RECORDS, timeout_seconds)
        for record in records:
            self._ahead[record.source].append(record)
        return bool(records)

    def _take_before(self, source: TopicPartition, end: int) -> Iterable[Record]:
        ahead = self._ahead[source]
        while ahead and ahead[0].offset < end:
            yield ahead.popleft()


def in_order(records: Iterable[Record]) -> list[Record]:
    """Sort records in the order of a batch: (append time, partition, offset).

    Where a broker's clock went back, a record takes the append time of the one before it, so
    that each partition keeps its order.
    """
    latest: dict[TopicPartition, int] = {}
    timed: list[tuple[int, int, int, Record]] = []
    for record in sorted(records, key=lambda record: record.offset):
        latest[record.source] = max(record.append_time, latest.get(record.source, 0))
        timed.append((latest[record.source], record.partition, record.offset, record))
    return [record for *_, record in sorted(timed, key=lambda entry: entry[:3])]
