"""A run with retrains equals the run without until a verdict, and differs after a promotion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import retrains
from benchmarks.retrains import StreamRun, learn_all, numbered, run_stream
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
USERS, ACTS, BATCHES, REQUESTED = 4, 12, 12, 3
WAIT, HELD_OUT, TRIAL = 2, 1, 3
VERDICT = REQUESTED + WAIT + HELD_OUT + TRIAL


def acts(number: int) -> list[Interaction]:
    """Acts of one batch: users in turn along the catalogue."""
    indices = range(ACTS * number, ACTS * (number + 1))
    return [purchase(f"u{at % USERS}", ITEMS[at // USERS % len(ITEMS)].item, MINUTE * at) for at in indices]


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Learner:
    """A new learner, and retrains that take few batches."""
    for name, batches in {
        "WAIT": WAIT,
        "HELD_OUT": HELD_OUT,
        "TRIAL": TRIAL,
        "DURATION": VERDICT - REQUESTED,
    }.items():
        monkeypatch.setattr(retrains, name, batches)
    cpu = torch.device("cpu")
    return Learner(CONFIG, backbone, TextEncoder(backbone, tmp_path / "cache", 8, cpu), cpu)


def run(learner: Learner, requests: Sequence[int], batches: int = BATCHES) -> StreamRun:
    opening = MicroBatch(0, 0, ITEMS, [])
    stream = [opening, *(MicroBatch(0, number + 1, [], acts(number)) for number in range(batches))]
    return run_stream(
        learner.another(),
        Supervisor(DriftConfig(), GuardConfig()),
        stream,
        lambda number, _: number in requests,
    )


def losses(scores: Sequence[Scores]) -> list[float]:
    return [float(np.sum(batch.by_scorer["mixture"].log_probabilities)) for batch in scores]


@pytest.mark.parametrize(("gate", "is_promoted"), [(ANYTHING_GOES, True), (NOTHING_GOES, False)])
def test_a_candidate_serves_from_its_promotion_on(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, gate: GateConfig, is_promoted: bool
) -> None:
    monkeypatch.setattr(retrains, "GateConfig", lambda: gate)
    without, retrained = run(learner, []), run(learner, [REQUESTED])

    assert [(made.requested_at, made.is_promoted) for made in retrained.retrains] == [
        (REQUESTED, is_promoted)
    ]
    assert losses(retrained.scores[:VERDICT]) == losses(without.scores[:VERDICT])
    assert (losses(retrained.scores[VERDICT:]) != losses(without.scores[VERDICT:])) is is_promoted


def test_requests_are_ignored_during_a_retrain_or_near_the_end(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrains, "GateConfig", lambda: NOTHING_GOES)

    assert [made.requested_at for made in run(learner, [REQUESTED, REQUESTED + 1, BATCHES - 1]).retrains] == [
        REQUESTED
    ]
    assert [made.requested_at for made in run(learner, [REQUESTED], VERDICT).retrains] == [REQUESTED]
    assert run(learner, [REQUESTED], VERDICT - 1).retrains == []


def test_acts_are_learned_in_numbered_batches_whatever_calls_follow_each_other(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrains, "BATCH", 5)
    steps, every = count(1), acts(0)
    learner.score_and_learn(MicroBatch(0, 0, ITEMS, []))
    batches = [*numbered(every[:7], steps), *numbered(every[7:], steps)]
    assert [(one.step, len(one.interactions)) for one in batches] == [(1, 5), (2, 2), (3, 5)]
    learn_all(learner, batches)
    assert learner.stream.events == len(every)
