"""The training core of a retrain: the catalogue's language, then a window of the log; resumable."""

from pipeline.retraining.training.language import LanguageResult, learn_language
from pipeline.retraining.training.retraining import (
    Retraining,
    RetrainProgress,
    RetrainResult,
)
from pipeline.retraining.training.validation import Validation

__all__ = [
    "LanguageResult",
    "RetrainProgress",
    "RetrainResult",
    "Retraining",
    "Validation",
    "learn_language",
]
