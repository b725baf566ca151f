"""What is known of earlier periods: held-out sessions, periods that leave and return, and joint training."""

from __future__ import annotations

import gzip
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.transfer import (
    FIGURES,
    Period,
    Stream,
    files_stream,
    joint,
    shop_stream,
    transfer,
)
from pipeline.events import Interaction, InteractionType, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner
from tests.support.build import learner_config

HITS = FIGURES.index("mixture hr@20")


def session(user: str, first: int) -> list[Interaction]:
    """Four acts on neighbouring items, from an item on."""
    return [
        Interaction(
            event_id=f"{user} {at}",
            user=user,
            item=f"i{first + at}",
            type=InteractionType.VIEW,
            time=1000 * at,
        )
        for at in range(4)
    ]


def period(number: int, first: int) -> Period:
    sessions = [session(f"{number}-{user}", first + 5 * (user % 4)) for user in range(80)]
    return Period(sessions[8:], sessions[:8])


def stream(*firsts: int) -> Stream:
    items = [Item(item=f"i{number}", title="") for number in range(300)]
    return Stream(items, [period(number, first) for number, first in enumerate(firsts)])


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path) -> Learner:
    cpu = torch.device("cpu")
    return Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path, 8, cpu), cpu)


def test_what_was_learned_helps_a_period_that_is_like_it_and_no_other(learner: Learner) -> None:
    found = transfer(learner, stream(0, 0, 150))
    assert (found["by period"][:, HITS] > 0.9).all()
    ahead = transfer(learner.another(), stream(0, 0))["forward"][HITS]
    assert ahead > 0.5 > transfer(learner.another(), stream(0, 150))["forward"][HITS]
    assert learner.stream.events == 3 * 72 * 4  # what is held out was never learned


def test_transfer_is_measured_from_the_time_when_a_period_was_learned(learner: Learner) -> None:
    found = transfer(learner, stream(0, 150))
    assert found["backward"] == pytest.approx(found["regime"])
    assert found["at the end"] == pytest.approx(found["by period"].mean(axis=0))
    once = transfer(learner.another(), stream(0, 150, 200))
    assert once["regime"] == pytest.approx(found["regime"])
    assert once["backward"] != pytest.approx(found["backward"])


def test_joint_training_learns_the_same_acts_in_another_order(learner: Learner) -> None:
    found = joint(learner, stream(0, 150), seed=0)
    assert (found["by period"][:, HITS] > 0.9).all()
    assert learner.stream.events == 2 * 72 * 4
    other = joint(learner.another(), stream(0, 150), seed=1)
    assert not np.array_equal(found["by period"], other["by period"])


def test_the_shop_is_cut_where_its_regime_changes() -> None:
    shop = shop_stream(periods=3, span=400, seed=0)
    sessions = [[*one.learned, *one.held_out] for one in shop.periods]
    assert [len(list(chain.from_iterable(own))) for own in sessions] == [400] * 3
    assert len(shop.items) > 1_000
    users = [act.user for act in chain.from_iterable(chain.from_iterable(sessions))]
    assert {user.partition("-")[0] for user in users} == {"0", "1", "2"}
    assert all(one.held_out and len(one.held_out) < len(one.learned) for one in shop.periods)


def test_a_share_of_the_sessions_of_files_is_used(tmp_path: Path) -> None:
    for number in range(2):
        lines = "".join(f"{user} {item}\n" for item in range(3) for user in range(200))
        (tmp_path / f"period_{number}.txt.gz").write_bytes(gzip.compress(lines.encode()))
    found = files_stream(tmp_path, periods=2, share=0.5, seed=0)
    sessions = [session for one in found.periods for session in (*one.learned, *one.held_out)]
    assert 150 < len(sessions) < 250
    assert all([act.item for act in session] == ["0", "1", "2"] for session in sessions)
    assert {item.item for item in found.items} == {"0", "1", "2"}
