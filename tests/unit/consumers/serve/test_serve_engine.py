"""The engine scores as the learner does, and chooses among what is eligible."""

from __future__ import annotations

import numpy as np
import pytest

from consumers.serve.engine import Wish, mixture, recommend, similar
from consumers.serve.live import Live
from consumers.serve.state import View
from tests.unit.consumers.serve.world import COLOURS, World

CONTEXT = 5


def log_probability(view: View, live: Live, user: str, item: str, session: str | None) -> float:
    assert view.base is not None and view.items is not None
    row = view.shelf.row(item)
    assert row is not None
    history = list(live.of(user)[1])
    return float(mixture(view, view.base, view.items, history, session, CONTEXT)[row])


@pytest.mark.parametrize(("session", "asked"), [("s3", None), ("s3", "s3"), ("new", "new")])
def test_scores_are_the_learners(world: World, session: str, asked: str | None) -> None:
    world.stock()
    world.shop(rounds=4)  # ann's eight acts are more than the context
    world.learn()
    world.shop(rounds=4)
    world.learn()
    world.publish()
    with world.server() as live:
        said = log_probability(world.shown(live), live, "ann", "red-lamp", asked)
    world.act("ann", "red-lamp", session=session)
    scores = world.learn()
    assert said == pytest.approx(scores.verdicts["mixture"].log_probabilities[0], abs=1e-4)


def test_basket_matters(world: World) -> None:
    world.open()
    with world.server() as live:
        view = world.shown(live)
        same = log_probability(view, live, "ann", "red-cup", None)
        new = log_probability(view, live, "ann", "red-cup", "another")
    assert same != new


def test_tail_counts_at_once(world: World) -> None:
    world.open()
    with world.server() as live:
        before = log_probability(world.shown(live), live, "ann", "blue-plate", None)
        world.act("dan", *["red-lamp", "blue-plate"] * 5)
        world.act("ann", "red-lamp")
        after = log_probability(world.shown(live), live, "ann", "blue-plate", None)
    assert after > before


def test_wishes_are_granted(world: World) -> None:
    world.open()
    with world.server() as live:
        view = world.shown(live)
        history = live.of("ann")[1]

        def items(wish: Wish) -> list[str]:
            answer = recommend(view, history, None, wish, CONTEXT)
            assert (answer.source, answer.reason) == ("model", None)
            assert answer.scores == sorted(answer.scores, reverse=True)
            return [view.shelf.ids[row] for row in answer.rows]

        everything = items(Wish(k=20))
        assert len(everything) == 12
        assert items(Wish(k=3)) == everything[:3]
        assert items(Wish(k=20, exclude=frozenset(everything[:2]))) == everything[2:]
        assert all(item.startswith("blue") for item in items(Wish(k=20, category="blue")))
        assert len(items(Wish(k=20, category="blue"))) == 4
        assert not items(Wish(k=20, category="nothing"))
        seen = {act.item for act in history}
        assert set(items(Wish(k=20, exclude_seen=True))) == set(everything) - seen


def test_scores_are_probabilities_among_the_eligible(world: World) -> None:
    world.open()
    with world.server() as live:
        view = world.shown(live)
        for history in (live.of("ann")[1], ()):
            answer = recommend(view, history, None, Wish(k=20, category="red"), CONTEXT)
            assert sum(answer.scores) == pytest.approx(1)


def test_unknown_users_get_popular_items(world: World) -> None:
    world.stock()
    world.shop()
    world.act("eve", "green-lamp", "green-lamp", "green-lamp", "green-lamp")
    world.learn()
    world.publish()
    with world.server() as live:
        view = world.shown(live)
        answer = recommend(view, live.of("nobody")[1], None, Wish(k=3), CONTEXT)
    assert (answer.source, answer.reason) == ("popular", "unknown_user")
    assert view.shelf.ids[answer.rows[0]] == "green-lamp"


def test_before_the_first_snapshot_there_are_popular_items(world: World) -> None:
    world.stock()
    world.act("ann", "red-cup", "red-lamp", "red-cup")
    with world.server() as live:
        view = world.shown(live)
        answer = recommend(view, live.of("ann")[1], None, Wish(k=2), CONTEXT)
        assert (answer.source, answer.reason) == ("popular", "no_snapshot")
        assert [view.shelf.ids[row] for row in answer.rows] == ["red-cup", "red-lamp"]
        assert similar(view, "red-cup", Wish(k=2)).reason == "no_snapshot"


def test_similar_items_share_words(world: World) -> None:
    world.stock()
    world.learn()
    world.publish()
    with world.server() as live:
        view = world.shown(live)
        answer = similar(view, "red-cup", Wish(k=5))
    assert answer.source == "model"
    found = {view.shelf.ids[row] for row in answer.rows}
    assert "red-cup" not in found
    assert found == {"red-plate", "red-lamp", "red-candle", "blue-cup", "green-cup"}
    with pytest.raises(KeyError):
        similar(view, "never heard of", Wish(k=5))


def test_an_item_without_text_has_nothing_similar(world: World) -> None:
    world.stock()
    world.learn()
    world.publish()
    with world.server() as live:
        world.act("ann", "mystery")
        answer = similar(world.shown(live), "mystery", Wish(k=5))
    assert (answer.source, answer.reason) == ("popular", "unknown_item")


def test_new_item_is_recommended_by_its_text(world: World) -> None:
    world.stock()
    for _ in range(6):
        world.shop()
        world.learn()
    world.publish()
    with world.server() as live:
        world.shown(live)
        world.upsert("new-red-cup", "red cup", category="red")
        world.upsert("new-mute", "", category="red")
        view = world.shown(live)
        assert view.base is not None and "new-red-cup" not in view.base.rows
        assert view.items is not None
        new, old = view.shelf.row("new-red-cup"), view.shelf.row("red-cup")
        assert new is not None and old is not None
        assert np.array_equal(view.items.content[new], view.items.content[old])
        answer = similar(view, "red-cup", Wish(k=1))
        assert answer.rows == [new]
        shown = recommend(view, live.of("ann")[1], None, Wish(k=20), CONTEXT)
        assert new in shown.rows


def test_changed_text_counts_at_once(world: World) -> None:
    world.stock()
    world.learn()
    world.publish()
    with world.server() as live:
        world.shown(live)
        world.upsert("green-lamp", "red cup")
        answer = similar(world.shown(live), "red-cup", Wish(k=1))
        assert live.view is not None
        assert [live.view.shelf.ids[row] for row in answer.rows] == ["green-lamp"]
        assert answer.scores[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("learned", [True, False])
def test_unavailable_items_are_never_shown(world: World, learned: bool) -> None:
    world.stock()
    world.shop()
    if learned:
        world.learn()
        world.publish()
    with world.server() as live:
        world.remove("red-cup")
        world.upsert("red-lamp", "red lamp", category="red", available=False)
        view = world.shown(live)
        for user in ("ann", "nobody"):
            answer = recommend(view, live.of(user)[1], None, Wish(k=20), CONTEXT)
            shown = {view.shelf.ids[row] for row in answer.rows}
            assert len(shown) == 10
            assert not shown & {"red-cup", "red-lamp"}
        world.upsert("red-cup", "red cup", category=COLOURS[0])
        view = world.shown(live)
        row = view.shelf.row("red-cup")
        assert row is not None and view.shelf.available[row]
