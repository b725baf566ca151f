"""Scheduled changes in the simulated shop: titles, stock, and dormant users."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.datasets import Shop, ShopSettings
from pipeline.datasets.shop import Choice
from pipeline.events import Impression, Item, User

SETTINGS = ShopSettings(seed=4, events=3_000, retitled=8, out_of_stock=12, change_every=200, slate=4)


@pytest.fixture(scope="module")
def stream() -> list[Item | User | Impression | Choice]:
    return list(Shop(SETTINGS).choices())


@pytest.fixture(scope="module")
def upserts(stream: list[Item | User | Impression | Choice]) -> list[tuple[int, Item, Item]]:
    """The changes of known items, each with the number of acts before it, the old and the new item."""
    acts, known, changed = 0, dict[str, Item](), []
    for event in stream:
        acts += isinstance(event, Choice)
        if isinstance(event, Item):
            if event.item in known:
                changed.append((acts, known[event.item], event))
            known[event.item] = event
    return changed


def test_items_get_a_new_title_one_after_another(upserts: list[tuple[int, Item, Item]]) -> None:
    retitled = [(acts, old, new) for acts, old, new in upserts if new.title != old.title]
    assert [acts for acts, _, _ in retitled] == [200 * turn for turn in range(1, 9)]
    for _, old, new in retitled:
        assert new == old.model_copy(update={"title": new.title, "time": new.time})
        assert new.time > old.time


def test_items_sell_out_one_after_another(upserts: list[tuple[int, Item, Item]]) -> None:
    sold_out = [(acts, old, new) for acts, old, new in upserts if not new.available]
    assert [acts for acts, _, _ in sold_out] == [200 * turn for turn in range(1, 13)]
    assert all(old.available and new.title == old.title for _, old, new in sold_out)
    assert len(upserts) == 20


def test_a_sold_out_item_is_neither_chosen_nor_shown(stream: list[Item | User | Impression | Choice]) -> None:
    rows, gone = dict[str, int](), set[str]()
    for event in stream:
        if isinstance(event, Item):
            rows.setdefault(event.item, len(rows))
            gone |= set() if event.available else {event.item}
        elif isinstance(event, Impression):
            assert gone.isdisjoint(event.items)
        else:
            assert event.probabilities[[rows[item] for item in gone]].sum() == 0
            assert event.probabilities.sum() == pytest.approx(1)
    assert len(gone) == 12


def test_dormant_users_stay_away_and_return() -> None:
    """Counts users who came often before; a visit in progress when the dormancy begins is finished."""
    settings = ShopSettings(
        seed=4, events=12_000, users=100, dormant=0.3, dormant_at=4_000, dormant_span=4_000
    )
    users = [event.interaction.user for event in Shop(settings).choices() if isinstance(event, Choice)]
    often = {user for user, acts in Counter(users[:4_000]).items() if acts >= 25}
    silent = often - set(users[4_100:8_000])
    assert len(silent) == pytest.approx(0.3 * len(often), rel=0.35)
    assert len(silent & set(users[8_000:])) > 0.9 * len(silent)


def test_a_shop_never_loses_all_its_users() -> None:
    settings = ShopSettings(seed=4, events=200, users=2, dormant=0.9, dormant_at=50, dormant_span=10**9)
    users = [event.interaction.user for event in Shop(settings).choices() if isinstance(event, Choice)]
    assert len(set(users[:50])) == 2
    assert len(set(users[150:])) == 1
