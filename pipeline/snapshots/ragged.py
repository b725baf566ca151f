"""Sparse rows of different lengths that are replaced one by one, at a cost that follows the rows replaced."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

GROWTH = 1.5


class SparseRows(NamedTuple):
    """The entries of k rows: how many each has, then the columns and the values of one after another."""

    lengths: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float64]


def flat_indices(starts: NDArray[np.int64], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the indices of the entries of rows that begin at `starts`, one row after another.

    >>> flat_indices(np.array([5, 0]), np.array([2, 3], dtype=np.int32)).tolist()
    [5, 6, 0, 1, 2]
    """
    before = np.cumsum(lengths, dtype=np.int64) - lengths
    found: NDArray[np.int64] = np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
    return found


class ReplaceableRows:
    """A sparse matrix ``[n, n]`` whose rows can be replaced.

    A row that is replaced goes to the end of the entries; when these are full, they are put together again,
    in twice the room that they need, so that a replacement costs what it writes.
    """

    def __init__(self) -> None:
        self._starts = np.zeros(0, dtype=np.int64)
        self._lengths = np.zeros(0, dtype=np.int32)
        self._columns = np.zeros(0, dtype=np.int32)
        self._values = np.zeros(0, dtype=np.float64)
        self._size = self._end = 0

    def __len__(self) -> int:
        return self._size

    def grow(self, size: int) -> None:
        """Extend the matrix to `size` rows and columns."""
        if size > self._starts.size:
            capacity = max(size, int(GROWTH * self._starts.size))
            self._starts, self._lengths = resized(self._starts, capacity), resized(self._lengths, capacity)
        self._size = size

    def replace(self, rows: NDArray[np.int64], entries: SparseRows) -> None:
        """Replace the entries of distinct rows ``[k]``."""
        self._lengths[rows] = 0
        if self._end + entries.values.size > self._values.size:
            self._gather(entries.values.size)
        end = self._end + entries.values.size
        self._columns[self._end : end] = entries.columns
        self._values[self._end : end] = entries.values
        self._starts[rows] = self._end + np.cumsum(entries.lengths, dtype=np.int64) - entries.lengths
        self._lengths[rows] = entries.lengths
        self._end = end

    def rows(self, rows: NDArray[np.int64]) -> SparseRows:
        """Return the entries of rows ``[k]``."""
        lengths = self._lengths[rows]
        at = flat_indices(self._starts[rows], lengths)
        return SparseRows(lengths, self._columns[at], self._values[at])

    def matrix(self) -> sp.csr_array:
        """Return all rows as one matrix; costs n."""
        found = self.rows(np.arange(self._size))
        indptr = np.concatenate([[0], np.cumsum(found.lengths, dtype=np.int64)])
        return sp.csr_array((found.values, found.columns, indptr), shape=(self._size, self._size))

    def _gather(self, extra: int) -> None:
        """Put all entries together, with room for `extra` more and as much again."""
        found = self.rows(np.arange(self._size))
        self._starts[: self._size] = np.cumsum(found.lengths, dtype=np.int64) - found.lengths
        self._end = found.values.size
        capacity = 2 * (self._end + extra)
        self._columns, self._values = resized(found.columns, capacity), resized(found.values, capacity)


def resized(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    """Copy an array ``[n, ...]`` into a larger one that ends with zeros, which take no memory yet."""
    larger = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
