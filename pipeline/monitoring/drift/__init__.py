"""Drift monitoring: raise alarms when the data change, and decide when to request a retrain."""

from pipeline.monitoring.drift.monitor import Acts, DriftMonitor
from pipeline.monitoring.drift.policy import DriftPolicy

__all__ = [
    "Acts",
    "DriftMonitor",
    "DriftPolicy",
]
