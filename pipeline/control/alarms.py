"""What leaves the drift monitor for the control topic: DriftAlarm and RetrainRequest.

Keys follow from where the learner stood, so that a learner which comes by again after a
crash tells the same thing under the same key.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pipeline.control.records import ControlRecord, Count


class Signal(StrEnum):
    """What is watched."""

    LEAD = "lead"
    """Log-loss of the model minus that of the memory baseline on the same targets, in nats."""
    LOSS = "loss"
    """Log-loss of the mixture, which is what serves, in nats."""
    FIRST_OF_BASKET = "first_of_basket"
    """Share of new baskets whose first item the mixture did not have among its first twenty."""
    CONTENT = "content"
    """Population stability index of what is acted on, by content."""


class DriftAlarm(ControlRecord):
    """A signal got worse by more than chance explains.

    Attributes:
        generation, step: of the batch that raised it.
        events: interactions seen by then.
        before, after: mean of the signal over the old and the recent part of what was compared;
            for content, 0 and the index.
        evidence: what the detector went by.
    """

    kind: ClassVar[str] = "drift_alarm"

    v: Literal[1] = 1
    signal: Signal
    generation: Count
    step: Count
    events: Count
    before: float
    after: float
    evidence: dict[str, float]

    @property
    def key(self) -> str:
        """The same whenever the same alarm is told.

        >>> DriftAlarm(
        ...     signal="lead", generation=2, step=71, events=9, before=0, after=1, evidence={}
        ... ).key
        'drift-2-71-lead'
        """
        return f"drift-{self.generation}-{self.step}-{self.signal}"


class RetrainRequest(ControlRecord):
    """An alarm that is to be answered by a larger retrain."""

    kind: ClassVar[str] = "retrain_request"

    v: Literal[1] = 1
    alarm: DriftAlarm

    @property
    def key(self) -> str:
        """The same whenever the same request is told."""
        return f"retrain-{self.alarm.key}"
