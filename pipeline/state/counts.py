"""Decayed counts of item pairs, as rows of growing storage: an update costs the rows that it touches.

The pairs of a row lie together, ascending by column, in a block of two arrays that all rows share. A block
has room for a power of two of pairs; a row that outgrows it moves to another, and the next row of that size
takes the block that was left. A pair is found by binary search, so that adding to known pairs reads and
writes these pairs only; new pairs rewrite their rows.

Weights of pairs are whole numbers, so that sums without decay are exact and do not depend on the order of
reading. What is kept is a function of counts and updates, and not of where the rows lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.state.growing import ChangedRows, GrowingArray

T = TypeVar("T", bound=np.generic)

KeyedSums = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Distinct keys, ascending, and their sums; never changed in place."""
COLUMN_BITS = 32
_COLUMN = np.int64((1 << COLUMN_BITS) - 1)
SMALLEST_BLOCK = 4
"""Pairs; most rows of a large catalogue have few."""
LEAST_SCALE = 2.0**-256
"""Below it, all counts are multiplied by the scale; with the default half-life after 51 million events."""
OVERFLOW = 1.25
"""A row is cut when it has this many times the pairs that are kept: new ones have time to recur."""


class PairRows(NamedTuple):
    """The pairs of k rows, row after row, each row ascending by column.

    Attributes:
        lengths: ``[k]`` number of pairs.
        columns, values: ``[e]`` columns and counts.
    """

    lengths: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float64]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Position ``[e]`` of each pair's row, from 0 to k - 1."""
        return np.repeat(np.arange(self.lengths.size), self.lengths)

    @property
    def totals(self) -> NDArray[np.float64]:
        """Sum ``[k]`` of each row."""
        return sums_of(self.numbers, self.values, self.lengths.size)

    def where(self, kept: NDArray[np.bool_]) -> PairRows:
        """Return the pairs ``[e]`` that are kept."""
        if kept.all():
            return self
        lengths = np.bincount(self.numbers[kept], minlength=self.lengths.size)
        return PairRows(lengths, self.columns[kept], self.values[kept])


class PairTable(Protocol):
    """Counts that can be looked up by row."""

    @property
    def size(self) -> int:
        """The number of items."""

    def rows(self, rows: NDArray[np.int64]) -> PairRows:
        """Return the current counts of rows."""


