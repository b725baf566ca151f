"""A one-sided ADWIN on block means, with a state of plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from river._river_rust.drift import AdaptiveWindowing
from typing_extensions import TypedDict

from pipeline.config import RiseConfig

MIN_BLOCKS = 5
"""Minimum number of blocks on each side of a cut."""


@dataclass(frozen=True)
class Rise:
    """Means before and after a cut, and the number of blocks in each."""

    before: float
    after: float
    blocks_before: int
    blocks_after: int


class RiseState(TypedDict):
    """Values of the unfinished block, and means of the finished blocks."""

    rest: list[float]
    means: list[float]


class _Adwin(Protocol):
    """The interface of river's ADWIN, which has no type annotations.

    `river.drift` would import scipy.stats beside it: 32 MB of a learner, which has no other use for it.
    """

    def update(self, x: float) -> bool: ...


class RiseDetector:
    """Detects when the mean of a signal has risen (Bifet & Gavaldà 2007, ADWIN, one-sided).

    ADWIN detects a change. The best cut of the window says where it was and whether it was a
    rise. The means before the cut are dropped, after a fall too: otherwise the higher losses of
    the younger learner would hide that the older one is getting worse.

    River's ADWIN has to be replaced after a change and cannot be saved. So the detector keeps the means
    itself. After a change, or when there are too many means, it feeds those still in use to a
    new ADWIN; a restored detector does the same and is identical.
    """

    def __init__(self, config: RiseConfig) -> None:
        self._config = config
        self._rest: list[float] = []
        self._rebuild([])

    def update(self, values: NDArray[np.float64]) -> Rise | None:
        """Update with finite values in order; return the last rise found, if any."""
        self._rest += values.tolist()
        rise = None
        while len(self._rest) >= self._config.block:
            block, self._rest = self._rest[: self._config.block], self._rest[self._config.block :]
            rise = self._compare(float(np.mean(block))) or rise
        return rise

    def state(self) -> RiseState:
        """Return the whole state as plain data; later updates do not change it."""
        return {"rest": list(self._rest), "means": list(self._means)}

    def load(self, state: RiseState) -> None:
        """Restore a state returned by `state`."""
        self._rest = list(state["rest"])
        self._rebuild(state["means"])

    def _compare(self, mean: float) -> Rise | None:
        """Feed one mean to ADWIN; after a change, drop the means before it."""
        self._means.append(mean)
        if self._feed(mean):
            rise = _best_cut(self._means)
            self._rebuild(self._means[rise.blocks_before :])
            return rise if rise.after - rise.before >= self._config.least else None
        if len(self._means) >= 2 * self._config.longest:
            self._rebuild(self._means[-self._config.longest :])
        return None

    def _rebuild(self, means: Iterable[float]) -> None:
        """Start a new ADWIN and feed it these means."""
        self._means, self._has_found = list(means), True
        for mean in self._means:
            self._feed(mean)

    def _feed(self, mean: float) -> bool:
        """Feed one mean to ADWIN, a new one after a change; return whether it finds a change."""
        if self._has_found:
            self._adwin = _new_adwin(self._config.delta)
        self._has_found = self._adwin.update(mean / self._config.unit)
        return self._has_found


def _best_cut(means: Sequence[float]) -> Rise:
    """Return the most likely change point of at least ten normal means (Hinkley 1970)."""
    count, indices = len(means), np.arange(MIN_BLOCKS, len(means) - MIN_BLOCKS + 1)
    sums = np.cumsum(means)
    before = sums[indices - 1] / indices
    after = (sums[-1] - sums[indices - 1]) / (count - indices)
    best = int(np.argmax(np.abs(after - before) * np.sqrt(indices * (count - indices))))
    cut = int(indices[best])
    return Rise(float(before[best]), float(after[best]), cut, count - cut)


def _new_adwin(delta: float) -> _Adwin:
    adwin: _Adwin = AdaptiveWindowing(
        delta=delta, clock=1, max_buckets=5, min_window_length=MIN_BLOCKS, grace_period=2 * MIN_BLOCKS
    )
    return adwin
