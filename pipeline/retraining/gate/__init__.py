"""The Gate: whether a candidate takes the champion's place."""

from pipeline.retraining.gate.decision import decide
from pipeline.retraining.gate.evidence import GateVerdict, ModelRun, Outcome, SharedTargets

__all__ = ["SharedTargets", "Outcome", "ModelRun", "GateVerdict", "decide"]
