"""Where the vectors of a column lie of which most are zero: the others lie one after another.

A row of 1.5 kB among rows of zeros takes pages of 4 kB of its own, which are zeroed when it is first written:
of what it took to apply the delta of a batch to a million items, that was the greatest part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.state.growing import GrowingArray

OF_ZEROS = 0
"""The slot of all rows that have no vector of their own."""


class Slots:
    """A slot for each of n rows, given when a row is first written.

    Attributes:
        used: number of slots that are in use.
    """

    def __init__(self) -> None:
        self.used = OF_ZEROS + 1
        self._slots = GrowingArray[np.int32](np.int32)

    @property
    def by_row(self) -> NDArray[np.int32]:
        """Return the slots ``[n]``."""
        return self._slots.values

    @property
    def rows(self) -> NDArray[np.int64]:
        """Return the rows that have slots of their own, ascending."""
        return np.flatnonzero(self.by_row != OF_ZEROS)

    def reserve(self, size: int) -> None:
        """Make room for `size` rows; views of slots keep the old ones."""
        self._slots.reserve(size)

    def grow(self, size: int) -> None:
        """Extend to `size` rows."""
        self._slots.grow(size)

    def given(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the slots of distinct rows ``[k]``; those that have none get the next ones."""
        slots = self.by_row[rows]
        is_new = slots == OF_ZEROS
        first, self.used = self.used, self.used + int(is_new.sum())
        slots[is_new] = np.arange(first, self.used)
        self.by_row[rows] = slots
        return slots
