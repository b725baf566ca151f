"""Drift monitoring: raise alarms when the data change, and decide when to request a retrain."""

from pipeline.monitoring.drift.monitor import Acts, DriftConfig, DriftMonitor
from pipeline.monitoring.drift.policy import Action, DriftPolicy

__all__ = [
    "Action",
    "Acts",
    "DriftMonitor",
    "DriftPolicy",
    "DriftConfig",
]
