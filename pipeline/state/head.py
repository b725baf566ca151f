"""The head of the catalogue: the few items that most acts are on. All others are its tail."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

SHARE = 4, 5
"""Share of all acts that are on the head, at least, as a fraction: whole numbers have no rounding errors."""


class Head:
    """Which number of acts makes an item a part of the head, kept up to date with each act.

    The head is the smallest set of items with more acts than all others that has `SHARE` of all acts. It
    follows from the numbers of acts alone, so that a restart finds the same one.

    Attributes:
        least: an item with more acts than this belongs to the head, any other one to the tail.
    """

    def __init__(self) -> None:
        self.load(np.zeros(0, dtype=np.int64))

    def load(self, acts: NDArray[np.int64]) -> None:
        """Begin with the numbers of acts ``[n]`` on each item."""
        ordered = np.sort(acts)
        starts = np.diff(ordered, prepend=-1).nonzero()[0]
        items = np.diff(starts, append=acts.size)
        self._items = Counter[int](dict(zip(ordered[starts].tolist(), items.tolist(), strict=True)))
        self._total = self._above = int(acts.sum())
        self.least = 0
        self._adjust()

    def move(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        """Note that items ``[k]`` with so many acts have more now."""
        for old, new in zip(before.tolist(), after.tolist(), strict=True):
            self._items[old] -= 1
            self._items[new] += 1
            self._total += new - old
            self._above += new * (new > self.least) - old * (old > self.least)
        self._adjust()

    def _adjust(self) -> None:
        """Make `least` the highest bound above which there is still the share of all acts."""
        while not self._is_enough(self._above):
            self._above += self.least * self._items[self.least]
            self.least -= 1
        while self._total and self._is_enough(rest := self._above_next()):
            self._above, self.least = rest, self.least + 1

    def _above_next(self) -> int:
        return self._above - (self.least + 1) * self._items[self.least + 1]

    def _is_enough(self, acts: int) -> bool:
        return SHARE[1] * acts >= SHARE[0] * self._total
