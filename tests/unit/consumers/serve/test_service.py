"""An impression stores the query of its answer; what was seen is left out however long ago it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.serve.impressions import NotRepeatable, StoredQuery
from consumers.serve.query import ALL_TYPES, NO_TYPES, RecommendationQuery
from consumers.serve.schemas import AnonymousAct
from consumers.serve.service import NotReady, RecommendationService
from consumers.serve.state.current import CurrentState
from pipeline.events import Context, Impression, InteractionType, decode, encode, validate
from pipeline.model.backbone import Backbone
from pipeline.policy.arms import GREEDY_ALONE
from tests.support.serve_harness import World

T = InteractionType
NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("query", "session", "pending_texts"),
    [
        (RecommendationQuery(1), None, 0),
        (RecommendationQuery(7, frozenset({"b", "a", 'quo"ted', "ümlaut"}), "tea & coffee"), "s 1", 3),
        (RecommendationQuery(1, category="", exclude_seen=ALL_TYPES), "s", 0),
        (RecommendationQuery(1, exclude_seen=frozenset({T.CART, T.RETURN}), hide_disliked_ms=5), "s", 0),
        (RecommendationQuery(2, owner_attribute="seller"), None, 0),
        (RecommendationQuery(2, only=frozenset({"b", "a"})), None, 0),
        (RecommendationQuery(1, diversity=0.3, most_per_category=2, exclude_shown_ms=9), None, 0),
    ],
)
def test_an_impression_stores_its_query(
    query: RecommendationQuery, session: str | None, pending_texts: int
) -> None:
    stored = StoredQuery.from_context(StoredQuery.from_query(query, session, pending_texts).context())
    assert (stored.query, stored.session, stored.pending_texts) == (query, session, pending_texts)


def test_older_impressions_store_whether_all_types_were_excluded() -> None:
    for stored, types in ((True, ALL_TYPES), (False, NO_TYPES)):
        context: Context = {"asked": "whole", "k": 5, "exclude_seen": stored}
        assert StoredQuery.from_context(context).query == RecommendationQuery(5, exclude_seen=types)


def test_too_many_exclusions_make_a_stored_query_partial() -> None:
    context = StoredQuery.from_query(
        RecommendationQuery(5, frozenset(f"item {n}" for n in range(500))), "s1", 0
    ).context()
    assert context == {"asked": "partial", "k": 5, "session": "s1"}
    with pytest.raises(NotRepeatable, match="excluded more items"):
        StoredQuery.from_context(context)


@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128), max_size=40)
)
def test_a_stored_query_is_within_the_bounds_of_an_impression(exclude: set[str]) -> None:
    context = StoredQuery.from_query(
        RecommendationQuery(5, frozenset(exclude), "c" * 256, ALL_TYPES, 10**12), "s" * 128, 10**6
    ).context()
    shown = {"impression_id": "i", "user": "u", "snapshot": "1-1", "time": 0, "items": ["a"]}
    fields = {**shown, "scores": [1.0], "offsets": {}, "context": {"source": "model", **context}}
    assert decode(Impression, encode(validate(Impression, fields))).context["k"] == 5


def test_nobody_gets_a_slate_before_the_policy_in_use_is_known(world: World) -> None:
    world.open()
    with world.server() as current:
        world.shown(current)
        service = RecommendationService(current, context=5, arms=None)
        assert not service.readiness().ready
        with pytest.raises(NotReady):
            service.for_user("ann", None, RecommendationQuery(k=5))
        service.use(GREEDY_ALONE)
        assert service.readiness().ready
        assert service.for_user("ann", None, RecommendationQuery(k=5)).items


def test_exclude_seen_reaches_back_beyond_the_history(world: World) -> None:
    world.open()

    def shown(current: CurrentState) -> set[str]:
        world.shown(current)
        service = RecommendationService(current, context=5)
        query = RecommendationQuery(k=100, exclude_seen=ALL_TYPES)
        return {shown.item for shown in service.for_user("dan", None, query).items}

    with world.server() as early:
        assert "red-cup" in shown(early)
        world.act("dan", "red-cup", *[f"other-{number}" for number in range(30)])
        assert "red-cup" not in shown(early)
        assert len(early.for_user("dan")[1]) == 20
        world.learn()
        world.publish()
        world.act("dan", *[f"another-{number}" for number in range(25)])
        expected = shown(early)
        assert not {name for name in expected if name.startswith(("other", "another", "red-cup"))}
        assert "blue-cup" in expected
        with world.server() as late:
            assert shown(late) == expected


def test_what_a_user_disliked_never_comes_again(world: World) -> None:
    """Not even when the dislike has left the history, and whatever else the user does."""
    world.open()
    query = RecommendationQuery(k=100, hide_disliked_ms=10**13)

    def shown(current: CurrentState, user: str = "ann") -> set[str]:
        world.shown(current)
        service = RecommendationService(current, context=5)
        return {shown.item for shown in service.for_user(user, None, query).items}

    with world.server() as early:
        world.act("ann", "red-cup", "red-lamp", kind=T.DISLIKE)
        assert not shown(early) & {"red-cup", "red-lamp"}
        assert {"red-cup", "red-lamp"} <= shown(early, "bob") & shown(early, "nobody")
        world.act("ann", "red-lamp", kind=T.LIKE)
        world.act("ann", "red-cup", kind=T.VIEW)
        assert {"red-lamp"} == shown(early) & {"red-cup", "red-lamp"}
        world.act("ann", *[f"bad-{number}" for number in range(30)], kind=T.DISLIKE)
        world.shown(early)
        assert "red-cup" not in {act.item for act in early.for_user("ann")[1] if act.type is T.DISLIKE}
        expected = shown(early)
        assert not {name for name in expected if name.startswith(("bad", "red-cup"))}
        assert "red-lamp" in expected
        world.learn()
        world.publish()
        with world.server() as late:
            assert shown(early) == shown(late) == expected


@pytest.mark.parametrize("types", [{T.PURCHASE}, {T.VIEW}, {T.VIEW, T.LIKE}, set(T)])
def test_exclude_seen_by_type_reaches_back_beyond_the_history(world: World, types: set[T]) -> None:
    world.open()
    query = RecommendationQuery(k=100, exclude_seen=frozenset(types))
    acts = {"red-cup": T.VIEW, "red-lamp": T.PURCHASE, "blue-cup": T.LIKE}
    with world.server() as current:
        for item, kind in acts.items():
            world.act("dan", item, kind=kind)
        for fill in (0, 30):
            world.act("dan", *["green-cup"] * fill, kind=T.CLICK)
            world.shown(current)
            found = RecommendationService(current, context=5).for_user("dan", None, query).items
            assert acts.keys() - {one.item for one in found} == {
                i for i, kind in acts.items() if kind in types
            }


def test_what_was_shown_just_now_is_not_shown_again(world: World) -> None:
    """An endless scroll repeats nothing, and begins again when the time is over."""
    world.open()
    query, clock = RecommendationQuery(k=5, exclude_shown_ms=1_000), [NOW]
    with world.server() as current:
        world.shown(current)
        service = RecommendationService(current, 5, lambda fields: None, lambda: clock[0])

        def page(user: str = "ann", asked: RecommendationQuery = query) -> list[str]:
            clock[0] += 1
            return [shown.item for shown in service.for_user(user, None, asked).items]

        everything = page("bob", RecommendationQuery(k=20))
        pages = [page() for _ in range(4)]
        assert [len(items) for items in pages] == [5, 5, 2, 0]
        assert {item for items in pages for item in items} == set(everything)
        assert page("cyd") and page(asked=RecommendationQuery(k=5)) == pages[0]
        clock[0] += 1_000
        assert page() == pages[0]


def test_nobody_is_recommended_their_own_items(world: World) -> None:
    world.open()
    world.change("red-cup", attributes={"seller": "ann"})
    world.change("red-lamp", attributes={"seller": ("bob", "ann")})
    world.change("blue-cup", attributes={"seller": "an"})
    query = RecommendationQuery(k=20, owner_attribute="seller")
    with world.server() as current:
        world.shown(current)
        service = RecommendationService(current, context=5)
        own = {"ann": {"red-cup", "red-lamp"}, "bob": {"red-lamp"}, "nobody": set()}
        for user, items in own.items():
            found = {shown.item for shown in service.for_user(user, None, query).items}
            assert len(found) == 12 - len(items) and not found & items


def test_acts_without_a_time_are_of_now(world: World) -> None:
    world.open()
    query = RecommendationQuery(k=100, hide_disliked_ms=1_000)
    with world.server() as current:
        world.shown(current)
        service = RecommendationService(current, context=5)
        for kind in (T.DISLIKE, T.VIEW):
            act = AnonymousAct.model_validate({"item": "red-cup", "type": kind})
            items = {shown.item for shown in service.for_history([act], None, query).items}
            assert ("red-cup" in items) == (kind is T.VIEW)


VIEWS = 5_000


def shares(world: World, views: int) -> dict[str, list[float]]:
    """Shares of an item for strangers after a crawler's views of it: at once, and learned."""
    world.open()
    found: dict[str, list[float]] = {}

    def ask(when: str) -> None:
        world.shown(current)
        service = RecommendationService(current, world.settings.learn.segments.context)
        for user in ("ann", "bob", "cyd", "nobody"):
            shown = service.for_user(user, None, RecommendationQuery(k=12)).items
            found.setdefault(when, []).append(next(one.score for one in shown if one.item == "green-candle"))

    with world.server() as current:
        ask("before")
        world.act("crawler", *["green-candle"] * views, kind=InteractionType.VIEW)
        ask("at once")
        world.learn()
        world.publish()
        ask("learned")
    return found


def test_a_crawlers_views_do_not_make_an_item_the_favourite_of_strangers(
    tmp_path: Path, backbone: Backbone
) -> None:
    """They weigh no more than so many as the cap on one item allows, at once to the bit."""
    with World(tmp_path / "crawled", backbone) as world:
        crawled = shares(world, VIEWS)
        cap = world.settings.signals.item_cap
    with World(tmp_path / "capped", backbone) as world:
        capped = shares(world, cap)
    assert crawled["before"] == capped["before"]
    assert crawled["at once"] == capped["at once"]
    assert crawled["learned"] == pytest.approx(capped["learned"], abs=0.01)
    assert max(crawled["learned"]) < 0.35
