"""A learner's supervisor: calm while the catalogue is fed, and not blind to what goes wrong later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import DriftConfig, GuardConfig, SignalsConfig
from pipeline.control.records import ControlRecord, Rollback
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.monitoring.supervisor import Supervisor
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise
from tests.support.build import MINUTE, learner_config, purchase

KNOWN, USERS, BATCH, FED = 24, 40, 80, 200
"""Items that are bought, users, acts in a batch, and items that a feed adds with each."""
WORDS = ("red", "blue", "green", "cup", "plate", "lamp", "candle")
DRIFT = DriftConfig(warm_up_events=1_000)
GUARD = GuardConfig(warm_up_events=1_000, recent=8, fewest=16, reference=32)
UNCAPPED = SignalsConfig(item_cap=10**6, user_cap=10**6)


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path) -> Iterator[Learner]:
    encoder = TextEncoder(backbone, tmp_path, 8, torch.device("cpu"))
    config = learner_config(negatives=32, replay=4, replay_capacity=200)
    yield Learner(config, backbone, encoder, torch.device("cpu"), UNCAPPED)
    encoder.close()


def item(number: int) -> Item:
    return Item(item=f"i{number}", title=f"{WORDS[number % 7]} {WORDS[number // 7 % 7]}")


def acts(step: int) -> list[Interaction]:
    """Purchases along the items that are known from the beginning, each user in one basket."""
    random, numbers = np.random.default_rng(step), range(step * BATCH, (step + 1) * BATCH)
    time = 1_600_000_000_000
    jumps = random.random(BATCH) < 0.2
    items = np.where(
        jumps, random.integers(KNOWN, size=BATCH), [number // USERS % KNOWN for number in numbers]
    )
    return [
        purchase(f"u{number % USERS}", f"i{bought}", time + number * MINUTE // USERS)
        for number, bought in zip(numbers, items, strict=True)
    ]


def watch(supervisor: Supervisor, learner: Learner, steps: range, fed: int = 0) -> list[ControlRecord]:
    """Learn batches, some items with each; return the control records."""
    found = list[ControlRecord]()
    for step in steps:
        first = len(learner.stream.catalogue)
        batch = MicroBatch(0, step, [item(n) for n in range(first, first + fed)], acts(step))
        found += supervise(supervisor, learner, batch, learner.score_and_learn(batch))
    return found


@pytest.fixture
def supervisor(learner: Learner) -> Supervisor:
    """Of a learner that knows the items and has learned for a while."""
    supervisor = Supervisor(DRIFT, GUARD)
    learner.score_and_learn(MicroBatch(0, 0, [item(n) for n in range(KNOWN)], []))
    assert watch(supervisor, learner, range(1, 26)) == []
    return supervisor


def test_a_catalogue_that_is_fed_raises_no_alarm_and_orders_no_rollback(
    learner: Learner, supervisor: Supervisor
) -> None:
    assert watch(supervisor, learner, range(26, 60), fed=FED) == []
    assert len(learner.stream.catalogue) == KNOWN + 34 * FED


def test_a_mixture_that_goes_wrong_after_a_feed_is_taken_back(
    learner: Learner, supervisor: Supervisor
) -> None:
    assert watch(supervisor, learner, range(26, 30), fed=FED) == []
    assert watch(supervisor, learner, range(30, 48)) == []
    learner.mixer.weights.zero_()
    records = watch(supervisor, learner, range(48, 53))
    assert any(isinstance(record, Rollback) for record in records)
