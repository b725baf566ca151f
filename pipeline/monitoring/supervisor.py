"""The supervisor: watches what the learner does, raises alarms, requests retrains, orders rollbacks.

It stands beside the learner and outlives its models: what it knows of the stream and of its own
requests stays when the learner adopts another state.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from pipeline.config import DriftConfig, GuardConfig
from pipeline.control.records import ControlRecord, Rollback
from pipeline.evaluation.prequential import Scores
from pipeline.monitoring.drift import Acts, DriftMonitor, DriftPolicy
from pipeline.monitoring.drift.monitor import DriftState
from pipeline.monitoring.drift.policy import PolicyState
from pipeline.monitoring.regression_guard import Guard, GuardState


class SupervisorState(TypedDict):
    """The states of the parts, and the version after the last batch (None after an adoption)."""

    monitor: DriftState
    policy: PolicyState
    guard: GuardState
    before: str | None


class Supervisor:
    """Drift monitor, policy and guard of one learner; its state follows from the batches it was shown."""

    def __init__(self, drift: DriftConfig, guard: GuardConfig) -> None:
        self.configs = drift, guard
        self.monitor = DriftMonitor(drift)
        self.policy = DriftPolicy(drift.action, drift.cooldown_events)
        self.guard = Guard(guard)
        self._rolls_back = guard.rollback
        self._before: str | None = None

    def watch(self, generation: int, step: int, scores: Scores, acts: Acts) -> list[ControlRecord]:
        """Update the monitors with a batch; return the control records to publish."""
        alarms = self.monitor.update(generation, step, scores, acts)
        request = self.policy.decide(alarms)
        rollback = self._rollback(generation, step, scores)
        return [*alarms, *([request] if request else []), *([rollback] if rollback else [])]

    def adopted(self, kind: Literal["promotion", "rollback"], left: str) -> None:
        """Note that the learner adopted another state; `left` is the version before it."""
        self.monitor.reset()
        if kind == "promotion":
            self.guard.promoted(left)
        else:
            self.guard.returned()
        self._before = None

    def state(self) -> SupervisorState:
        """Return the whole state as plain data."""
        return {
            "monitor": self.monitor.state(),
            "policy": self.policy.state(),
            "guard": self.guard.state(),
            "before": self._before,
        }

    def load(self, state: SupervisorState) -> None:
        """Load what `state` returned."""
        self.monitor.load(state["monitor"])
        self.policy.load(state["policy"])
        self.guard.load(state["guard"])
        self._before = state["before"]

    def _rollback(self, generation: int, step: int, scores: Scores) -> Rollback | None:
        # A generation that begins without an adoption has no version before its first batch.
        before, self._before = self._before or f"{generation}-{step - 1}", f"{generation}-{step}"
        fall = self.guard.update(before, scores)
        if fall is None or not self._rolls_back:
            return None
        return Rollback(
            version=fall.version,
            relearn=False,
            generation=generation,
            ordered_at=0,
            reason=f"at {generation}-{step} its lead over covisitation fell from {fall.before:.3f} to "
            f"{fall.after:.3f} nats",
        )
