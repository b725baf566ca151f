"""The shop is a reproducible stream, and its stated probabilities are true."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
import pytest

from pipeline.datasets import Dataset, Shop, ShopSettings
from pipeline.datasets.shop import Choice
from pipeline.events import Event, Interaction, InteractionType, Item, ItemChange, encode

EVENTS = 6_000
ORIGINAL_DIGEST = "8eb656071070f5ca73b97410b47b49b4996c8f04b2a5301f1ce0fc0e8d350408"
"""Digest of the default shop's first 2,000 events before drift and slates were added. The stream must
not change, so that figures measured on it stay valid."""
EVERYTHING = (
    "seed=3,events=300,drift=gradual,drift_at=50,drift_span=200,"
    "dormant=0.5,dormant_at=20,dormant_span=100,retitled=4,out_of_stock=4,change_every=10,slate=5"
)
SETTINGS = ShopSettings(seed=3, events=EVENTS)


@pytest.fixture(scope="module")
def stream() -> list[Item | Choice]:
    return [event for event in Shop(SETTINGS).choices() if isinstance(event, Item | Choice)]


@pytest.fixture(scope="module")
def catalogue(stream: list[Item | Choice]) -> dict[str, Item]:
    """Items in order of arrival, like the probabilities of a Choice."""
    return {event.item: event for event in stream if isinstance(event, Item)}


@pytest.fixture(scope="module")
def choices(stream: list[Item | Choice]) -> list[Choice]:
    return [event for event in stream if isinstance(event, Choice)]


def wire_digest(events: Iterable[Event]) -> str:
    return hashlib.sha256(b"".join(encode(event) + b"\n" for event in events)).hexdigest()


def test_the_default_stream_has_not_changed() -> None:
    assert wire_digest(itertools.islice(Shop().events(), 2_000)) == ORIGINAL_DIGEST


@pytest.mark.parametrize("settings", ["seed=3,events=300", EVERYTHING])
def test_a_shop_is_a_data_set_that_can_be_played_again(settings: str) -> None:
    dataset: Dataset = Shop(ShopSettings.parse(settings))
    assert list(dataset.events()) == list(dataset.events())


@pytest.mark.parametrize("settings", ["seed=3,events=300", EVERYTHING])
def test_another_process_sees_the_same_stream(settings: str) -> None:
    program = (
        "import hashlib, sys;"
        "from pipeline.datasets import Shop, ShopSettings; from pipeline.events import encode;"
        "events = Shop(ShopSettings.parse(sys.argv[1])).events();"
        "print(hashlib.sha256(b''.join(encode(event) + b'\\n' for event in events)).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, settings],
        env={**os.environ, "PYTHONHASHSEED": "99"},
        capture_output=True,
        check=True,
    )
    assert other.stdout.decode().strip() == wire_digest(Shop(ShopSettings.parse(settings)).events())


def test_another_seed_is_another_shop() -> None:
    one, other = (Shop(ShopSettings(seed=seed, events=50)) for seed in (1, 2))
    assert one.digest != other.digest
    assert wire_digest(one.events()) != wire_digest(other.events())


def test_a_shop_that_opens_earlier_is_the_same_shop_earlier() -> None:
    def times(settings: str) -> list[int]:
        return [event.time for event in Shop(ShopSettings.parse(settings)).events()]

    later, earlier = times("events=100"), times("events=100,opening=2025-12-31")
    assert set(np.subtract(later, earlier)) == {24 * 60 * 60 * 1000}


def test_an_endless_shop_begins_like_a_finite_one() -> None:
    def acts(settings: ShopSettings) -> list[tuple[str, str, int]]:
        interactions = (event for event in Shop(settings).events() if isinstance(event, Interaction))
        return [(act.user, act.item, act.time) for act in itertools.islice(interactions, 300)]

    assert acts(ShopSettings(events=None)) == acts(ShopSettings(events=300))


@pytest.mark.parametrize("settings", [ShopSettings(users=1, events=300), ShopSettings(items=80, arrivals=0)])
def test_the_smallest_shops_work(settings: ShopSettings) -> None:
    interactions = [event for event in Shop(settings).events() if isinstance(event, Interaction)]
    assert len(interactions) == settings.events


def test_events_are_in_order_and_items_precede_their_interactions() -> None:
    time, known = 0, set()
    for event in Shop(SETTINGS).events():
        assert isinstance(event, Interaction | Item | ItemChange)
        assert event.time >= time
        time = event.time
        if isinstance(event, Item):
            known.add(event.item)
        assert event.item in known


def test_event_ids_are_unique_and_of_this_shop(choices: list[Choice]) -> None:
    ids = {choice.interaction.event_id for choice in choices}
    assert len(ids) == EVENTS
    assert {event_id.partition("-")[0] for event_id in ids} == {Shop(SETTINGS).digest[:16]}


def test_new_items_arrive_and_find_buyers(stream: list[Item | Choice], choices: list[Choice]) -> None:
    opening = SETTINGS.items - SETTINGS.arrivals
    assert all(isinstance(event, Item) for event in stream[:opening])
    arrived = [event.item for event in stream[opening:] if isinstance(event, Item)]
    assert len(arrived) == EVENTS // SETTINGS.arrival_every
    acts = Counter(choice.interaction.item for choice in choices)
    assert sum(acts[item] > 0 for item in arrived) > 0.7 * len(arrived)


def test_the_catalogue_has_texts_and_no_duplicate_titles(catalogue: dict[str, Item]) -> None:
    titles = [item.title for item in catalogue.values()]
    assert len(set(titles)) == len(titles)
    assert all(len(item.text.split()) >= 12 for item in catalogue.values())
    assert len({item.category for item in catalogue.values()}) >= 8


def test_popularity_has_a_long_tail(catalogue: dict[str, Item], choices: list[Choice]) -> None:
    counts = sorted(Counter(choice.interaction.item for choice in choices).values(), reverse=True)
    tenth = len(catalogue) // 10
    assert 0.25 < sum(counts[:tenth]) / EVENTS < 0.6
    assert len(counts) > 0.75 * len(catalogue)


def test_most_acts_are_purchases_and_half_the_views_are_followed_by_one(choices: list[Choice]) -> None:
    types = Counter(choice.interaction.type for choice in choices)
    assert types[InteractionType.PURCHASE] > 0.8 * EVENTS
    assert 0 < types[InteractionType.CART] < types[InteractionType.VIEW]
    followed = [
        one.item == two.item
        for visit in visits(choices).values()
        for one, two in itertools.pairwise(visit)
        if one.type is InteractionType.VIEW
    ]
    assert 0.4 < np.mean(followed) < 0.6


def test_a_visit_is_one_users_basket_of_about_six(choices: list[Choice]) -> None:
    sessions = visits(choices)
    assert all(len({act.user for act in visit}) == 1 for visit in sessions.values())
    assert 5 < np.mean([len(visit) for visit in sessions.values()]) < 7


def test_what_a_user_bought_before_is_bought_again(choices: list[Choice]) -> None:
    """Compares with the same number of acts of other users, at the same point in the stream."""
    bought: dict[str, set[str]] = defaultdict(set)
    own, others = 0, 0
    for one, two in itertools.pairwise(choices):
        own += one.interaction.item in bought[one.interaction.user]
        others += two.interaction.item in bought[one.interaction.user]
        bought[one.interaction.user].add(one.interaction.item)
    assert own > 2 * others > 0


@pytest.mark.parametrize("trait", ["category", "style"])
def test_tastes_matter(catalogue: dict[str, Item], choices: list[Choice], trait: str) -> None:
    """A user's favourite in the first half is chosen in the second half far above chance."""
    of = {
        item.item: item.category if trait == "category" else item.title.split()[0]
        for item in catalogue.values()
    }
    early, late = choices[: EVENTS // 2], choices[EVENTS // 2 :]
    counts: dict[str, Counter[str | None]] = defaultdict(Counter)
    for choice in early:
        counts[choice.interaction.user][of[choice.interaction.item]] += 1
    favourite = {user: count.most_common(1)[0][0] for user, count in counts.items()}
    asked = [choice.interaction for choice in late if choice.interaction.user in favourite]
    hits = np.mean([of[act.item] == favourite[act.user] for act in asked])
    share = Counter(of[act.item] for act in asked)
    chance = np.mean([share[favourite[act.user]] / len(asked) for act in asked])
    assert hits > 1.6 * chance


def test_the_stated_probabilities_are_true(catalogue: dict[str, Item], choices: list[Choice]) -> None:
    """They sum to one, and the 20 likeliest items are chosen as often as they promise."""
    index = {item: n for n, item in enumerate(catalogue)}
    promised, kept = [], []
    for act, probabilities, regime in choices:
        assert regime == 0
        assert probabilities.min() >= 0
        assert probabilities.sum() == pytest.approx(1)
        likeliest = np.argpartition(probabilities, -20)[-20:]
        promised.append(probabilities[likeliest].sum())
        kept.append(index[act.item] in likeliest)
    spread = np.sqrt(np.mean(np.multiply(promised, np.subtract(1, promised))) / EVENTS)
    assert np.mean(kept) == pytest.approx(np.mean(promised), abs=3 * spread)
    assert np.mean(kept) > 0.45


def visits(choices: list[Choice]) -> dict[str | None, list[Interaction]]:
    sessions: dict[str | None, list[Interaction]] = defaultdict(list)
    for choice in choices:
        sessions[choice.interaction.session].append(choice.interaction)
    return sessions
