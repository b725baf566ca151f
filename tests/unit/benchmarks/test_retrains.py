"""A life with retrains: until a verdict it is the life without, and after a promotion another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import retrains
from benchmarks.retrains import LearnerHarness, live
from pipeline.config import DriftConfig, GateConfig, GuardConfig
from pipeline.evaluation.prequential import Scores
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.monitoring.supervisor import Supervisor
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, purchase
from tests.support.retrain_harness import ANYTHING_GOES, NOTHING_GOES

CONFIG = learner_config(context=4, length=6, overlap=2)
ITEMS = [Item(item=f"{c}-{t}", title=f"{c} {t}") for c in ("red", "blue") for t in ("cup", "plate", "lamp")]
USERS, ACTS, BATCHES, ASKED = 4, 12, 12, 3
WAIT, HELD_OUT, TRIAL = 2, 1, 3
VERDICT = ASKED + WAIT + HELD_OUT + TRIAL


def acts(number: int) -> list[Interaction]:
    """Those of one batch: users in turn along the catalogue."""
    indices = range(ACTS * number, ACTS * (number + 1))
    return [purchase(f"u{at % USERS}", ITEMS[at // USERS % len(ITEMS)].item, MINUTE * at) for at in indices]


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Learner:
    """One that has seen nothing; retrains take few batches."""
    for name, batches in {
        "WAIT": WAIT,
        "HELD_OUT": HELD_OUT,
        "TRIAL": TRIAL,
        "TOOK": VERDICT - ASKED,
    }.items():
        monkeypatch.setattr(retrains, name, batches)
    cpu = torch.device("cpu")
    return Learner(CONFIG, backbone, TextEncoder(backbone, tmp_path / "cache", 8, cpu), cpu)


def lived(learner: Learner, asked: Sequence[int], batches: int = BATCHES) -> LearnerHarness:
    opening = MicroBatch(0, 0, ITEMS, [])
    stream = [opening, *(MicroBatch(0, number + 1, [], acts(number)) for number in range(batches))]
    return live(
        learner.another(), Supervisor(DriftConfig(), GuardConfig()), stream, lambda number, _: number in asked
    )


def losses(scores: Sequence[Scores]) -> list[float]:
    return [float(np.sum(said.by_scorer["mixture"].log_probabilities)) for said in scores]


@pytest.mark.parametrize(("gate", "is_promoted"), [(ANYTHING_GOES, True), (NOTHING_GOES, False)])
def test_a_candidate_serves_from_its_promotion_on(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, gate: GateConfig, is_promoted: bool
) -> None:
    monkeypatch.setattr(retrains, "GateConfig", lambda: gate)
    without, learning = lived(learner, []), lived(learner, [ASKED])

    assert [(made.asked, made.is_promoted) for made in learning.retrains] == [(ASKED, is_promoted)]
    assert losses(learning.scores[:VERDICT]) == losses(without.scores[:VERDICT])
    assert (losses(learning.scores[VERDICT:]) != losses(without.scores[VERDICT:])) is is_promoted


def test_it_is_not_asked_while_a_retrain_is_under_way_or_when_too_little_is_left(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrains, "GateConfig", lambda: NOTHING_GOES)

    assert [made.asked for made in lived(learner, [ASKED, ASKED + 1, BATCHES - 1]).retrains] == [ASKED]
    assert [made.asked for made in lived(learner, [ASKED], VERDICT).retrains] == [ASKED]
    assert lived(learner, [ASKED], VERDICT - 1).retrains == []
