"""Training of a retrain: masked language modelling on the catalogue, then a window of the log; resumable."""

from pipeline.retraining.training.language import LanguageResult, learn_language
from pipeline.retraining.training.retraining import (
    Retraining,
    RetrainProgress,
    RetrainResult,
    check_window,
)
from pipeline.retraining.training.validation import Validation

__all__ = [
    "LanguageResult",
    "RetrainProgress",
    "RetrainResult",
    "Retraining",
    "Validation",
    "check_window",
    "learn_language",
]
