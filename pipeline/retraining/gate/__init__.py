"""The Gate: decides whether a candidate replaces the champion."""

from pipeline.retraining.gate.decision import decide
from pipeline.retraining.gate.evidence import GateOutcome, GateVerdict, ModelRun, SharedTargets

__all__ = ["SharedTargets", "GateOutcome", "ModelRun", "GateVerdict", "decide"]
