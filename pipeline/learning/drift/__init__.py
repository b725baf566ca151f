"""Drift: what raises an alarm when the world changes, and what is done about it."""

from pipeline.learning.drift.alarms import DriftAlarm, RetrainRequest, Signal
from pipeline.learning.drift.monitor import Acts, DriftMonitor, DriftShape
from pipeline.learning.drift.policy import Action, AlarmBook, DriftPolicy, Outcome

__all__ = [
    "Action",
    "Acts",
    "AlarmBook",
    "DriftAlarm",
    "DriftMonitor",
    "DriftPolicy",
    "DriftShape",
    "Outcome",
    "RetrainRequest",
    "Signal",
]
