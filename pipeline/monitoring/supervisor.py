"""The supervisor: watches what the learner does, raises alarms, requests retrains, orders rollbacks.

It stands beside the learner and outlives its models: what it knows of the stream and of its own
requests stays when the learner adopts another state.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from pipeline.bounded import VersionText
from pipeline.config import DriftConfig, GuardConfig
from pipeline.control.alarms import BudgetSpent
from pipeline.control.records import ControlRecord, Rollback
from pipeline.evaluation.prequential import Scores
from pipeline.monitoring.action_budget import ActionBudget, Answer, BudgetLimits, BudgetState
from pipeline.monitoring.drift import Acts, DriftMonitor, DriftPolicy
from pipeline.monitoring.drift.monitor import DriftState
from pipeline.monitoring.regression_guard import Fall, Guard, GuardState


class SupervisorState(TypedDict):
    """The states of the parts, number of scored events, and version after the last batch.

    The version is None after an adoption.
    """

    monitor: DriftState
    requests: BudgetState
    guard: GuardState
    rollbacks: BudgetState
    scored: int
    before: VersionText | None


class Supervisor:
    """Drift monitor, policy and guard of one learner; its state follows from the batches it was shown."""

    def __init__(self, drift: DriftConfig, guard: GuardConfig) -> None:
        self.configs = drift, guard
        self.monitor = DriftMonitor(drift)
        self.policy = DriftPolicy(drift)
        self.guard = Guard(guard)
        self.rollbacks = ActionBudget(BudgetLimits.of(guard))
        self._rolls_back = guard.rollback
        self._scored = 0
        self._before: str | None = None

    def watch(self, generation: int, step: int, scores: Scores, acts: Acts) -> list[ControlRecord]:
        """Update the monitors with a batch; return the control records to publish."""
        alarms = self.monitor.update(generation, step, scores, acts)
        request = self.policy.decide(alarms)
        answer = self._guard(generation, step, scores, len(acts.content))
        return [*alarms, *([request] if request else []), *([answer] if answer else [])]

    def adopted(self, kind: Literal["promotion", "rollback"], left: str, *, by_person: bool) -> None:
        """Note that the learner adopted another state; `left` is the version before it.

        An order by a person renews the budgets of automatic actions.
        """
        self.monitor.reset()
        if kind == "promotion":
            self.guard.promoted(left)
        else:
            self.guard.returned()
        if by_person:
            self.policy.budget.renew()
            self.rollbacks.renew()
        self._before = None

    def state(self) -> SupervisorState:
        """Return the whole state as plain data."""
        return {
            "monitor": self.monitor.state(),
            "requests": self.policy.budget.state(),
            "guard": self.guard.state(),
            "rollbacks": self.rollbacks.state(),
            "scored": self._scored,
            "before": self._before,
        }

    def load(self, state: SupervisorState) -> None:
        """Load what `state` returned."""
        self.monitor.load(state["monitor"])
        self.policy.budget.load(state["requests"])
        self.guard.load(state["guard"])
        self.rollbacks.load(state["rollbacks"])
        self._scored = state["scored"]
        self._before = state["before"]

    def _guard(self, generation: int, step: int, scores: Scores, items: int) -> Rollback | BudgetSpent | None:
        """Update the guard; return what a fall leads to."""
        # A generation that begins without an adoption has no version before its first batch.
        before, self._before = self._before or f"{generation}-{step - 1}", f"{generation}-{step}"
        self._scored += scores.slices["all"].size
        fall = self.guard.update(before, scores, items)
        if self.guard.is_proven:
            self.policy.budget.helped()
            self.rollbacks.helped()
        return None if fall is None else self._answer(generation, step, fall)

    def _answer(self, generation: int, step: int, fall: Fall) -> Rollback | BudgetSpent | None:
        answer = self.rollbacks.ask(self._scored) if self._rolls_back else None
        if answer is Answer.ACT:
            self.guard.returned()
            return Rollback(
                version=fall.version,
                relearn=False,
                generation=generation,
                ordered_at=0,
                reason=_reason(generation, step, fall),
            )
        if not self._rolls_back or self.rollbacks.is_spent:
            self.guard.forget()  # A person decides; by then, what is usual is what there is now.
        if answer is Answer.SPENT:
            return BudgetSpent(
                action="rollback",
                generation=generation,
                step=step,
                in_a_row=self.rollbacks.row,
                reason=_reason(generation, step, fall),
            )
        return None


def _reason(generation: int, step: int, fall: Fall) -> str:
    return (
        f"at {generation}-{step} its log-probability of like events above chance fell from "
        f"{fall.before:.3f} to {fall.after:.3f} nats, and its lead over covisitation from "
        f"{fall.lead_before:.3f} to {fall.lead_after:.3f}"
    )
