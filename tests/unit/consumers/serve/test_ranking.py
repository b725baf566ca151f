"""Ranking scores as the learner does, and selects among the eligible items."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from consumers.serve.query import ALL_TYPES, RecommendationQuery
from consumers.serve.ranking import similar
from consumers.serve.state.current import CurrentState
from consumers.serve.state.serving_state import View
from pipeline.config import SignalsConfig
from pipeline.events import InteractionType
from pipeline.model.backbone import Backbone
from pipeline.model.mixer import DISCOVERY
from tests.support.answers import mixture, recommend
from tests.support.serve_harness import COLOURS, THINGS, World

CONTEXT, NOW = 5, 1_790_000_000_000
T = InteractionType
UNCAPPED = SignalsConfig(item_cap=1_000, user_cap=1_000)


def log_probability(
    view: View, current: CurrentState, user: str, item: str, session: str | None, context: int = CONTEXT
) -> float:
    row = view.index.row(item)
    assert row is not None
    history = list(current.for_user(user)[1])
    return float(mixture(view, history, session, context)[row])


@pytest.mark.parametrize("context", [3, 60])
def test_every_length_of_history_is_scored_as_the_learner_scores_it(
    tmp_path: Path, backbone: Backbone, context: int
) -> None:
    """Packed rows are wider than some histories; lengths 17 and 19 failed once."""
    lengths = range(1, 61)
    with World(tmp_path, backbone, context=context, history_length=60, signals=UNCAPPED) as world:
        world.stock()
        world.shop(rounds=4)
        for length in lengths:
            things = [f"{COLOURS[n * length % 3]}-{THINGS[n % 4]}" for n in range(length)]
            world.act(f"u{length}", *things, session="s1")
        world.learn()
        world.publish()
        with world.server() as current:
            view = world.shown(current)
            scored = [
                log_probability(view, current, f"u{length}", "red-lamp", None, context) for length in lengths
            ]
            for length in lengths:
                query = RecommendationQuery(k=3)
                assert (
                    len(
                        recommend(view, current.for_user(f"u{length}")[1], None, query, context, now=NOW).rows
                    )
                    == 3
                )
        for length in lengths:
            world.act(f"u{length}", "red-lamp", session="s1")
        scores = world.learn()
    learned = dict(zip(scores.targets.users, scores.by_scorer["mixture"].log_probabilities, strict=True))
    assert scored == pytest.approx([learned[f"u{length}"] for length in lengths], abs=1e-5)


@pytest.mark.parametrize(("session", "requested"), [("s3", None), ("s3", "s3"), ("new", "new")])
def test_scores_are_the_learners(world: World, session: str, requested: str | None) -> None:
    world.stock()
    world.shop(rounds=4)  # ann's eight acts are more than the context
    world.learn()
    world.shop(rounds=4)
    world.learn()
    world.publish()
    with world.server() as current:
        scored = log_probability(world.shown(current), current, "ann", "red-lamp", requested)
    world.act("ann", "red-lamp", session=session)
    scores = world.learn()
    assert scored == pytest.approx(scores.by_scorer["mixture"].log_probabilities[0], abs=1e-4)


def test_basket_matters(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
        same = log_probability(view, current, "ann", "red-cup", None)
        new = log_probability(view, current, "ann", "red-cup", "another")
    assert same != new


def test_tail_counts_at_once(world: World) -> None:
    world.open()
    with world.server() as current:
        before = log_probability(world.shown(current), current, "ann", "blue-plate", None)
        world.act("dan", *["red-lamp", "blue-plate"] * 5)
        world.act("ann", "red-lamp")
        after = log_probability(world.shown(current), current, "ann", "blue-plate", None)
    assert after > before


def test_queries_are_respected(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
        history = current.for_user("ann")[1]

        def items(query: RecommendationQuery) -> list[str]:
            answer = recommend(view, history, None, query, CONTEXT, now=NOW)
            assert (answer.source, answer.reason) == ("model", None if answer.rows else "nothing_eligible")
            assert answer.scores == sorted(answer.scores, reverse=True)
            return [view.index.ids[row] for row in answer.rows]

        everything = items(RecommendationQuery(k=20))
        assert len(everything) == 12
        assert items(RecommendationQuery(k=3)) == everything[:3]
        assert items(RecommendationQuery(k=20, exclude=frozenset(everything[:2]))) == everything[2:]
        assert all(item.startswith("blue") for item in items(RecommendationQuery(k=20, category="blue")))
        assert len(items(RecommendationQuery(k=20, category="blue"))) == 4
        assert not items(RecommendationQuery(k=20, category="nothing"))
        seen = {act.item for act in history}
        assert set(items(RecommendationQuery(k=20, exclude_seen=ALL_TYPES))) == set(everything) - seen


def test_a_new_basket_without_what_the_user_knows_has_weights_of_its_own(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
        assert view.snapshot is not None
        history = current.for_user("ann")[1]
        all_seen, some_seen = frozenset(act.item for act in history), frozenset([history[0].item])

        def answered(session: str | None, query: RecommendationQuery) -> list[float]:
            return recommend(view, history, session, query, CONTEXT, now=NOW).scores

        asked = [
            (session, query)
            for session in (None, "new")
            for query in (
                RecommendationQuery(20, exclude_seen=ALL_TYPES),
                RecommendationQuery(20, exclude=all_seen),
                RecommendationQuery(20, exclude=some_seen),
                RecommendationQuery(20),
            )
        ]
        before = [answered(*one) for one in asked]
        view.snapshot.mixer[DISCOVERY] = 0
        after = [answered(*one) for one in asked]
        changed = [one for one, was, found in zip(asked, before, after, strict=True) if was != found]
        assert changed == asked[4:6]
        assert after[4] == pytest.approx([1 / len(after[4])] * len(after[4]))


def test_scores_are_probabilities_among_the_eligible(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
        for history in (current.for_user("ann")[1], ()):
            answer = recommend(
                view, history, None, RecommendationQuery(k=20, category="red"), CONTEXT, now=NOW
            )
            assert sum(answer.scores) == pytest.approx(1)


@pytest.mark.parametrize("user", ["ann", "nobody"])
def test_categories_are_capped_and_the_list_is_still_full(world: World, user: str) -> None:
    world.open()
    world.upsert("lonely", "lonely thing", category=None)
    world.upsert("lonely-2", "lonely thing", category=None)
    with world.server() as current:
        view = world.shown(current)
    history = current.for_user(user)[1]
    for most in (1, 2, 3):
        for diversity in (0.0, 0.5, 1.0):
            query = RecommendationQuery(k=8, most_per_category=most, diversity=diversity)
            rows = recommend(view, history, None, query, CONTEXT, now=NOW).rows
            found = Counter(view.index.ids[row].partition("-")[0] for row in rows)
            lonely = found.pop("lonely", 0)
            assert max(found.values()) <= most
            assert sum(found.values()) + lonely == min(8, 3 * most + 2)


def test_a_diverse_answer_begins_with_the_best_item_and_is_more_diverse(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
    history = current.for_user("ann")[1]

    def rows(diversity: float) -> list[int]:
        query = RecommendationQuery(k=4, diversity=diversity)
        return recommend(view, history, None, query, CONTEXT, now=NOW).rows

    def nearness(chosen: list[int]) -> float:
        first = view.index.ids[chosen[0]]
        nearest = similar(view, first, RecommendationQuery(k=20), now=NOW)
        cosines = dict(zip(nearest.rows, nearest.scores, strict=True))
        return sum(cosines[row] for row in chosen[1:])

    plain = rows(0.0)
    assert plain == rows(1e-9)
    assert rows(1.0)[0] == plain[0]
    assert nearness(rows(1.0)) < nearness(plain)


def shares_of(view: View, current: CurrentState, user: str) -> dict[str, float]:
    """The share of each item in an answer of all items."""
    answer = recommend(view, current.for_user(user)[1], None, RecommendationQuery(k=20), CONTEXT, now=NOW)
    return dict(zip((view.index.ids[row] for row in answer.rows), answer.scores, strict=True))


@pytest.mark.parametrize("kind", [T.DISLIKE, T.SKIP, T.RATING])
def test_a_flood_of_rejections_lowers_one_item_and_leaves_the_others_as_they_were(
    world: World, kind: T
) -> None:
    """The flood is longer than the history; what the user likes stays in it."""
    world.open()
    with world.server() as current:
        view = world.shown(current)
        before, *strangers = (shares_of(view, current, user) for user in ("ann", "bob", "nobody"))
        world.act("ann", *["green-lamp"] * 50, kind=kind, value=1.0)
        view = world.shown(current)
        after, *others = (shares_of(view, current, user) for user in ("ann", "bob", "nobody"))
    assert others == strangers
    assert after.pop("green-lamp") < before.pop("green-lamp")
    ratios = [after[item] / before[item] for item in before]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_a_return_raises_its_item_for_nobody(world: World) -> None:
    world.upsert("green-bag", "green bag", category="green")
    world.open()
    world.act("dan", "green-bag", "green-cup", "blue-cup")
    world.act("ann", "green-bag")
    world.learn()
    world.publish()
    users = "ann", "bob", "cyd", "nobody"
    with world.server() as current:
        view = world.shown(current)
        before = {user: shares_of(view, current, user)["green-bag"] for user in users}
        world.act("ann", "green-bag", kind=T.RETURN)
        view = world.shown(current)
        after = {user: shares_of(view, current, user)["green-bag"] for user in users}
    assert all(after[user] <= before[user] * (1 + 1e-9) for user in users)
    assert all(after[user] < before[user] for user in ("ann", "nobody"))


def test_unknown_users_get_popular_items(world: World) -> None:
    world.stock()
    world.shop()
    world.act("eve", "green-lamp", "green-lamp", "green-lamp", "green-lamp")
    world.learn()
    world.publish()
    with world.server() as current:
        view = world.shown(current)
        answer = recommend(
            view, current.for_user("nobody")[1], None, RecommendationQuery(k=3), CONTEXT, now=NOW
        )
    assert (answer.source, answer.reason) == ("popular", "unknown_user")
    assert view.index.ids[answer.rows[0]] == "green-lamp"


def test_before_the_first_snapshot_there_are_popular_items(world: World) -> None:
    world.stock()
    world.act("ann", "red-cup", "red-lamp", "red-cup")
    with world.server() as current:
        view = world.shown(current)
        answer = recommend(view, current.for_user("ann")[1], None, RecommendationQuery(k=2), CONTEXT, now=NOW)
        assert (answer.source, answer.reason) == ("popular", "no_snapshot")
        assert [view.index.ids[row] for row in answer.rows] == ["red-cup", "red-lamp"]
        assert similar(view, "red-cup", RecommendationQuery(k=2), now=NOW).reason == "no_snapshot"


def test_similar_items_share_words(world: World) -> None:
    world.stock()
    world.learn()
    world.publish()
    with world.server() as current:
        view = world.shown(current)
        answer = similar(view, "red-cup", RecommendationQuery(k=5), now=NOW)
    assert answer.source == "model"
    found = {view.index.ids[row] for row in answer.rows}
    assert "red-cup" not in found
    assert found == {"red-plate", "red-lamp", "red-candle", "blue-cup", "green-cup"}
    with pytest.raises(KeyError):
        similar(view, "never heard of", RecommendationQuery(k=5), now=NOW)


def test_an_item_without_text_has_nothing_similar(world: World) -> None:
    world.stock()
    world.learn()
    world.publish()
    with world.server() as current:
        world.act("ann", "mystery")
        answer = similar(world.shown(current), "mystery", RecommendationQuery(k=5), now=NOW)
    assert (answer.source, answer.reason) == ("popular", "unknown_item")


def test_new_item_is_recommended_by_its_text(world: World) -> None:
    world.stock()
    for _ in range(6):
        world.shop()
        world.learn()
    world.publish()
    with world.server() as current:
        world.shown(current)
        world.upsert("new-red-cup", "red cup", category="red")
        world.upsert("new-mute", "", category="red")
        view = world.shown(current)
        assert view.snapshot is not None and "new-red-cup" not in view.snapshot.rows
        assert view.items is not None
        new, old = view.index.row("new-red-cup"), view.index.row("red-cup")
        assert new is not None and old is not None
        assert np.array_equal(view.items.dense.content[new], view.items.dense.content[old])
        answer = similar(view, "red-cup", RecommendationQuery(k=1), now=NOW)
        assert answer.rows == [new]
        shown = recommend(view, current.for_user("ann")[1], None, RecommendationQuery(k=20), CONTEXT, now=NOW)
        assert new in shown.rows


def test_changed_text_counts_at_once(world: World) -> None:
    world.stock()
    world.learn()
    world.publish()
    with world.server() as current:
        world.shown(current)
        world.upsert("green-lamp", "red cup")
        answer = similar(world.shown(current), "red-cup", RecommendationQuery(k=1), now=NOW)
        assert current.view is not None
        assert [current.view.index.ids[row] for row in answer.rows] == ["green-lamp"]
        assert answer.scores[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("learned", [True, False])
def test_unavailable_items_are_never_shown(world: World, learned: bool) -> None:
    world.stock()
    world.shop()
    if learned:
        world.learn()
        world.publish()
    with world.server() as current:
        world.remove("red-cup")
        world.upsert("red-lamp", "red lamp", category="red", available=False)
        view = world.shown(current)
        for user in ("ann", "nobody"):
            answer = recommend(
                view, current.for_user(user)[1], None, RecommendationQuery(k=20), CONTEXT, now=NOW
            )
            shown = {view.index.ids[row] for row in answer.rows}
            assert len(shown) == 10
            assert not shown & {"red-cup", "red-lamp"}
        world.upsert("red-cup", "red cup", category=COLOURS[0])
        view = world.shown(current)
        row = view.index.row("red-cup")
        assert row is not None and view.index.available[row]


@pytest.mark.parametrize("learned", [True, False])
def test_items_are_shown_while_they_are_on_sale_and_at_no_other_time(world: World, learned: bool) -> None:
    world.stock()
    world.shop()
    if learned:
        world.learn()
        world.publish()
    with world.server() as current:
        world.change("red-cup", published=NOW, expires=NOW + 10)
        view = world.shown(current)
        query = RecommendationQuery(k=20)

        def shown_at(now: int) -> list[bool]:
            answers = [
                *(
                    recommend(view, current.for_user(u)[1], None, query, CONTEXT, now=now)
                    for u in ("ann", "x")
                ),
                similar(view, "red-lamp", query, now=now),
            ]
            return ["red-cup" in {view.index.ids[row] for row in answer.rows} for answer in answers]

        for now in (0, NOW - 1, NOW + 10, NOW + 1_000):
            assert not any(shown_at(now)), now
        assert all(shown_at(NOW))
        assert all(shown_at(NOW + 9))
