"""Deciding: the Gate's decision on a candidate, and the decision on one that came to nothing."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from consumers.retrain.training import Trained
from pipeline.clock import now_ms
from pipeline.config import GateConfig
from pipeline.control.records import DecisionOutcome, GateDecision
from pipeline.retraining.candidates import RetrainPlan
from pipeline.retraining.comparison import Evidence
from pipeline.retraining.gate import GateOutcome, GateVerdict, decide
from pipeline.retraining.training import RetrainResult
from pipeline.snapshots.version import Version

KIBIBYTE = 1024


@dataclass(frozen=True)
class Decider:
    """Decides whether a candidate is promoted."""

    gate: GateConfig

    def decide(
        self, plan: RetrainPlan, trained: Trained, evidence: Evidence, cpu_seconds: float
    ) -> GateDecision:
        """Return the Gate's decision, with its figures and what the candidate cost."""
        verdict = decide(*evidence, self.gate)
        return GateDecision(
            candidate=plan.name,
            champion=plan.champion,
            generation=trained.ahead.end.generation,
            request=plan.request,
            outcome=self._outcome(verdict),
            reasons=verdict.reasons,
            figures={**verdict.figures, **trained.language},
            cost=_cost(trained.result, cpu_seconds),
            decided_at=now_ms(),
        )

    def _outcome(self, verdict: GateVerdict) -> DecisionOutcome:
        if verdict.outcome is not GateOutcome.PROMOTED:
            return "rejected"
        return "held" if self.gate.mode == "manual" else "promoted"


def cancelled(plan: RetrainPlan, reason: str) -> GateDecision:
    """Return the decision on a candidate whose champion, or whose events, are gone."""
    return GateDecision(
        candidate=plan.name,
        champion=plan.champion,
        generation=Version.parse(plan.champion).generation,
        request=plan.request,
        outcome="cancelled",
        reasons=[reason],
        figures={},
        cost={},
        decided_at=now_ms(),
    )


def _cost(result: RetrainResult, cpu_seconds: float) -> dict[str, float]:
    """What a retrain cost; its training includes the finished epochs of interrupted runs."""
    return {
        "seconds": cpu_seconds,
        "training_seconds": result.seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE,
        "events": result.events,
        "epochs": result.epochs,
    }
