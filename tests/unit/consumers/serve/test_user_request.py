"""A history that a request brings becomes what is known of a stranger."""

from __future__ import annotations

from consumers.serve.query import RecommendationQuery
from consumers.serve.schemas import AnonymousAct
from consumers.serve.user_request import UserRequest

NOW = 1_790_000_000_000


def items_and_times(*acts: tuple[str, int | None]) -> list[tuple[str, int]]:
    history = [AnonymousAct(item=item, time=time, value=None) for item, time in acts]
    request = UserRequest(None, None, RecommendationQuery(k=1), history)
    return [(act.item, act.time) for act in request.stranger(NOW).history]


def test_times_decide_in_which_order_a_history_is() -> None:
    oldest_first = [("mug", NOW - 9), ("cup", NOW - 5), ("lamp", NOW - 1)]
    assert items_and_times(*reversed(oldest_first)) == items_and_times(*oldest_first) == oldest_first


def test_acts_without_times_stay_where_they_are() -> None:
    assert items_and_times(("mug", None), ("cup", None)) == [("mug", NOW), ("cup", NOW)]
    assert items_and_times(("mug", None), ("cup", 5), ("lamp", None)) == [("mug", 5), ("cup", 5), ("lamp", 5)]
