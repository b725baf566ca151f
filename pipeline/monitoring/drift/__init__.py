"""Drift: what raises an alarm when the world changes, and what is done about it."""

from pipeline.monitoring.drift.monitor import Acts, DriftMonitor
from pipeline.monitoring.drift.policy import DriftPolicy

__all__ = [
    "Acts",
    "DriftMonitor",
    "DriftPolicy",
]
