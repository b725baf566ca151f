"""Popularity: decayed counts of how often each item was acted on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.1
"""The count that every item starts with, so that a new one is not impossible."""


@dataclass
class Popularity:
    """Decayed counts ``[n]``; `half_life` is in events."""

    half_life: float
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def grow(self, size: int) -> None:
        """Make room for `size` items."""
        self.counts = np.concatenate([self.counts, np.zeros(size - self.counts.size)])

    def fold(self, items: NDArray[np.int64]) -> None:
        """Count the items of new acts."""
        self.counts = self.counts + np.bincount(items, minlength=self.counts.size)

    def age(self, events: int) -> None:
        """Let the given number of events pass."""
        self.counts = self.counts * 0.5 ** (events / self.half_life)

    def log_share(self) -> NDArray[np.float32]:
        """Log of each item's share of all acts, shape ``[n]``."""
        smoothed = self.counts + PRIOR
        shares: NDArray[np.float32] = np.log(smoothed / smoothed.sum()).astype(np.float32)
        return shares
