"""The Gate: decides whether a candidate replaces the champion."""

from pipeline.retraining.gate.decision import GateConfig, decide
from pipeline.retraining.gate.evidence import GateVerdict, ModelRun, Outcome, SharedTargets
from pipeline.retraining.gate.paired import Sampling

__all__ = ["GateConfig", "SharedTargets", "Outcome", "Sampling", "ModelRun", "GateVerdict", "decide"]
