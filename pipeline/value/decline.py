"""Declines: rewards that are clearly below what was expected of them, as after a change of taste."""

from __future__ import annotations

import numpy as np

from pipeline.value.checks import read_array
from pipeline.value.port import Arrays, Floats

SLACK = 0.1
"""Standard deviations by which a decision may be below what is expected, and not count."""
CLEAR = 70.0
"""Sum of what counts at which it is a decline. With normal noise it is reached once in 60 million decisions:
exp(2 · SLACK · CLEAR) / (2 · SLACK²). Purchases, and what no line fits, reach it much more often."""
APART = 2_000
"""Decisions before the first decline, and between two: what is expected has to be learned first."""


class DeclineDetector:
    """Detects that rewards are below what was expected: a one-sided cumulative sum (Page 1954).

    Attributes:
        falling: how many of the last decisions the sum is of. When it is clear, they are those since the
            decline began, as far as the sum says: it was last 0 before them.
    """

    def __init__(self) -> None:
        self._sum, self._since, self.falling = 0.0, 0, 0

    def add(self, shortfalls: Floats) -> bool:
        """Add by how much decisions ``[n]`` fell short, in standard deviations; say if it is a decline."""
        for number, shortfall in enumerate(shortfalls.tolist(), start=self._since):
            self._sum = max(0.0, self._sum + shortfall - SLACK) if number >= APART else 0.0
            self.falling = self.falling + 1 if self._sum else 0
        self._since += len(shortfalls)
        if self._sum <= CLEAR:
            return False
        self._sum, self._since = 0.0, 0
        return True

    def state(self) -> Arrays:
        """Return the sum, the decisions that it is of, and those since the last decline."""
        numbers = {"sum": self._sum, "since": self._since, "falling": self.falling}
        return {name: np.array([number]) for name, number in numbers.items()}

    def load(self, state: Arrays) -> None:
        """Restore a state.

        Raises:
            ValueError: it is none.
        """
        total = float(read_array(state, "sum", (1,), np.float64)[0])
        since, falling = (int(read_array(state, name, (1,), np.int64)[0]) for name in ("since", "falling"))
        if min(total, since, falling) < 0:
            raise ValueError("sum, since or falling is negative")
        self._sum, self._since, self.falling = total, since, falling
