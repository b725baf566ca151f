"""Records of the control topic that monitoring leads to: DriftAlarm, RetrainRequest and BudgetSpent.

Keys follow from the learner's position: a learner that recovers after a crash publishes the
same record under the same key.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pipeline.bounded import Count, Generation, Reason, Step
from pipeline.control.records import ControlRecord, Figures


class Signal(StrEnum):
    """What the drift monitor watches."""

    LEAD = "lead"
    """Log-loss of the model minus that of the covisitation baseline on the same targets, in nats."""
    LOSS = "loss"
    """Log-loss of the mixture, which ranks what is served, in nats."""
    FIRST_OF_BASKET = "first_of_basket"
    """Share of new baskets whose first item the mixture did not rank among its first twenty."""
    CONTENT = "content"
    """Population stability index of the items acted on, by content."""


AutomaticAction = Literal["rollback", "retrain_request"]
"""What is left to a person when its budget is spent."""


class DriftAlarm(ControlRecord):
    """A signal got worse by more than chance explains.

    Attributes:
        generation, step: of the batch that raised it.
        events: interactions seen by then.
        before, after: mean of the signal over the old and the recent part of what was compared;
            for content, 0 and the index.
        evidence: figures of the detector.
    """

    kind: ClassVar[str] = "drift_alarm"

    v: Literal[1] = 1
    signal: Signal
    generation: Generation
    step: Step
    events: Count
    before: float
    after: float
    evidence: Figures

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`.

        >>> DriftAlarm(
        ...     signal="lead", generation=2, step=71, events=9, before=0, after=1, evidence={}
        ... ).key
        'drift-2-71-lead'
        """
        return f"drift-{self.generation}-{self.step}-{self.signal}"


class RetrainRequest(ControlRecord):
    """A request for a retrain in answer to an alarm."""

    kind: ClassVar[str] = "retrain_request"

    v: Literal[1] = 1
    alarm: DriftAlarm

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"retrain-{self.alarm.key}"


class BudgetSpent(ControlRecord):
    """An alarm: automatic actions of one kind did not help, and are now left to a person.

    Attributes:
        action: the kind.
        generation, step: of the batch after which another one was due.
        in_a_row: actions since the last that helped.
        reason: why another one was due.
    """

    kind: ClassVar[str] = "budget_spent"

    v: Literal[1] = 1
    action: AutomaticAction
    generation: Generation
    step: Step
    in_a_row: Count
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`.

        >>> BudgetSpent(action="rollback", generation=4, step=9, in_a_row=2, reason="it fell").key
        'spent-4-9-rollback'
        """
        return f"spent-{self.generation}-{self.step}-{self.action}"
