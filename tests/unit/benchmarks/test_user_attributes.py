"""The comparison of users' attributes: both runs learn one stream, and what clubs say is planted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import user_attributes
from benchmarks.user_attributes import Carrier
from pipeline.datasets.shop.public import CLUB
from pipeline.datasets.shop.settings import Membership, ShopSettings
from pipeline.datasets.shop.shop import Shop
from pipeline.events import Interaction, Item, User
from tests.support.learners_made import keep_learners
from tests.support.model_harness import tiny_settings

SHOP = ShopSettings(events=300, users=120, items=100, arrivals=0)


def test_what_users_choose_does_not_depend_on_what_clubs_say() -> None:
    plain, tasteful, noisy = (
        list(Shop(replace(SHOP, membership=membership)).events()) for membership in Membership
    )
    chosen = [
        [(event.user, event.item) for event in events if isinstance(event, Interaction)]
        for events in (plain, tasteful, noisy)
    ]
    assert chosen[0] == chosen[1] == chosen[2]
    clubs = [
        {event.user: event.attributes[CLUB] for event in events if isinstance(event, User)}
        for events in (plain, tasteful, noisy)
    ]
    assert [len(members) for members in clubs] == [0, 120, 120] and clubs[1] != clubs[2]


def test_members_buy_of_the_category_of_their_club() -> None:
    events = list(Shop(replace(SHOP, events=2_000, membership=Membership.TASTE)).events())
    clubs = {event.user: event.attributes[CLUB] for event in events if isinstance(event, User)}
    categories = {event.item: event.category for event in events if isinstance(event, Item)}
    acts = [event for event in events if isinstance(event, Interaction)]
    own = sum(bool(categories[act.item] == clubs[act.user]) for act in acts) / len(acts)
    by_category = Counter(categories[act.item] for act in acts)
    by_chance = sum(by_category[str(club)] for club in clubs.values()) / len(clubs) / len(acts)
    assert own > 1.5 * by_chance


@pytest.mark.parametrize("carrier", [Carrier.TASTE, Carrier.NOISE])
def test_one_of_both_runs_reads_clubs(
    tmp_path: Path, backbone_folder: Path, monkeypatch: pytest.MonkeyPatch, carrier: Carrier
) -> None:
    learners = keep_learners(user_attributes, tiny_settings(tmp_path, backbone_folder), monkeypatch)
    monkeypatch.setattr(user_attributes, "SHOP", SHOP)
    report = tmp_path / "report.json"
    user_attributes.main(carrier, seeds=1, limit=300, cache=tmp_path, report=report)
    without, with_it = learners
    assert len(with_it.stream.profiles) == 120 and not without.recommender.figures()
    assert with_it.recommender.figures()[f"user's {CLUB}"].length > 0
    assert without.stream.events == with_it.stream.events == 300
    assert report.read_text().startswith("[")
