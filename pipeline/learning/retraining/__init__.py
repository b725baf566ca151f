"""The training core of a retrain: several epochs over a window of the log, resumable."""

from pipeline.learning.retraining.retraining import (
    Retraining,
    RetrainProgress,
    RetrainResult,
    RetrainShape,
)
from pipeline.learning.retraining.validation import Validation

__all__ = ["RetrainProgress", "RetrainResult", "RetrainShape", "Retraining", "Validation"]
