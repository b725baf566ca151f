"""Training of a retrain: masked language modelling on the catalogue, then a window of the log; resumable."""

from pipeline.retraining.training.language import LanguageConfig, LanguageResult, learn_language
from pipeline.retraining.training.retraining import (
    RetrainConfig,
    Retraining,
    RetrainProgress,
    RetrainResult,
)
from pipeline.retraining.training.validation import Validation

__all__ = [
    "LanguageResult",
    "LanguageConfig",
    "RetrainProgress",
    "RetrainResult",
    "RetrainConfig",
    "Retraining",
    "Validation",
    "learn_language",
]
