"""Segments hold acts as arrays: baskets, buckets, targets, and cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import InteractionType
from pipeline.state.histories import Act
from pipeline.state.segments import (
    GAP_BUCKETS,
    NEW_BASKET_AFTER_MS,
    VALUE_BUCKETS,
    basket_numbers,
    segment_of,
    value_bucket,
)
from tests.support.build import segment

PURCHASE = InteractionType.PURCHASE


def acts(*times_and_sessions: tuple[int, str | None]) -> list[Act]:
    return [Act("cup", PURCHASE, time, None, session) for time, session in times_and_sessions]


def test_a_session_is_a_basket_however_long_the_pause() -> None:
    given_acts = acts((0, "a"), (10 * NEW_BASKET_AFTER_MS, "a"), (10 * NEW_BASKET_AFTER_MS, "b"))
    assert basket_numbers(given_acts).tolist() == [0, 0, 1]


def test_without_sessions_a_long_pause_begins_a_basket() -> None:
    given_acts = acts((0, None), (NEW_BASKET_AFTER_MS, None), (2 * NEW_BASKET_AFTER_MS + 1, None))
    assert basket_numbers(given_acts).tolist() == [0, 0, 1]


def test_a_session_that_begins_or_ends_begins_a_basket() -> None:
    assert basket_numbers(acts((0, None), (1, "a"), (2, None))).tolist() == [0, 1, 2]


def test_nothing_has_no_baskets() -> None:
    assert basket_numbers([]).size == 0


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(None, 0), (-3.0, 1), (0.0, 1), (0.5, 2), (1.0, 3), (3.0, 4), (1e300, VALUE_BUCKETS - 1)],
)
def test_values_fall_into_logarithmic_buckets(value: float | None, bucket: int) -> None:
    assert value_bucket(value) == bucket


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_larger_value_never_falls_into_a_smaller_bucket(one: float, other: float) -> None:
    smaller, larger = sorted([one, other])
    assert 1 <= value_bucket(smaller) <= value_bucket(larger) < VALUE_BUCKETS


def test_gaps_are_buckets_of_seconds_and_a_clock_that_steps_back_gives_none() -> None:
    times = [5_000, 5_000, 6_000, 9_000, 1_000, 32_503_680_000_000]
    made = segment_of([Act("cup", PURCHASE, time) for time in times], 0, lambda _: 0)
    assert made.gaps.tolist() == [0, 0, 1, 2, 0, GAP_BUCKETS - 1]


def test_acts_become_arrays() -> None:
    given_acts = [
        Act("cup", InteractionType.VIEW, 0, 3.0, "a"),
        Act("plate", InteractionType.SKIP, 1_000, None, "b"),
    ]
    made = segment_of(given_acts, 1, {"cup": 4, "plate": 2}.__getitem__)
    assert made.items.tolist() == [4, 2]
    assert made.types.tolist() == [0, 7]
    assert made.values.tolist() == [4, 0]
    assert made.gaps.tolist() == [0, 1]
    assert made.baskets.tolist() == [0, 1]
    assert made.first_new == 1


def test_the_first_act_dislikes_and_skips_are_no_targets() -> None:
    kinds = [PURCHASE, InteractionType.DISLIKE, PURCHASE, InteractionType.SKIP, InteractionType.VIEW]
    made = segment_of([Act("cup", kind, 0) for kind in kinds], 3, lambda _: 0)
    assert made.foreseeable.tolist() == [2, 4]
    assert made.targets.tolist() == [4]
    assert segment([1, 2]).targets.tolist() == [1]


@given(st.integers(1, 8), st.data())
def test_a_cut_keeps_which_acts_are_new(length: int, data: st.DataObject) -> None:
    first_new = data.draw(st.integers(0, length))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, length), st.integers(0, length))))
    made = segment(range(length), first_new).cut(start, stop)
    assert made.items.tolist() == list(range(start, stop))
    assert made.items[made.first_new :].tolist() == [item for item in range(start, stop) if item >= first_new]
    np.testing.assert_array_equal(made.types, np.full(stop - start, made.types[:1] if len(made) else 0))
