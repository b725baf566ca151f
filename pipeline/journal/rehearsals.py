"""Rehearsals: steps on old Segments alone, which a learner takes while little waits."""

from __future__ import annotations

from pipeline.config import BatchConfig
from pipeline.state.micro_batch import MicroBatch

MOST_OWED = 16
"""Rehearsals; further ones lapse, so that a learner that was behind for long soon rests."""


class Rehearsals:
    """Counts what was learned since it was last rehearsed for, and how many records may wait for a rehearsal.

    A restart owes nothing: the journal says what was rehearsed, not what might have been.
    """

    def __init__(self, config: BatchConfig) -> None:
        self._every, self._little = config.rehearse_events, config.events // 4
        self._events, self._was_last = 0, False

    def add(self, batch: MicroBatch) -> None:
        """Add a batch that was learned, folded, or a rehearsal."""
        if batch.rehearses:
            self._events = min(self._events, MOST_OWED * self._every) - self._every
        elif batch.learns:
            self._events += len(batch.interactions)
        self._was_last = batch.rehearses

    @property
    def is_owed(self) -> bool:
        """Whether enough was learned for a rehearsal."""
        return 0 < self._every <= self._events

    @property
    def most_waiting(self) -> int:
        """Records that may wait for a rehearsal: few, which wait for others anyway, and none twice."""
        return 0 if self._was_last else self._little
