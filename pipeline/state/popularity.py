"""Popularity: decayed counts of the acts on each item, and its trend: what the last acts say beyond them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from pipeline.state.counts import LEAST_SCALE
from pipeline.state.growing import BLOCK, ChangedRows, GrowingArray, distinct
from pipeline.state.latest_counts import LatestCounts

PRIOR = 0.1
"""Added to the count of every item, so that a new item has a probability above zero."""
EVEN = 1.0
"""Added to the latest count of an item and to what is expected, so that few acts are no trend."""


class Popularity(ABC):
    """Counts of n items, none below zero."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number n of items."""

    @property
    @abstractmethod
    def total(self) -> float:
        """The sum of all counts."""

    @property
    @abstractmethod
    def counts(self) -> NDArray[np.float64]:
        """A copy of all counts ``[n]``."""

    @abstractmethod
    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the counts of rows."""

    def log_share(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the log of the smoothed share of all acts of each of some rows, or of all ``[n]``."""
        return self.log_share_of(self.counts if rows is None else self.of(rows))

    def log_share_of(self, counts: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the log of the smoothed share of all acts of each of some counts ``[k]``."""
        shares = counts + PRIOR
        shares /= self.total + PRIOR * self.size
        logs: NDArray[np.float32] = np.log(shares, out=shares).astype(np.float32)
        return logs

    @abstractmethod
    def trend(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return how much more often each of some rows, or of all ``[n]``, was acted on lately: a log-ratio.

        It compares the latest counts with their expectation by the counts. It is 0 of an item that nobody has
        acted on.
        """

    def top(self, count: int) -> NDArray[np.int64]:
        """Return the rows of the `count` highest counts, highest first, of equal ones the lowest row.

        Reads all counts.
        """
        counts = -self.counts
        least = np.partition(counts, count - 1)[count - 1] if count < counts.size else np.inf
        rows = np.flatnonzero(counts <= least)
        return rows[np.argsort(counts[rows], kind="stable")[:count]]


class DecayedPopularity(Popularity):
    """Decayed counts; `half_life` is in events.

    Counts are stored divided by a scale, so that a decay changes one number. Sums of blocks of them make the
    total and draws cheap; they are a function of the stored counts alone.

    Attributes:
        latest: counts of the last acts, for the trend.
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self.scale = 1.0
        self.latest = LatestCounts()
        self._stored = GrowingArray[np.float64](np.float64)
        self._sums = GrowingArray[np.float64](np.float64)
        self._total: float | None = None
        self._changed = ChangedRows()

    @property
    def size(self) -> int:
        """The number n of items."""
        return self._stored.size

    @property
    def total(self) -> float:
        """The sum of all counts."""
        total = self._total
        if total is None:
            total = self._total = float(self._sums.values.sum())
        return total * self.scale

    @property
    def counts(self) -> NDArray[np.float64]:
        """A copy of all counts ``[n]``."""
        return self._stored.values * self.scale

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the counts of rows."""
        return self._stored.values[rows] * self.scale

    def trend(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return how much more often each of some rows, or of all, was acted on lately; see `Popularity`."""
        if rows is None:
            return self.trend_of(self.latest.of(np.arange(self.size)), self.counts)
        return self.trend_of(self.latest.of(rows), self.of(rows))

    def trend_of(self, latest: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the trend of items with some latest counts ``[k]`` and counts ``[k]``."""
        total = self.total
        expected = counts * (self.latest.total / total if total else 0.0)
        logs: NDArray[np.float32] = np.log((latest + EVEN) / (expected + EVEN)).astype(np.float32)
        return logs

    def stored(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return copies of the stored counts of rows, which ageing does not change."""
        return self._stored.values[rows]

    def all_stored(self) -> NDArray[np.float64]:
        """Return a copy of all stored counts ``[n]``."""
        return self._stored.values.copy()

    def take_changed(self) -> NDArray[np.int64]:
        """Return the rows whose stored counts changed since they were last taken, ascending."""
        return self._changed.take()

    def grow(self, size: int) -> None:
        """Extend the counts to `size` items."""
        self._stored.grow(size)
        self._sums.grow(-(-size // BLOCK))
        self._total = None
        self._changed.grow(size)
        self.latest.grow(size)

    def load(self, stored: NDArray[np.float64], scale: float = 1.0) -> None:
        """Replace all counts by others ``[n]``, given as stored counts and their scale."""
        self._stored.load(stored)
        self.grow(stored.size)
        self.scale = scale
        self._add_up(np.arange(self._sums.size))
        self._changed.add_all()

    def replace(self, rows: NDArray[np.int64], stored: NDArray[np.float64]) -> None:
        """Replace the stored counts of distinct rows by those of another table, which noted their change."""
        self._stored.values[rows] = stored
        self._add_up(distinct(rows // BLOCK))

    def fold(self, items: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Add weights ``[k]`` to items; take back negative ones, as far as they are left."""
        rows, numbers = np.unique(items, return_inverse=True)
        added = np.bincount(numbers, weights, minlength=rows.size) / self.scale
        self._stored.values[rows] = np.maximum(self._stored.values[rows] + added, 0)
        self._add_up(distinct(rows // BLOCK))
        self._changed.add(rows)
        self.latest.fold(items, weights)

    def age(self, events: int) -> None:
        """Decay the counts by a number of events."""
        self.scale *= 0.5 ** (events / self.half_life)
        if self.scale < LEAST_SCALE:
            self.load(self.counts)

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw `count` items in proportion to their counts, not all of which may be zero."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        ends = self._sums.values.cumsum()
        levels = random.random(count) * ends[-1]
        blocks = np.searchsorted(ends, levels, side="right")
        rest = levels - (ends[blocks] - self._sums.values[blocks])
        within = self._stored.room.reshape(-1, BLOCK)[blocks].cumsum(axis=1)
        # Rounding must not lead behind the last item that has a count.
        rest = np.minimum(rest, np.nextafter(within[:, -1], 0))
        rows: NDArray[np.int64] = blocks * BLOCK + (within <= rest[:, None]).sum(axis=1)
        return rows

    def _add_up(self, blocks: NDArray[np.int64]) -> None:
        """Sum the stored counts of blocks."""
        self._total = None
        self._sums.values[blocks] = self._stored.room.reshape(-1, BLOCK)[blocks].sum(axis=1)
