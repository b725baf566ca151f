"""The training core of a retrain: the catalogue's language, then a window of the log; resumable."""

from pipeline.learning.retraining.language import LanguageResult, LanguageShape, learn_language
from pipeline.learning.retraining.retraining import (
    Retraining,
    RetrainProgress,
    RetrainResult,
    RetrainShape,
)
from pipeline.learning.retraining.validation import Validation

__all__ = [
    "LanguageResult",
    "LanguageShape",
    "RetrainProgress",
    "RetrainResult",
    "RetrainShape",
    "Retraining",
    "Validation",
    "learn_language",
]
