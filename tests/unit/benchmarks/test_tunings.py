"""A row of the table is a learner with the way to tune, the optimizer and the rate that its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import tunings
from benchmarks.tunings import RUNS, config_of, row_of
from pipeline.config import LearnerConfig
from pipeline.datasets import open_dataset
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner


def test_every_name_is_a_configuration() -> None:
    configs = [config_of(name, seed=3) for name in RUNS]
    assert len({repr(config) for config in configs}) == len(RUNS)
    assert {config.seed for config in configs} == {3}


def test_a_row_says_what_its_learner_keeps(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def new(cache: Path, config: LearnerConfig) -> Learner:
        cpu = torch.device("cpu")
        return Learner(config, backbone, TextEncoder(backbone, cache, 8, cpu), cpu)

    monkeypatch.setattr(tunings, "new_learner", new)
    shop = open_dataset("shop:seed=0,events=300")
    names = "lora adamw .001", "ia3 sgd .01"
    rows = [row_of(shop, 300, config_of(name, seed=0), tmp_path) for name in names]
    assert rows[0].moments > 2 * rows[0].snapshot > 2 * rows[1].snapshot >= 2 * rows[1].moments > 0
    for row in rows:
        assert row.snapshot == pytest.approx(4 * row.parameters / 1e6)
        assert 0 < row.reciprocal_rank < row.hit_rate < 1
