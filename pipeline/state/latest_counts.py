"""Counts of the last acts alone, by item: a window that moves with each act that counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.state.counts import sums_of
from pipeline.state.growing import GrowingArray, distinct

LENGTH = 4_096
"""Acts of the window."""
NO_ITEMS, NO_WEIGHTS = np.zeros(0, dtype=np.int64), np.zeros(0)


class LatestCounts:
    """Sums of the weights of the last `LENGTH` acts on each item; none below zero.

    They are a function of these acts alone, however they came.

    Attributes:
        items, weights: ``[k]`` the acts of the window, the latest one last.
        rows: ``[r]`` the distinct items of the window, ascending; all other counts are zero.
        counts: ``[r]`` those of `rows`.
        total: the sum of all counts.
    """

    def __init__(self) -> None:
        self.items, self.weights = NO_ITEMS, NO_WEIGHTS
        self.rows, self.counts = NO_ITEMS, NO_WEIGHTS
        self.total = 0.0
        self._by_row = GrowingArray[np.float64](np.float64)

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the counts of any rows."""
        return self._by_row.values[rows]

    def grow(self, size: int) -> None:
        """Extend the counts to `size` items."""
        self._by_row.grow(size)

    def fold(self, items: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Add acts ``[k]``, and forget as many of the oldest."""
        if items.size:
            self.load(np.concatenate([self.items, items]), np.concatenate([self.weights, weights]))

    def load(self, items: NDArray[np.int64] = NO_ITEMS, weights: NDArray[np.float64] = NO_WEIGHTS) -> None:
        """Replace the window by the last of some acts ``[k]``; by none where an earlier release kept none."""
        self.items, self.weights = items[-LENGTH:], weights[-LENGTH:]
        self._by_row.values[self.rows] = 0
        self.rows = distinct(self.items)
        sums = sums_of(np.searchsorted(self.rows, self.items), self.weights, self.rows.size)
        self.counts = np.maximum(sums, 0)
        self._by_row.values[self.rows] = self.counts
        self.total = float(self.counts.sum())

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the acts of the window by name; `load` takes them."""
        return {"items": self.items, "weights": self.weights}

    def sums(self) -> dict[str, NDArray[Any]]:
        """Return one act for each item of the window, with its count: which acts were neighbours is left out.

        `load` makes the same counts of it, which do not go on with the next acts.
        """
        is_left = self.counts > 0
        return {"items": self.rows[is_left], "weights": self.counts[is_left]}
