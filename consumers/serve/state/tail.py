"""The tail: interactions after the snapshot's offsets, counted without decay or eviction.

Weights are multiples of a power of two, so their sums are exact and do not depend on the order in which
events were read or on the size of the polls: a server that started late has the same counts as an early one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.eventlog.port import TopicPartition
from pipeline.state.contributions import Contribution, additions
from pipeline.state.counts import KeyedSums, merged, pair_keys, split_keys, summed
from pipeline.state.covisitation import both_ways
from pipeline.state.histories import Act

NO_COUNTS: KeyedSums = (np.zeros(0, dtype=np.int64), np.zeros(0))
MAX_EVENTS = 100_000
"""Only the latest events are counted; a learner that is further behind is overloaded."""


class TailEvent(NamedTuple):
    """An interaction and its place in the log; `append_time` in ms.

    `contribution` is what it adds to shared counts; it depends on its user's acts before it, so it is worked
    out when it is read. A history that was cut since would not show that a crawler had met its cap.
    `traced` is the event's id if it is traced.
    """

    source: TopicPartition
    offset: int
    append_time: int
    user: str
    act: Act
    contribution: Contribution
    traced: str | None = None


class Tail:
    """Counts of the events after a snapshot of n items; items new to the snapshot get numbers from n.

    Counts are negative where events take back what the snapshot's counts hold.

    Attributes:
        events: in the order of reading, at most `MAX_EVENTS`.
        oldest: append time in ms of the oldest event, None if there are no events.
        extras: number of each item that the snapshot lacks.
    """

    def __init__(self, known: Mapping[str, int]) -> None:
        self.events: deque[TailEvent] = deque(maxlen=MAX_EVENTS)
        self.oldest: int | None = None
        self.extras: dict[str, int] = {}
        self._known = known
        self._pairs = NO_COUNTS
        self._acts = NO_COUNTS

    def extend(self, events: Sequence[TailEvent]) -> None:
        """Count events."""
        if not events:
            return
        self.events.extend(events)
        first = min(event.append_time for event in events)
        self.oldest = first if self.oldest is None else min(self.oldest, first)
        for event in events:
            self._number(event.act.item)
        items, weights, pairs = additions((event.contribution for event in events), self._number)
        rows, columns, shares = both_ways(*pairs)
        self._pairs = merged(self._pairs, summed(pair_keys(rows, columns), shares))
        self._acts = merged(self._acts, summed(items, weights))

    def acts(self, rows: Mapping[str, int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows and sums ``[k]`` of the weights of acts, with the extras at the given rows."""
        items, weights = self._acts
        return self._placed(items, rows), weights

    def pairs(
        self, rows: Mapping[str, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Rows, columns and counts ``[p]`` of pairs, with the extras at the given rows."""
        keys, weights = self._pairs
        first, second = split_keys(keys)
        return self._placed(first, rows), self._placed(second, rows), weights

    def _placed(self, numbers: NDArray[np.int64], rows: Mapping[str, int]) -> NDArray[np.int64]:
        """Convert numbers of items to their rows."""
        extras = np.array([rows[item] for item in self.extras], dtype=np.int64)
        placed, is_extra = numbers.copy(), numbers >= len(self._known)
        placed[is_extra] = extras[numbers[is_extra] - len(self._known)]
        return placed

    def _number(self, item: str) -> int:
        known = self._known.get(item)
        if known is not None:
            return known
        return self.extras.setdefault(item, len(self._known) + len(self.extras))
