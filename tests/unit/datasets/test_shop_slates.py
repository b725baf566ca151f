"""Slates of the simulated shop have the stated propensities and click probabilities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.datasets import Shop, ShopSettings
from pipeline.datasets.shop import Choice
from pipeline.datasets.shop.slates import LURE, LoggingPolicy
from pipeline.events import Impression, InteractionType, Item, User

SLATE = 6
SETTINGS = ShopSettings(seed=9, events=8_000, items=400, arrivals=20, slate=SLATE)


@pytest.fixture(scope="module")
def stream() -> list[Item | User | Impression | Choice]:
    return list(Shop(SETTINGS).choices())


@pytest.fixture(scope="module")
def impressions(stream: list[Item | User | Impression | Choice]) -> dict[str, Impression]:
    return {event.impression_id: event for event in stream if isinstance(event, Impression)}


@pytest.fixture(scope="module")
def choices(stream: list[Item | User | Impression | Choice]) -> list[Choice]:
    return [event for event in stream if isinstance(event, Choice)]


def test_a_slate_has_each_item_once_with_its_propensity(
    stream: list[Item | User | Impression | Choice], impressions: dict[str, Impression]
) -> None:
    assert len(impressions) == sum(isinstance(event, Impression) for event in stream)
    for impression in impressions.values():
        assert len(set(impression.items)) == SLATE
        assert all(0 < propensity <= 1 for propensity in impression.propensities or ())
        assert impression.propensities and impression.propensities[0] == impression.scores[0]
        assert impression.pool and impression.pool >= len(impression.items)


def test_propensities_are_the_policys() -> None:
    """The mean inverse propensity of a position estimates the number of its possible items."""
    policy = LoggingPolicy(ShopSettings(items=80, arrivals=0, slate=3), "p")
    for item in np.random.default_rng(0).zipf(1.5, 500) % 80:
        policy.count(int(item))
    on_sale = np.arange(80) >= 10
    slates = [policy.show(on_sale) for _ in range(20_000)]
    assert min(slate.items.min() for slate in slates) == 10
    inverse = 1 / np.array([slate.propensities for slate in slates])
    spread = inverse.std(axis=0) / np.sqrt(len(slates))
    assert (np.abs(inverse.mean(axis=0) - [70, 69, 68]) < 3 * spread).all()


def test_a_slate_of_all_that_is_on_sale_ends_with_certainty() -> None:
    slate = LoggingPolicy(ShopSettings(items=80, arrivals=0, slate=80), "p").show(np.ones(80, dtype=np.bool_))
    assert slate.propensities[-1] == pytest.approx(1)
    assert sorted(slate.items) == list(range(80))


def test_an_act_that_names_an_impression_is_on_a_shown_item(
    choices: list[Choice], impressions: dict[str, Impression]
) -> None:
    acts = [choice.interaction for choice in choices]
    answers = [(act, impressions[act.impression]) for act in acts if act.impression]
    assert answers
    for act, impression in answers:
        assert act.item in impression.items
        assert act.user == impression.user
        assert act.time >= impression.time
    types = Counter(act.type for act, _ in answers)
    assert set(types) == {InteractionType.CLICK, InteractionType.PURCHASE}
    assert types[InteractionType.CLICK] == sum(act.type is InteractionType.CLICK for act in acts)
    assert 0.35 < types[InteractionType.PURCHASE] / types[InteractionType.CLICK] < 0.65


def test_an_impression_directly_precedes_the_act_of_its_user(
    stream: list[Item | User | Impression | Choice],
) -> None:
    for shown, then in zip(stream, stream[1:], strict=False):
        if isinstance(shown, Impression):
            assert isinstance(then, Choice)
            assert (shown.user, shown.time) == (then.interaction.user, then.interaction.time)


def test_clicks_follow_the_position_and_the_taste(stream: list[Item | User | Impression | Choice]) -> None:
    """Each position gets as many clicks as the true probabilities promise, and the top one the most."""
    rows, shown = dict[str, int](), None
    promised, clicked = np.zeros((2, SLATE)), np.zeros(SLATE)
    surplus = LURE / np.arange(1, SLATE + 1)
    for event in stream:
        if isinstance(event, Item):
            rows[event.item] = len(rows)
        elif isinstance(event, Impression):
            shown = event
        elif shown is not None:
            probabilities = event.probabilities[[rows[item] for item in shown.items]]
            chances = probabilities * surplus / (1 + surplus)
            promised += [chances, chances * (1 - chances)]
            if event.interaction.type is InteractionType.CLICK:
                clicked[shown.items.index(event.interaction.item)] += 1
            shown = None
    assert (np.abs(clicked - promised[0]) < 3.5 * np.sqrt(promised[1])).all()
    assert clicked[0] > 1.3 * clicked[1] > 1.3 * clicked[2:].mean()


def test_the_stated_probabilities_are_true_after_a_slate(
    stream: list[Item | User | Impression | Choice],
) -> None:
    promised, kept, rows = [], [], dict[str, int]()
    for event in stream:
        if isinstance(event, Item):
            rows[event.item] = len(rows)
        elif isinstance(event, Choice):
            assert event.probabilities.sum() == pytest.approx(1)
            likeliest = np.argpartition(event.probabilities, -20)[-20:]
            promised.append(event.probabilities[likeliest].sum())
            kept.append(rows[event.interaction.item] in likeliest)
    spread = np.sqrt(np.mean(np.multiply(promised, np.subtract(1, promised))) / len(kept))
    assert np.mean(kept) == pytest.approx(np.mean(promised), abs=3 * spread)
