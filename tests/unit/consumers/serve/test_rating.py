"""A server predicts the ratings that the learner predicts, and follows the user's own at once."""

from __future__ import annotations

import pytest

from consumers.serve.rating import predict_rating
from consumers.serve.state.current import CurrentState
from consumers.serve.state.serving_state import View
from pipeline.events import InteractionType
from tests.support.serve_harness import World

USERS = "ann", "bob", "cyd"


def rate(world: World, user: str, item: str, value: float) -> None:
    world.act(user, item, kind=InteractionType.RATING, value=value)


def open_rated(world: World) -> None:
    """Open the shop where all like red things and nobody green ones."""
    world.stock()
    for user in USERS:
        for thing in ("cup", "lamp", "plate"):
            rate(world, user, f"red-{thing}", 5.0)
            rate(world, user, f"green-{thing}", 1.5)
    world.learn()
    world.publish()


def rating(view: View, current: CurrentState, user: str, item: str) -> float:
    row = view.index.row(item)
    assert row is not None
    found = predict_rating(view, current.for_user(user)[1], row)
    assert found is not None
    return found.rating


def test_a_server_predicts_what_the_learner_does(world: World) -> None:
    open_rated(world)
    with world.server() as current:
        view = world.shown(current)
        expected = rating(view, current, "ann", "blue-cup"), rating(view, current, "new", "red-cup")
    rate(world, "ann", "blue-cup", 4.0)
    rate(world, "new", "red-cup", 4.0)
    world.learn()
    predicted = world.learner.ratings.errors.errors + 4.0
    assert predicted == pytest.approx(expected, abs=1e-5)
    assert world.learner.ratings.errors.known.tolist() == [6, 0]


def test_items_that_nobody_rated_go_by_their_text(world: World) -> None:
    open_rated(world)
    with world.server() as current:
        view = world.shown(current)
        assert rating(view, current, "new", "red-candle") > rating(view, current, "new", "green-candle")


def test_own_ratings_count_before_they_are_learned(world: World) -> None:
    open_rated(world)
    with world.server() as current:
        before = rating(world.shown(current), current, "dan", "red-cup")
        for thing in ("cup", "lamp", "plate"):
            rate(world, "dan", f"blue-{thing}", 1.0)
        assert rating(world.shown(current), current, "dan", "red-cup") < before - 0.3


def test_items_newer_than_the_snapshot_are_rated(world: World) -> None:
    open_rated(world)
    world.upsert("red-lid", "red lid")
    with world.server() as current:
        view = world.shown(current)
        assert rating(view, current, "ann", "red-lid") > 2


def test_a_server_that_swaps_goes_on_with_the_new_effects(world: World) -> None:
    open_rated(world)
    with world.server() as current:
        before = rating(world.shown(current), current, "new", "red-cup")
        for number in range(6):
            rate(world, f"u{number}", "red-cup", 0.5)
        world.learn()
        world.publish()
        after = rating(world.shown(current), current, "new", "red-cup")
    with world.server() as late:
        assert rating(world.shown(late), late, "new", "red-cup") == after < before - 0.5


def test_without_ratings_nothing_is_predicted(open_shop: World) -> None:
    with open_shop.server() as current:
        assert predict_rating(open_shop.shown(current), (), 0) is None
