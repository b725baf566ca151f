"""The Gate: whether a candidate takes the champion's place."""

from pipeline.learning.gate.decision import GateShape, decide
from pipeline.learning.gate.evidence import Ground, Outcome, Trial, Verdict
from pipeline.learning.gate.paired import Sampling

__all__ = ["GateShape", "Ground", "Outcome", "Sampling", "Trial", "Verdict", "decide"]
