"""Drift: what raises an alarm when the world changes, and what is done about it."""

from pipeline.learning.drift.alarms import DriftAlarm, RetrainRequest, Signal
from pipeline.learning.drift.monitor import Acts, DriftMonitor, DriftShape
from pipeline.learning.drift.policy import Action, DriftPolicy

__all__ = [
    "Action",
    "Acts",
    "DriftAlarm",
    "DriftMonitor",
    "DriftPolicy",
    "DriftShape",
    "RetrainRequest",
    "Signal",
]
