"""The guard in short: a calm shop is left alone, and poison is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import guard
from benchmarks.guard import PATIENCE, Watched, figures_of, watch
from benchmarks.retrains import batches_of
from pipeline.control.records import Rollback
from pipeline.datasets import open_dataset
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner
from tests.support.build import learner_config

SHOP = "shop:seed={seed},events=8000,items=150,arrivals=10"
POISONED_AFTER = 6_000


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path) -> Learner:
    cpu = torch.device("cpu")
    return Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path / "cache", 8, cpu), cpu)


@pytest.mark.parametrize("seed", range(2))
def test_a_calm_shop_is_left_alone_and_poison_is_noticed(
    learner: Learner, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poison is in the mixer, because the mixture hardly relies on a tiny model."""
    monkeypatch.setattr(guard, "poison", lambda poisoned: poisoned.mixer.weights.zero_())
    batches = batches_of(open_dataset(SHOP.format(seed=seed)).events())
    watched = watch(learner, batches, [POISONED_AFTER])
    assert [record for record in watched.records if isinstance(record, Rollback)] == []
    noticed = watched.noticed[POISONED_AFTER]
    assert noticed is not None
    assert noticed <= PATIENCE


def test_the_figures_count_rollbacks_and_delays() -> None:
    rollback = Rollback(version="0-1", relearn=False, generation=0, ordered_at=0, reason="")
    figures = figures_of([Watched([rollback], {5: 100}), Watched([], {5: None}), Watched([], {5: 300})])
    assert figures == {
        "shops": 3,
        "rollbacks": 1,
        "poisoned_at_5": 3,
        "noticed_at_5": 2,
        "median_events_at_5": 200,
        "most_events_at_5": 300,
    }