class PairCounts:
    """Counts of (row, column) pairs, none below zero.

    Attributes:
        smallest: old pairs with a smaller count are dropped when their row moves to a larger block.
        max_per_row: number of largest counts that a row is cut to.
        scale: factor from stored to current counts; new pairs are stored divided by it, so that
            a decay changes one number and not the rows.
    """

    def __init__(self, smallest: float = 0.0, max_per_row: int = 1_000_000) -> None:
        self.smallest = smallest
        self.max_per_row = max_per_row
        self.scale = 1.0
        self._starts = GrowingArray[np.int64](np.int64)
        self._lengths = GrowingArray[np.int64](np.int64)
        self._changed = ChangedRows()
        self._columns = GrowingArray[np.int32](np.int32)
        self._values = GrowingArray[np.float64](np.float64)
        self._extend(SMALLEST_BLOCK)
        self._free: dict[int, list[int]] = {}

    @property
    def size(self) -> int:
        """The number of items."""
        return self._lengths.size

    @property
    def room(self) -> int:
        """The number of pairs that all blocks have room for, unused ones included."""
        return self._columns.size

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number ``[n]`` of stored pairs of each row; changed in place by later folds."""
        return self._lengths.values

    def grow(self, size: int) -> None:
        """Extend the counts to `size` items."""
        for array in (self._starts, self._lengths, self._changed):
            array.grow(size)

    def replaced(self, stored: PairRows, scale: float) -> PairCounts:
        """Return other counts of the same bounds, given by stored counts of all rows and their scale."""
        other = PairCounts(self.smallest, self.max_per_row)
        other.grow(stored.lengths.size)
        other.scale = scale
        other._put(np.arange(other.size), stored)
        other._changed.add_all()
        return other

    def reserve(self, lengths: Sequence[NDArray[np.int32]]) -> None:
        """Make room for rows of these lengths to be replaced, so that none of it is made meanwhile."""
        blocks = (1 << _exponents(some.astype(np.int64)) for some in lengths)
        room = self.room + sum(int(sizes.sum()) for sizes in blocks)
        self._columns.reserve(room)
        self._values.reserve(room)

    def replace(self, rows: NDArray[np.int64], stored: PairRows) -> None:
        """Replace the stored counts of distinct rows by those of another table, which noted their change."""
        self._put(rows, stored)

    def rows(self, rows: NDArray[np.int64]) -> PairRows:
        """Return copies of the current counts of rows."""
        lengths, columns, values = self.stored(rows)
        return PairRows(lengths, columns, values * self.scale)

    def stored(self, rows: NDArray[np.int64]) -> PairRows:
        """Return copies of the stored counts of rows, which a decay does not change."""
        lengths = self._lengths.values[rows]
        at = spans(self._starts.values[rows], lengths)
        return PairRows(lengths, self._columns.values[at], self._values.values[at])

    def all_stored(self) -> PairRows:
        """Return copies of all stored counts; as expensive as there are pairs."""
        return self.stored(np.arange(self.size))

    def take_changed(self) -> NDArray[np.int64]:
        """Return the rows whose stored counts changed since they were last taken, ascending."""
        return self._changed.take()

    def fold(self, rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Add pairs, which may recur, then take back those of negative weight, as far as they are left."""
        given, taken = weights > 0, weights < 0
        if given.any():
            self._add(*summed(pair_keys(rows[given], columns[given]), weights[given] / self.scale))
        if taken.any():
            self._take_back(*summed(pair_keys(rows[taken], columns[taken]), -weights[taken] / self.scale))

    def decay(self, factor: float) -> None:
        """Multiply all counts by `factor`."""
        self.scale *= factor
        if self.scale < LEAST_SCALE:
            self._values.values[:] *= self.scale
            self.scale = 1.0
            self._changed.add_all()

    def _add(self, keys: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        rows, columns = split_keys(keys)
        at, is_known = self._find(rows, columns)
        self._values.values[at[is_known]] += weights[is_known]
        new = ~is_known
        if new.any():
            offsets = at[new] - self._starts.values[rows[new]]
            self._insert(rows[new], offsets, columns[new].astype(np.int32), weights[new])
        self._changed.add(_distinct(rows))

    def _take_back(self, keys: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        rows, columns = split_keys(keys)
        at, is_known = self._find(rows, columns)
        at = at[is_known]
        self._values.values[at] = np.maximum(self._values.values[at] - weights[is_known], 0)
        self._changed.add(_distinct(rows[is_known]))

    def _find(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Find pairs: the place where each is or belongs, and whether it is there."""
        low = self._starts.values[rows]
        high = stop = low + self._lengths.values[rows]
        stored, last = self._columns.values, self._columns.size - 1
        while (is_open := low < high).any():
            middle = (low + high) >> 1
            is_before = is_open & (stored[np.minimum(middle, last)] < columns)
            low = np.where(is_before, middle + 1, low)
            high = np.where(is_before, high, np.minimum(middle, high))
        return low, (low < stop) & (stored[np.minimum(low, last)] == columns)

    def _insert(
        self,
        rows: NDArray[np.int64],
        offsets: NDArray[np.int64],
        columns: NDArray[np.int32],
        values: NDArray[np.float64],
    ) -> None:
        """Insert new pairs, ascending, at offsets into their rows; evict others where a row has grown."""
        touched, added = np.unique(rows, return_counts=True)
        before = self.stored(touched)
        at = np.repeat(before.lengths.cumsum() - before.lengths, added) + offsets
        is_new = np.zeros(before.columns.size + at.size, dtype=np.bool_)
        is_new[at + np.arange(at.size)] = True
        after = PairRows(
            before.lengths + added,
            _interleaved(is_new, columns, before.columns),
            _interleaved(is_new, values, before.values),
        )
        self._put(touched, self._evicted(after, is_new, _exponents(before.lengths)))

    def _evicted(self, rows: PairRows, is_new: NDArray[np.bool_], exponents: NDArray[np.int64]) -> PairRows:
        """Drop small old counts of rows that have outgrown their blocks; cut long rows to their largest."""
        has_grown = np.repeat(_exponents(rows.lengths) > exponents, rows.lengths)
        rows = rows.where(is_new | ~has_grown | (rows.values >= self.smallest / self.scale))
        is_long = rows.lengths > OVERFLOW * self.max_per_row
        return rows.where(_largest(rows, is_long, self.max_per_row)) if is_long.any() else rows

    def _put(self, rows: NDArray[np.int64], pairs: PairRows) -> None:
        """Store rows in place of what they had, in blocks that fit."""
        before, after = (_exponents(lengths) for lengths in (self._lengths.values[rows], pairs.lengths))
        moves = before != after
        for exponent in np.unique(before[moves]).tolist():
            left = self._starts.values[rows[moves & (before == exponent)]]
            self._free.setdefault(exponent, []).extend(left.tolist() if exponent else ())
        for exponent in np.unique(after[moves]).tolist():
            moved = rows[moves & (after == exponent)]
            self._starts.values[moved] = self._blocks(exponent, moved.size)
        self._lengths.values[rows] = pairs.lengths
        at = spans(self._starts.values[rows], pairs.lengths)
        self._columns.values[at], self._values.values[at] = pairs.columns, pairs.values

    def _blocks(self, exponent: int, count: int) -> NDArray[np.int64]:
        """Return the starts of `count` blocks for two to the power of `exponent` pairs; of none for 0."""
        if not exponent:
            return np.zeros(count, dtype=np.int64)
        free = self._free.get(exponent, [])
        reused = free[-count:]
        del free[-count:]
        fresh = self.room + (np.arange(count - len(reused)) << exponent)
        self._extend(self.room + (fresh.size << exponent))
        return np.concatenate([np.array(reused, dtype=np.int64), fresh])

    def _extend(self, room: int) -> None:
        self._columns.grow(room)
        self._values.grow(room)


def is_pairs(lengths: NDArray[np.int64], columns: NDArray[np.int32]) -> bool:
    """Whether columns belong to rows of these lengths over as many items, ascending in each row."""
    if (lengths < 0).any() or (lengths > lengths.size).any() or lengths.sum() != columns.size:
        return False
    keys = pair_keys(np.repeat(np.arange(lengths.size), lengths), columns.astype(np.int64))
    in_range = bool(((columns >= 0) & (columns < lengths.size)).all())
    return in_range and bool((np.diff(keys) > 0).all())


def pair_keys(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each pair, in the order of rows and then columns."""
    return rows << COLUMN_BITS | columns


def split_keys(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and columns of keys."""
    return keys >> COLUMN_BITS, keys & _COLUMN


def summed(keys: NDArray[np.int64], weights: NDArray[np.float64]) -> KeyedSums:
    """Sum weights by key, which may recur."""
    distinct, numbers = np.unique(keys, return_inverse=True)
    return distinct, sums_of(numbers, weights, distinct.size)


def merged(known: KeyedSums, added: KeyedSums) -> KeyedSums:
    """Add sums to others, both by distinct keys, ascending; faster than to sum them by key."""
    keys, weights = known
    at = np.searchsorted(keys, added[0])
    is_known = keys[np.minimum(at, keys.size - 1)] == added[0] if keys.size else at < 0
    weights = weights.copy()
    weights[at[is_known]] += added[1][is_known]
    new_keys, new_weights = (array[~is_known] for array in added)
    is_new = np.zeros(keys.size + new_keys.size, dtype=np.bool_)
    is_new[at[~is_known] + np.arange(new_keys.size)] = True
    return _interleaved(is_new, new_keys, keys), _interleaved(is_new, new_weights, weights)


def sums_of(numbers: NDArray[np.int64], weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum weights by number, from 0 to `count` - 1."""
    sums: NDArray[np.float64] = np.bincount(numbers, weights, minlength=count).astype(np.float64)
    return sums


def _interleaved(is_new: NDArray[np.bool_], new: NDArray[T], old: NDArray[T]) -> NDArray[T]:
    """Return new and old values, each in their order, the new ones where the mask says."""
    both = np.empty(is_new.size, dtype=old.dtype)
    both[is_new], both[~is_new] = new, old
    return both


def _distinct(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    return ascending[np.diff(ascending, prepend=-1) > 0]


def spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of spans ``[k]``, one span after the other."""
    ends = lengths.cumsum()
    at: NDArray[np.int64] = np.repeat(starts - (ends - lengths), lengths)
    at += np.arange(at.size)
    return at


def _exponents(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the power of two of the block for each length; 0, no block, for an empty row."""
    _, exponents = np.frexp(np.maximum(lengths, SMALLEST_BLOCK) - 1)
    return np.where(lengths > 0, exponents, 0).astype(np.int64)


def _largest(rows: PairRows, is_long: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Say of each pair ``[e]`` whether it is among the `count` largest of its row, if that is long.

    Of equal counts, those of lower columns are.
    """
    chosen = np.flatnonzero(np.repeat(is_long, rows.lengths))
    numbers = rows.numbers[chosen]
    order = np.lexsort((-rows.values[chosen], numbers))
    rank = np.arange(chosen.size) - np.searchsorted(numbers, numbers)
    kept = np.ones(rows.values.size, dtype=np.bool_)
    kept[chosen[order[rank >= count]]] = False
    return kept
