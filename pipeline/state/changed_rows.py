"""The rows of a table that changed since they were last taken, at a cost that follows the changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GROWTH = 1.5


class ChangedRows:
    """A set of row numbers.

    >>> changed = ChangedRows()
    >>> changed.add(np.array([5, 2, 5]))
    >>> changed.take().tolist(), changed.take().tolist()
    ([2, 5], [])
    """

    def __init__(self) -> None:
        self._is_in = np.zeros(0, dtype=np.bool_)
        self._added: list[NDArray[np.int64]] = []

    def add(self, rows: NDArray[np.int64]) -> None:
        """Add rows; one may be there already."""
        if not rows.size:
            return
        missing = int(rows.max()) + 1 - self._is_in.size
        if missing > 0:
            extra = max(missing, int((GROWTH - 1) * self._is_in.size))
            self._is_in = np.concatenate([self._is_in, np.zeros(extra, dtype=np.bool_)])
        new = np.unique(rows[~self._is_in[rows]])
        self._is_in[new] = True
        self._added.append(new)

    def take(self) -> NDArray[np.int64]:
        """Return the rows, ascending, and forget them."""
        taken = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *self._added]))
        self._is_in[taken], self._added = False, []
        return taken
