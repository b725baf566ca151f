"""The tail: interactions after the base's offsets, counted without decay or eviction.

Counts are whole numbers, so that their sums do not depend on the order or the portions in
which they were read: a server that started late counts what an early one did.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipeline.eventlog.port import TopicPartition
from pipeline.state.counts import PairCounts
from pipeline.state.covisitation import LAGS, Covisitation
from pipeline.state.histories import Act, History
from pipeline.state.segments import TYPE_NUMBERS, WANTED

MOST_EVENTS = 100_000
"""A learner that is further behind is overloaded: only the latest events are counted."""


class TailEvent(NamedTuple):
    """An interaction and where it stands in the log; `append_time` in ms."""

    source: TopicPartition
    offset: int
    append_time: int
    user: str
    act: Act


class Tail:
    """Events after a base of n items, which it numbers as the base does and its own items after.

    Attributes:
        events: in the order of reading, at most `MOST_EVENTS`.
        oldest: append time in ms of the oldest event, None without any.
        extras: number of each item that the base does not know.
    """

    def __init__(self, known: Mapping[str, int]) -> None:
        self.events: deque[TailEvent] = deque(maxlen=MOST_EVENTS)
        self.oldest: int | None = None
        self.extras: dict[str, int] = {}
        self._known = known
        self._covisitation = Covisitation(math.inf, max_partners=0, counts=PairCounts.empty(len(known)))
        self._acts = np.zeros(len(known), dtype=np.int64)

    def extend(self, events: Sequence[TailEvent], history_of: Callable[[str], History]) -> None:
        """Count events; `history_of` gives a user's acts up to and with the last of theirs."""
        if not events:
            return
        self.events.extend(events)
        first = min(event.append_time for event in events)
        self.oldest = first if self.oldest is None else min(self.oldest, first)
        acts = np.array([self._number(event.act.item) for event in events], dtype=np.int64)
        steps = list(self._steps(events, history_of))
        size = len(self._known) + len(self.extras)
        self._covisitation.grow(size)
        self._covisitation.fold(steps)
        self._acts = np.concatenate([self._acts, np.zeros(size - self._acts.size, dtype=np.int64)])
        self._acts += np.bincount(acts, minlength=size)

    def acts(self, rows: Mapping[str, int], size: int) -> NDArray[np.float64]:
        """How often each of `size` items was acted on, with the extras at the given rows."""
        return self._spread(self._acts, rows, size)

    def totals(self, rows: Mapping[str, int], size: int) -> NDArray[np.float64]:
        """Sums of the rows of `pairs`."""
        return self._spread(self._covisitation.counts.totals, rows, size)

    def pairs(self, rows: Mapping[str, int], size: int) -> sp.csr_array:
        """Pair counts ``[size, size]`` with the extras at the given rows."""
        counted, indices = self._covisitation.counts.recent.tocoo(), self._indices(rows)
        return sp.csr_array((counted.data, (indices[counted.row], indices[counted.col])), shape=(size, size))

    def _spread(self, counts: NDArray[np.number], rows: Mapping[str, int], size: int) -> NDArray[np.float64]:
        spread = np.zeros(size)
        spread[self._indices(rows)] = counts
        return spread

    def _indices(self, rows: Mapping[str, int]) -> NDArray[np.int64]:
        extras = np.array([rows[item] for item in self.extras], dtype=np.int64)
        return np.concatenate([np.arange(len(self._known)), extras])

    def _steps(
        self, events: Sequence[TailEvent], history_of: Callable[[str], History]
    ) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Each wanted act as the item numbers before it, and its own."""
        by_user: dict[str, list[Act]] = {}
        for event in events:
            by_user.setdefault(event.user, []).append(event.act)
        for user, acts in by_user.items():
            history = history_of(user)
            # The history ends with these acts; what was before them may have been cut off.
            past = history[: max(0, len(history) - len(acts))][-LAGS:]
            items = np.array([self._number(act.item) for act in (*past, *acts)], dtype=np.int64)
            for place, act in enumerate(acts, start=len(past)):
                if place and WANTED[TYPE_NUMBERS[act.type]]:
                    yield items[:place], int(items[place])

    def _number(self, item: str) -> int:
        known = self._known.get(item)
        if known is not None:
            return known
        return self.extras.setdefault(item, len(self._known) + len(self.extras))
