"""Counts of a snapshot plus those read after it, summed where they are looked up.

A sum costs what was read after the snapshot, and neither items nor pairs of the snapshot. A return may take
back more than is left of what the learner's counts have let decay or evicted: no sum is below zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.state.counts import (
    COLUMN_BITS,
    PairRows,
    PairTable,
    merged,
    pair_keys,
    spans,
    split_keys,
    summed,
)
from pipeline.state.covisitation import Covisitation
from pipeline.state.popularity import Popularity
from pipeline.state.sorted_keys import look_up

F = TypeVar("F", np.float32, np.float64)


class CovisitationSum(Covisitation):
    """Pair counts of a table plus pairs ``[p]``, which may recur and be negative, over `size` items."""

    def __init__(
        self,
        size: int,
        base: PairTable,
        pairs: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
    ) -> None:
        rows, columns, weights = pairs
        self._size = size
        self._base = base
        self._keys, self._weights = summed(pair_keys(rows, columns), weights)

    @property
    def size(self) -> int:
        """The number n of items."""
        return self._size

    def rows(self, items: NDArray[np.int64]) -> PairRows:
        """Return the pairs of distinct items, ascending; none is below zero."""
        base = self._base.rows(items[items < self._base.size])
        starts, stops = (np.searchsorted(self._keys, rows << COLUMN_BITS) for rows in (items, items + 1))
        at, numbers = spans(starts, stops - starts), np.repeat(np.arange(items.size), stops - starts)
        _, columns = split_keys(self._keys[at])
        before = pair_keys(base.numbers, base.columns.astype(np.int64)), base.values
        keys, weights = merged(before, (pair_keys(numbers, columns), self._weights[at]))
        numbers, columns = split_keys(keys)
        lengths = np.bincount(numbers, minlength=items.size)
        return PairRows(lengths, columns.astype(np.int32), np.maximum(weights, 0))


class PopularitySum(Popularity):
    """Counts of a snapshot plus weights ``[k]`` of rows, which may be negative, over `size` items."""

    def __init__(
        self, size: int, base: Popularity, rows: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> None:
        self._size = size
        self._base = base
        self._rows, self._counts = summed(rows, weights)
        before = self._of_base(self._rows, base.of)
        self._counts = np.maximum(before + self._counts, 0)
        self._total = base.total + float((self._counts - before).sum())

    @property
    def size(self) -> int:
        """The number n of items."""
        return self._size

    @property
    def total(self) -> float:
        """The sum of all counts."""
        return self._total

    def trend(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the trend of each of some rows, or of all, as the snapshot knows it; 0 of newer ones."""
        return self._of_base(np.arange(self._size) if rows is None else rows, self._base.trend)

    @property
    def counts(self) -> NDArray[np.float64]:
        """A copy of all counts ``[n]``."""
        counts = _padded(self._base.counts, self._size)
        counts[self._rows] = self._counts
        return counts

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the counts of rows."""
        counts, (at, is_there) = self._of_base(rows, self._base.of), look_up(self._rows, rows)
        counts[is_there] = self._counts[at[is_there]]
        return counts

    def _of_base(self, rows: NDArray[np.int64], of: Callable[[NDArray[np.int64]], NDArray[F]]) -> NDArray[F]:
        """Return what the snapshot has of each of some rows; 0 of newer ones."""
        is_known = rows < self._base.size
        known = of(rows[is_known])
        found = np.zeros(rows.size, dtype=known.dtype)
        found[is_known] = known
        return found


def _padded(array: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return a copy with zeros after it."""
    padded = np.zeros(size)
    padded[: array.size] = array
    return padded
