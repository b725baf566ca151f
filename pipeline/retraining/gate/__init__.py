"""The Gate: decides whether a candidate replaces the champion."""

from pipeline.retraining.gate.decision import decide
from pipeline.retraining.gate.evidence import GateVerdict, ModelRun, Outcome, SharedTargets

__all__ = ["SharedTargets", "Outcome", "ModelRun", "GateVerdict", "decide"]
