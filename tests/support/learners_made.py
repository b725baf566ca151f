"""The learners that a benchmark makes, kept for its test, and made small."""

from __future__ import annotations

from types import ModuleType

import pytest

from pipeline.assembly import make_learner
from pipeline.config import Settings
from pipeline.training.learner import Learner


def keep_learners(benchmark: ModuleType, tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Learner]:
    """Let a benchmark make learners of its own `learn` on the tiny settings' backbone; return them all."""
    learners = list[Learner]()

    def made(settings: Settings) -> Learner:
        learners.append(make_learner(tiny.model_copy(update={"learn": settings.learn})))
        return learners[-1]

    monkeypatch.setattr(benchmark, "make_learner", made)
    return learners
