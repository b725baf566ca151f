"""A negative act is compared with nothing but its absence: neutral acts change no rank, dislikes do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.signals import Bench, Case, Change, Rank, Server, Source, compare
from pipeline.config import ModelConfig
from pipeline.events import Interaction, InteractionType, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, purchase

TOKENS = 8
COLOURS, THINGS = ("red", "blue", "green"), ("cup", "plate", "lamp", "candle")
ITEMS = [Item(item=f"{c}-{t}", title=f"{c} {t}") for c in COLOURS for t in THINGS]
START, USERS, ACTS = 1_700_000_000_000, 4, 12


def acts(number: int) -> list[Interaction]:
    """Acts of one batch: users in turn along the catalogue."""
    return [
        purchase(f"u{at % USERS}", ITEMS[at // USERS % len(ITEMS)].item, START + MINUTE * at)
        for at in range(ACTS * number, ACTS * (number + 1))
    ]


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path) -> Learner:
    cpu = torch.device("cpu")
    return Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path / "cache", TOKENS, cpu), cpu)


@pytest.fixture
def bench(backbone: Backbone, tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(tmp_path, backbone, ModelConfig(max_tokens=TOKENS))) as made:
        yield made


def changes(
    bench: Bench, learner: Learner, kind: InteractionType, value: float | None = None
) -> list[Change]:
    """Changes by the first act on an item, before all others of the last of three batches."""

    def choose(server: Server, _: Learner, batch: MicroBatch, random: np.random.Generator) -> list[Case]:
        assert len(server.shown("u0", 3)) == 3
        act = purchase("u3", "green-candle", batch.interactions[0].time).model_copy(
            update={"type": kind, "value": value, "event_id": "rejected"}
        )
        return [Case(kind, act, 0, ["u1", "u2"])]

    batches = [MicroBatch(1, 1, ITEMS, []), *(MicroBatch(1, 2 + n, [], acts(n)) for n in range(3))]
    return list(compare(bench, learner, Source(batches, 2, 1, choose), np.random.default_rng(0)))


def test_a_neutral_act_changes_nothing(bench: Bench, learner: Learner) -> None:
    found = changes(bench, learner, InteractionType.RATING, 3.0)
    assert [(change.who, change.when) for change in found] == [
        (who, when) for when in ("at once", "learned") for who in ("user", "stranger", "stranger", "newcomer")
    ]
    assert all(change.before == change.after for change in found)
    assert all(change.unrelated[0] == change.unrelated[1] for change in found)


def test_a_dislike_is_seen_to_lower_for_its_user_alone(bench: Bench, learner: Learner) -> None:
    found = changes(bench, learner, InteractionType.DISLIKE)
    assert [change.is_worse for change in found] == [change.who == "user" for change in found]
    assert all(change.before == change.after for change in found if change.who != "user")


def test_a_purchase_is_seen_to_raise_for_others(bench: Bench, learner: Learner) -> None:
    found = changes(bench, learner, InteractionType.PURCHASE)
    assert all(change.is_better for change in found if (change.who, change.when) == ("newcomer", "at once"))


def test_ties_have_the_middle_of_their_ranks() -> None:
    first, last = Rank(1.5, 0.4, 3), Rank(3, 0.2, 3)
    fall = Change("dislike", "user", "at once", first, last, (first, first))
    assert (fall.is_worse, fall.is_better, fall.was_last) == (True, False, False)
    assert Change("dislike", "user", "at once", last, last, (last, last)).was_last
