"""The drift policy: decide whether alarms lead to a retrain."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import DriftConfig
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest
from pipeline.monitoring.action_budget import ActionBudget, Answer, BudgetLimits


class DriftPolicy:
    """Requests a retrain when alarms are raised, within a budget.

    One drift moves several signals for a while; the cooldown reduces this to one request.
    Decisions depend on alarms and adoptions alone, never on other outcomes of retrains, because
    those are not in the journal and a recovering learner must decide the same.
    """

    def __init__(self, config: DriftConfig) -> None:
        self._action = config.action
        self.budget = ActionBudget(BudgetLimits.of(config))

    def decide(self, alarms: Sequence[DriftAlarm]) -> RetrainRequest | BudgetSpent | None:
        """Return what the alarms of one batch lead to, if anything; a request names the first alarm."""
        if self._action == "log" or not alarms:
            return None
        first = alarms[0]
        match self.budget.ask(first.events):
            case Answer.ACT:
                return RetrainRequest(alarm=first)
            case Answer.SPENT:
                return BudgetSpent(
                    action="retrain_request",
                    generation=first.generation,
                    step=first.step,
                    in_a_row=self.budget.row,
                    reason=f"alarm: {first.signal}",
                )
        return None
