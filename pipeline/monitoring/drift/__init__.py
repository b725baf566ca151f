"""Drift: what raises an alarm when the world changes, and what is done about it."""

from pipeline.monitoring.drift.monitor import Acts, DriftConfig, DriftMonitor
from pipeline.monitoring.drift.policy import Action, DriftPolicy

__all__ = [
    "Action",
    "Acts",
    "DriftMonitor",
    "DriftPolicy",
    "DriftConfig",
]
