"""The memory benchmark in short: it samples as it learns, and knows both kinds of events."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from benchmarks.memory import main
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner
from tests.support.build import learner_config


@pytest.fixture(autouse=True)
def tiny(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    learner = Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path / "cache", 8, cpu), cpu)
    monkeypatch.setattr("benchmarks.memory.new_learner", lambda cache: learner)


def samples_of(report: Path, data: Path | None = None, events: int = 1_000) -> list[dict[str, float]]:
    main(data, events, users=5, items=30, every=256, report=report)
    samples: list[dict[str, float]] = json.loads(report.read_text())
    return samples


def test_simulated_events_know_all_items_early_and_no_more(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "report.json")
    assert [sample["events"] for sample in samples] == [256, 512, 768]
    assert {sample["items"] for sample in samples} == {30}
    assert all(sample["resident"] > 0 and sample["speed"] > 0 for sample in samples)


def test_recorded_events_are_those_of_all_periods_in_order(tmp_path: Path) -> None:
    for period in range(12):
        with gzip.open(tmp_path / f"period_{period}.txt.gz", "wt") as lines:
            lines.writelines(f"{period * 50 + act // 2} {period * 50 + act}\n" for act in range(50))
    samples = samples_of(tmp_path / "report.json", data=tmp_path, events=600)
    assert [sample["items"] for sample in samples] == [256, 512]
