"""Refolding keeps the counts of the window and reduces those of the past, if that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import ModelSizes, SignalsConfig, StreamConfig
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.retraining.training.refolding import refold, refold_if_better
from pipeline.retraining.training.window import upcoming_segments
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, matrix_of, purchase

EVER = 1e12
"""A half-life, in events, that causes no decay."""
CONFIG = learner_config(
    context=20,
    length=32,
    overlap=10,
    replay=0,
    sizes=ModelSizes(adapter_rank=2),
    stream=StreamConfig(covisitation_half_life=EVER, popularity_half_life=EVER),
)
UNCAPPED = SignalsConfig(item_cap=1_000, user_cap=1_000)
"""Three users act on the same six items again and again."""
ITEMS = [Item(item=name, title=name) for name in ("cup", "plate", "lamp", "clock", "bag", "candle")]
Make = Callable[[Iterable[Interaction]], Learner]


@pytest.fixture
def make(backbone: Backbone, tmp_path: Path) -> Iterator[Make]:
    """Make learners that have folded some interactions, batch by batch."""
    encoder = TextEncoder(backbone, tmp_path, 8, torch.device("cpu"))

    def made(events: Iterable[Interaction]) -> Learner:
        learner = Learner(CONFIG, backbone, encoder, torch.device("cpu"), UNCAPPED)
        learner.score_and_learn(MicroBatch(0, 0, ITEMS, []))
        interactions = list(events)
        for step, start in enumerate(range(0, len(interactions), 30)):
            learner.score_and_learn(
                MicroBatch(0, step + 1, [], interactions[start : start + 30], learns=False)
            )
        return learner

    yield made
    encoder.close()


def rounds(start: int, amount: int, step: int) -> list[Interaction]:
    """Let three users walk round the catalogue, `step` places at a time."""
    return [
        purchase(f"u{n % 3}", ITEMS[(n % 3 + step * (n // 3)) % len(ITEMS)].item, MINUTE * n)
        for n in range(start, start + amount)
    ]


def pairs(learner: Learner) -> np.ndarray:
    counted: np.ndarray = matrix_of(learner.stream.covisitation.counts)
    return counted


def test_the_past_counts_less_and_the_window_as_before(make: Make) -> None:
    events = rounds(0, 90, step=1)
    before, after = make(events[:60]), make(events)
    window = events[60:]
    pairs_before, pairs_after = pairs(before), pairs(after)
    counts_before = before.stream.popularity.counts
    counted = after.stream.popularity.counts

    refold(after.stream, window, past=0.25)

    assert pairs(after) == pytest.approx(pairs_after - 0.75 * pairs_before)
    decayed = counted - 0.75 * counts_before
    assert after.stream.popularity.counts == pytest.approx(decayed * (counted.sum() / decayed.sum()))


def test_the_state_is_refolded_if_users_have_changed_their_habits(make: Make) -> None:
    old, new = rounds(0, 240, step=1), rounds(240, 90, step=4)
    learner = make([*old, *new[:60]])
    before = pairs(learner)
    held_out = upcoming_segments(new[60:], learner.stream, CONFIG.segments)
    assert refold_if_better(learner, new[:60], held_out, past=0.1)
    assert pairs(learner).sum() < 0.5 * before.sum()


def test_the_state_is_unchanged_if_the_past_helps(make: Make) -> None:
    # The window is a digression; the held-out acts follow the old habits.
    old, odd, back = rounds(0, 240, step=1), rounds(240, 30, step=4), rounds(270, 60, step=1)
    learner = make([*old, *odd])
    before, popularity = pairs(learner), learner.stream.popularity.counts.copy()
    held_out = upcoming_segments(back, learner.stream, CONFIG.segments)
    assert not refold_if_better(learner, odd, held_out, past=0.1)
    assert np.array_equal(pairs(learner), before)
    assert np.array_equal(learner.stream.popularity.counts, popularity)
