"""How wrong predicted ratings are: mean absolute error and root mean square error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALL, FIRST = "all", "first of a user"


class RatingReport(NamedTuple):
    """Figures of n predicted ratings; None where there are none.

    Attributes:
        n: number of ratings; with a half-life, of those that still count.
        mae: mean absolute error.
        rmse: root of the mean squared error.
    """

    n: float
    mae: float | None
    rmse: float | None


class RatingQuality:
    """Errors of predicted ratings, of all users and of those who had rated nothing before."""

    def __init__(self, half_life: float | None = None) -> None:
        """After `half_life` ratings one counts half; without it all count alike."""
        self._half_life = half_life
        self._sums = {name: np.zeros(3) for name in (ALL, FIRST)}

    def add(self, errors: NDArray[np.float64], known: NDArray[np.int64]) -> None:
        """Add errors ``[m]``; `known` ``[m]`` says how many ratings of the user were known before each."""
        decay = 0.5 ** (errors.size / self._half_life) if self._half_life else 1.0
        for name, chosen in (ALL, errors), (FIRST, errors[known == 0]):
            added = np.array([chosen.size, np.abs(chosen).sum(), np.square(chosen).sum()])
            self._sums[name] = decay * self._sums[name] + added

    def report(self) -> Mapping[str, RatingReport]:
        """Return the figures by slice; none without ratings."""
        return {name: _report(*sums.tolist()) for name, sums in self._sums.items() if self._sums[ALL][0]}


def _report(n: float, absolute: float, squared: float) -> RatingReport:
    return RatingReport(n, absolute / n, float(np.sqrt(squared / n))) if n else RatingReport(n, None, None)
