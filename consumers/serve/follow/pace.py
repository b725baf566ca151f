"""A pace: what has become slow is done less often, so that it leaves time to everything else."""

from __future__ import annotations

import time
from collections.abc import Callable

QUICK_SECONDS = 0.05
"""What takes no longer is done whenever there is a reason."""
REST = 3
"""Times as long as it took, something slow is not done again."""


class Pace:
    """Does something for each reason, or for several at once while it is slow."""

    def __init__(self, do: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._do = do
        self._clock = clock
        self._due = 0.0
        self._has_reason = False

    def now(self) -> None:
        """Do it now, however slow it is."""
        began = self._clock()
        self._do()
        ended = self._clock()
        took = ended - began
        self._due, self._has_reason = ended + (REST * took if took > QUICK_SECONDS else 0), False

    def when_due(self, has_reason: bool) -> None:
        """Do it if there is a reason, or was one since the last time, and it may be done again."""
        self._has_reason |= has_reason
        if self._has_reason and self._clock() >= self._due:
            self.now()
