"""Periods of sessions: what is tested while a state stands still, what is streamed, and how they compare."""

from __future__ import annotations

import gzip
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.diginetica import (
    SCORERS,
    Protocol,
    Variant,
    config_of,
    less_best_part,
    measured,
    period_of,
    sampled,
    whole_sessions,
)
from benchmarks.retrains import BATCH
from pipeline.events import Interaction, InteractionType
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner
from tests.support.build import learner_config

LENGTH = 4


def period(number: int, first: int, sessions: int = 100) -> list[Interaction]:
    """Sessions of neighbouring items, from an item on, which take turns."""
    acts = ((at, session) for at in range(LENGTH) for session in range(sessions))
    return [view(f"{number}-{session}", f"i{first + session % 10 + at}", at) for at, session in acts]


def view(user: str, item: str, at: int) -> Interaction:
    return Interaction(
        event_id=f"{user} {at}", user=user, item=item, type=InteractionType.VIEW, time=1000 * at, session=user
    )


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path) -> Learner:
    cpu = torch.device("cpu")
    return Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path, 8, cpu), cpu)


@pytest.mark.parametrize("epochs", [0, 1])
def test_what_recurs_is_found_and_what_was_never_known_is_left_out(learner: Learner, epochs: int) -> None:
    recorded = [period(0, 0), period(1, 0), period(2, 100)]
    frozen = measured(learner, recorded, Protocol.FROZEN, epochs)
    stream = measured(learner.another(), recorded, Protocol.STREAM, epochs)
    assert frozen.shape == stream.shape == (3, len(SCORERS), 2)
    assert np.isnan(frozen[0]).all()
    assert (frozen[1, SCORERS.index("covisitation")] > [0.9, 0.1]).all()
    assert np.isnan(frozen[2]).all()  # none of its items was known
    assert not np.isnan(stream).any()
    assert stream[0, SCORERS.index("covisitation"), 0] == 1  # the first batch knows no item
    assert learner.stream.events == 3 * 100 * LENGTH


def test_sessions_are_tested_and_learned_whole() -> None:
    events = period(0, 0)
    batches = [batch.interactions for batch in whole_sessions(events, count())]
    assert [len(batch) for batch in batches] == [BATCH, 400 - BATCH]
    assert all(
        [event.time for event in batch] == [0, 1000, 2000, 3000] * (len(batch) // 4) for batch in batches
    )
    assert sorted(event.event_id for batch in batches for event in batch) == sorted(
        e.event_id for e in events
    )


def test_a_session_of_two_periods_is_two(tmp_path: Path) -> None:
    for number in range(2):
        with gzip.open(tmp_path / f"period_{number}.txt.gz", "wt") as file:
            file.write("7 1\n8 2\n7 3\n")
    acts = [(event.user, event.session, event.item) for n in range(2) for event in period_of(tmp_path, n)]
    assert acts[:3] == [("0-7", "0-7", "1"), ("0-8", "0-8", "2"), ("0-7", "0-7", "3")]
    assert [user for user, _, _ in acts[3:]] == ["1-7", "1-8", "1-7"]


def test_a_share_has_whole_sessions_and_is_part_of_a_larger_one() -> None:
    events = period(0, 0, sessions=1000)
    third, half = ({event.user for event in sampled(events, share)} for share in (0.3, 0.5))
    assert third < half
    assert 250 < len(third) < 350
    assert len(sampled(events, 0.3)) == LENGTH * len(third)
    assert sampled(events, 1.0) == events


def test_finetuning_replays_nothing() -> None:
    assert config_of(Variant.FINETUNE, 1, exact=False).replay.segments == 0
    assert config_of(Variant.JOINT, 1, exact=False) == config_of(Variant.DEFAULT, 1, exact=False)
    assert config_of(Variant.DEFAULT, 1, exact=True).retrieval.exact_items > 43_136


def test_the_best_part_may_be_another_for_each_figure() -> None:
    found = np.array([[[0.4, 0.1], [0.3, 0.2], [0.0, 0.0], [0.5, 0.15]]])
    assert np.allclose(less_best_part(found), [[0.1, -0.05]])
