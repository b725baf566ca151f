"""A one-sided ADWIN on block means, whose whole state is plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

from pipeline.config import RiseConfig

SHORTEST = 5
"""Blocks that each side of a cut must have."""


@dataclass(frozen=True)
class Rise:
    """Means before and after a cut, and how many blocks they are means of."""

    before: float
    after: float
    blocks_before: int
    blocks_after: int


class RiseState(TypedDict):
    """Values of the unfinished block, and means of the finished ones."""

    rest: list[float]
    means: list[float]


class _Adwin(Protocol):
    """What river, which has no types, offers."""

    @property
    def width(self) -> float: ...
    @property
    def drift_detected(self) -> bool: ...
    def update(self, x: float) -> object: ...


class RiseDetector:
    """Tells when the mean of a signal has risen (Bifet & Gavaldà 2007, ADWIN, one-sided).

    ADWIN tells that there was a change; where it was, and whether it was a rise, is told by the
    cut that parts the window best. What came before it is forgotten, after a fall too: else
    the losses of a younger learner would hide that an older one is getting worse.

    River's ADWIN starts from nothing after a change and cannot be saved. So the means are kept
    here; after a change, or when there are too many, a new ADWIN is shown those that still
    count, and whoever shows them to another gets the same detector.
    """

    def __init__(self, config: RiseConfig) -> None:
        self._config = config
        self._rest: list[float] = []
        self._rebuild([])

    def update(self, values: NDArray[np.float64]) -> Rise | None:
        """Take in finite values in order; returns the last rise that they gave away."""
        self._rest += values.tolist()
        rise = None
        while len(self._rest) >= self._config.block:
            block, self._rest = self._rest[: self._config.block], self._rest[self._config.block :]
            rise = self._compare(float(np.mean(block))) or rise
        return rise

    def state(self) -> RiseState:
        """Everything, as plain data that later updates leave alone."""
        return {"rest": list(self._rest), "means": list(self._means)}

    def load(self, state: RiseState) -> None:
        """Take over what `state` gave."""
        self._rest = list(state["rest"])
        self._rebuild(state["means"])

    def _compare(self, mean: float) -> Rise | None:
        """Show ADWIN one more mean; if there was a change, forget what came before it."""
        self._means.append(mean)
        self._adwin.update(mean / self._config.unit)
        if self._adwin.drift_detected:
            rise = _best_cut(self._means)
            self._rebuild(self._means[rise.blocks_before :])
            return rise if rise.after - rise.before >= self._config.least else None
        if len(self._means) >= 2 * self._config.longest:
            self._rebuild(self._means[-self._config.longest :])
        return None

    def _rebuild(self, means: Iterable[float]) -> None:
        """A new ADWIN that has seen these means and no others."""
        self._means = list(means)
        self._adwin = _new_adwin(self._config.delta)
        for mean in self._means:
            self._adwin.update(mean / self._config.unit)


def _best_cut(means: Sequence[float]) -> Rise:
    """The cut of at least ten means that is the likeliest change of normal values (Hinkley 1970)."""
    count, indices = len(means), np.arange(SHORTEST, len(means) - SHORTEST + 1)
    sums = np.cumsum(means)
    before = sums[indices - 1] / indices
    after = (sums[-1] - sums[indices - 1]) / (count - indices)
    best = int(np.argmax(np.abs(after - before) * np.sqrt(indices * (count - indices))))
    place = int(indices[best])
    return Rise(float(before[best]), float(after[best]), place, count - place)


def _new_adwin(delta: float) -> _Adwin:
    adwin: _Adwin = ADWIN(  # type: ignore[no-untyped-call]
        delta=delta, clock=1, min_window_length=SHORTEST, grace_period=2 * SHORTEST
    )
    return adwin
