"""Running means and spreads of features, which are only known to be of moderate size."""

from __future__ import annotations

import numpy as np

from pipeline.value.checks import check_names, read_array
from pipeline.value.port import Arrays, Floats

FURTHEST = 10.0
"""Standard deviations from the mean at which a row is cut off before it is added: none rules the rest."""
SMALLEST_SPREAD = 1e-4
"""Of a feature that never changed, absolute and relative to its mean: float64 keeps half of its digits."""


def centre_and_spread(rows: float, sums: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation ``[p]`` of features, as if one row of 0 ± 1 had come first.

    Args:
        rows: weight of all rows.
        sums: ``[p]`` weighted sums of the features.
        squares: ``[p]`` weighted sums of their squares.
    """
    centre = sums / (rows + 1)
    variance = (squares + 1) / (rows + 1) - centre**2
    least = SMALLEST_SPREAD * (1 + np.abs(centre))
    return centre, np.sqrt(np.maximum(variance, least**2))


class Scaling:
    """Decayed counts, sums and sums of squares of p features."""

    def __init__(self, features: int) -> None:
        self._sums = np.zeros((2, features))
        self._rows = 0.0

    def add(self, rows: Floats, kept: float) -> None:
        """Forget all but a share of what was seen, and add rows ``[n, p]``, of which outliers are cut off."""
        centre, spread = self.centre_and_spread()
        rows = np.clip(rows, centre - FURTHEST * spread, centre + FURTHEST * spread)
        self._rows = kept * self._rows + len(rows)
        self._sums = kept * self._sums + np.stack((rows.sum(axis=0), (rows**2).sum(axis=0)))

    def centre_and_spread(self) -> tuple[Floats, Floats]:
        """Return mean and standard deviation ``[p]``."""
        return centre_and_spread(self._rows, *self._sums)

    def state(self) -> Arrays:
        """Return the sums."""
        return {"rows": np.array([self._rows]), "sums": self._sums.copy()}

    def load(self, state: Arrays) -> None:
        """Restore the sums.

        Raises:
            ValueError: they are not of so many features, not finite, or no sums of squares.
        """
        check_names(state, {"rows", "sums"})
        rows = read_array(state, "rows", (1,), np.float64)
        sums = read_array(state, "sums", self._sums.shape, np.float64)
        if rows[0] < 0 or (sums[1] < 0).any():
            raise ValueError("rows or sums of squares are negative")
        self._rows, self._sums = float(rows[0]), sums
