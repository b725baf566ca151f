"""The retrieval benchmark in short: candidates hold the full ranking, and what is certified equals it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import retrieval
from benchmarks.retrieval import main
from pipeline.config import LearnerConfig
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner
from tests.support.build import learner_config

SHOP = "shop:seed=1,events=1200"


@pytest.fixture
def figures(
    monkeypatch: pytest.MonkeyPatch, backbone: Backbone, tmp_path: Path, request: pytest.FixtureRequest
) -> dict[str, float]:
    def made(cache: Path, config: LearnerConfig) -> Learner:
        cpu = torch.device("cpu")
        small = learner_config(retrieval=config.retrieval)
        return Learner(small, backbone, TextEncoder(backbone, tmp_path, 8, cpu), cpu)

    monkeypatch.setattr(retrieval, "new_learner", made)
    run = partial(
        main, SHOP, events=1_024, checks=60, times=2, exact_items=0, report=tmp_path / "report.json"
    )
    run(scanned=request.param)
    found: dict[str, float] = json.loads((tmp_path / "report.json").read_text())
    return found


@pytest.mark.parametrize("figures", [2_048], indirect=True)
def test_a_small_catalogue_is_certified_and_equal(figures: dict[str, float]) -> None:
    assert figures["checked"] > 10
    assert figures["recall@20"] > 0.98
    assert figures["certified_and_equal"] > 0.5 * figures["checked"]
    assert figures["certified_and_not_equal"] == 0


@pytest.mark.parametrize("figures", [32], indirect=True)
def test_a_large_one_is_not_certified(figures: dict[str, float]) -> None:
    assert figures["certified"] == 0
    assert 0.3 < figures["recall@20"] <= 1
