"""Popularity: decayed counts of the acts on each item."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.1
"""Added to the count of every item, so that a new item has a probability above zero."""


@dataclass
class Popularity:
    """Decayed counts ``[n]``; `half_life` is in events."""

    half_life: float
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def grow(self, size: int) -> None:
        """Extend the counts to `size` items."""
        self.counts = np.concatenate([self.counts, np.zeros(size - self.counts.size)])

    def fold(self, items: NDArray[np.int64]) -> None:
        """Count new acts, given as item rows."""
        self.counts = self.counts + np.bincount(items, minlength=self.counts.size)

    def age(self, events: int) -> None:
        """Decay the counts by a number of events."""
        self.counts = self.counts * 0.5 ** (events / self.half_life)

    def log_share(self) -> NDArray[np.float32]:
        """Return the log of each item's smoothed share of all acts, shape ``[n]``."""
        smoothed = self.counts + PRIOR
        shares: NDArray[np.float32] = np.log(smoothed / smoothed.sum()).astype(np.float32)
        return shares
