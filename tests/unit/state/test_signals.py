"""Signals: weights with a sign, what a history says, and the caps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SignalsConfig
from pipeline.events import InteractionType
from pipeline.state.histories import Act
from pipeline.state.signals import MS_PER_HOUR, Signals, taken_back
from tests.support.build import MINUTE

T = InteractionType
DEFAULT = Signals(SignalsConfig(), history_length=200)


def acts(*said: tuple[str, T]) -> list[Act]:
    """Acts a minute apart."""
    return [Act(item, kind, MINUTE * at) for at, (item, kind) in enumerate(said)]


@pytest.mark.parametrize(
    ("kind", "value", "weight"),
    [
        (T.VIEW, None, 1),
        (T.PURCHASE, 3.0, 1),
        (T.LIKE, None, 1),
        (T.RATING, 5.0, 1),
        (T.RATING, 4.0, 0.5),
        (T.RATING, 3.0, 0),
        (T.RATING, None, 0),
        (T.RATING, 2.0, -0.5),
        (T.RATING, 0.5, -1),
        (T.RATING, 1e9, 1),
        (T.SKIP, None, -0.25),
        (T.DISLIKE, None, -1),
        (T.RETURN, None, -1),
    ],
)
def test_every_type_has_a_weight(kind: T, value: float | None, weight: float) -> None:
    assert DEFAULT.weight(Act("cup", kind, 0, value)) == weight


def test_weights_are_settings_and_multiples_of_a_64th() -> None:
    signals = Signals(SignalsConfig(view=0.1, rating_threshold=50, rating_span=50), 200)
    assert signals.weight(Act("cup", T.VIEW, 0)) == 6 / 64
    assert signals.weight(Act("cup", T.RATING, 0, 25.0)) == -0.5


def test_every_type_has_a_setting() -> None:
    assert all(isinstance(DEFAULT.weight(Act("cup", kind, 0, 5.0)), float) for kind in T)


def test_negative_acts_and_returned_purchases_are_not_among_the_acts() -> None:
    said = acts(("a", T.PURCHASE), ("b", T.DISLIKE), ("c", T.PURCHASE), ("a", T.RETURN), ("d", T.VIEW))
    reading = DEFAULT.read(said)
    assert [act.item for act in reading.acts] == ["c", "d"]
    assert reading.sources == [2, 4]
    assert [reading.until(source) for source in range(6)] == [0, 0, 0, 1, 1, 2]
    assert reading.rejections == [("b", 0, 2, 1, False), ("a", 1, 2, 1, True)]
    assert reading.rejected() == {"b": 1, "a": 1}


def test_a_later_act_on_the_item_lifts_a_rejection() -> None:
    said = acts(("a", T.DISLIKE), ("b", T.VIEW), ("a", T.VIEW), ("b", T.SKIP), ("b", T.DISLIKE))
    assert DEFAULT.read(said).rejected() == {"b": 1.25}


def test_a_return_takes_back_the_last_purchase_that_no_other_has() -> None:
    said = acts(("a", T.RETURN), ("a", T.PURCHASE), ("a", T.PURCHASE), ("a", T.RETURN), ("a", T.RETURN))
    assert taken_back(said) == {2: 3, 1: 4}
    assert taken_back(acts(("a", T.VIEW), ("a", T.RETURN))) == {}


def test_rejections_and_likes_do_not_push_each_other_out_of_the_history() -> None:
    signals = Signals(SignalsConfig(), history_length=3)
    liked = tuple(Act(f"i{at}", T.LIKE, at) for at in range(4))
    flood = tuple(Act(f"j{at}", T.SKIP, 10 + at) for at in range(50))
    rejected = Act("x", T.DISLIKE, 90)
    more = tuple(Act(f"k{at}", T.VIEW, 100 + at) for at in range(50))
    kept, left = signals.remembered((*liked, *flood, rejected, *more))
    assert kept == (*flood[-2:], rejected, *more[-3:])
    assert left == (*liked, *flood[:-2], *more[:-3])
    assert signals.remembered((*liked, *flood))[0] == (*liked[-3:], *flood[-3:])
    assert "x" in signals.read(kept).rejected()
    neutral = tuple(Act(f"n{at}", T.RATING, 200 + at, 3.0) for at in range(50))
    assert signals.remembered((*kept, *neutral))[0] == (*kept, *neutral[-3:])


def test_a_returned_purchase_leaves_the_history_with_its_return() -> None:
    """If the return left first, the purchase would count again."""
    signals = Signals(SignalsConfig(), history_length=2)
    bought, returned, *skips = acts(("x", T.PURCHASE), ("x", T.RETURN), *[("y", T.SKIP)] * 2)
    views = acts(*[("z", T.VIEW)] * 9)
    assert signals.remembered((bought, returned, *views))[0] == (bought, returned, *views[-2:])
    assert signals.remembered((bought, returned, skips[0]))[0] == (bought, returned, skips[0])
    assert signals.remembered((bought, returned, *skips))[0] == tuple(skips)


def test_one_item_counts_up_to_its_cap_and_again_when_the_first_acts_are_forgotten() -> None:
    signals = Signals(SignalsConfig(item_cap=2), history_length=16)  # looks back 12 acts
    said = acts(*[("a", T.VIEW)] * 3, *[(f"b{n}", T.VIEW) for n in range(12)], ("a", T.VIEW))
    allowed = signals.allowed(said, [1.0] * len(said))
    assert allowed == [1, 1, 0, *[1] * 12, 1]


def test_a_user_counts_up_to_the_cap_of_the_window_and_is_learned_beyond_it() -> None:
    signals = Signals(SignalsConfig(user_cap=2, user_hours=1), history_length=200)
    hour = int(MS_PER_HOUR)
    said = [Act(f"i{at}", T.VIEW, at) for at in (0, 1, 2, hour, hour + 1)]
    assert signals.allowed(said, [1.0] * 5) == [1, 1, 0, 0, 0]
    assert signals.allowed([said[0], said[1], said[4]], [1.0] * 3) == [1, 1, 1]
    assert signals.wanted(said, [1.0] * 5) == [True] * 5


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5 * MINUTE)), max_size=30),
    st.integers(1, 4),
    st.integers(1, 12),
)
def test_what_is_allowed_is_what_a_naive_sum_allows(
    said: list[tuple[str, int]], item_cap: int, user_cap: int
) -> None:
    config = SignalsConfig(item_cap=item_cap, user_cap=user_cap, user_hours=2 / 60)
    signals = Signals(config, history_length=16)
    history = [Act(item, T.VIEW, time) for item, time in sorted(said, key=lambda pair: pair[1])]
    expected = []
    for index, act in enumerate(history):
        before = history[max(0, index - signals.lookback) : index]
        of_item = sum(other.item == act.item for other in before)
        of_user = sum(other.time > act.time - 2 * MINUTE for other in before)
        expected.append(max(0.0, min(1.0, item_cap - of_item, user_cap - of_user)))
        assert signals.allowance(act, 1.0, signals.read(before)) == expected[-1]
    assert list(signals.allowed(history, [1.0] * len(history))) == expected
