"""Segments hold acts as arrays: baskets, buckets, targets, and cuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SignalsConfig
from pipeline.events import InteractionType
from pipeline.state.histories import Act
from pipeline.state.segments import (
    COLUMNS,
    GAP_BUCKETS,
    NEW_BASKET_AFTER_MS,
    TYPES,
    VALUE_BUCKETS,
    Segment,
    basket_numbers,
    segments_before_next,
    segments_of,
    value_bucket,
)
from pipeline.state.signals import Signals
from tests.support.build import segment

PURCHASE = InteractionType.PURCHASE
FROM_THE_BEGINNING = np.zeros(1, dtype=np.int64)


def acts(*times_and_sessions: tuple[int, str | None]) -> list[Act]:
    return [Act("cup", PURCHASE, time, None, session) for time, session in times_and_sessions]


def converted(given_acts: list[Act], history: int) -> Segment:
    """Convert acts, so many of them old, under the default settings."""
    signals = Signals(SignalsConfig(), history_length=200)
    reading = signals.read(given_acts)
    (found,) = segments_of([reading], [reading.until(history)], signals, {"cup": 4, "plate": 2}.__getitem__)
    return found


def test_a_session_is_a_basket_however_long_the_pause() -> None:
    given_acts = acts((0, "a"), (10 * NEW_BASKET_AFTER_MS, "a"), (10 * NEW_BASKET_AFTER_MS, "b"))
    assert basket_numbers(given_acts, FROM_THE_BEGINNING).tolist() == [0, 0, 1]


def test_without_sessions_a_long_pause_begins_a_basket() -> None:
    given_acts = acts((0, None), (NEW_BASKET_AFTER_MS, None), (2 * NEW_BASKET_AFTER_MS + 1, None))
    assert basket_numbers(given_acts, FROM_THE_BEGINNING).tolist() == [0, 0, 1]


def test_a_session_that_begins_or_ends_begins_a_basket() -> None:
    assert basket_numbers(acts((0, None), (1, "a"), (2, None)), FROM_THE_BEGINNING).tolist() == [0, 1, 2]


def test_nothing_has_no_baskets() -> None:
    assert basket_numbers([], FROM_THE_BEGINNING).size == 0


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
    made = converted([Act("cup", PURCHASE, time) for time in times], 0)
    assert made.gaps.tolist() == [0, 0, 1, 2, 0, GAP_BUCKETS - 1]


def test_acts_become_arrays() -> None:
    given_acts = [
        Act("cup", InteractionType.VIEW, 0, 3.0, "a"),
        Act("plate", InteractionType.LIKE, 1_000, None, "b"),
    ]
    made = converted(given_acts, 1)
    assert made.items.tolist() == [4, 2]
    assert made.types.tolist() == [0, 5]
    assert made.values.tolist() == [4, 0]
    assert made.gaps.tolist() == [0, 1]
    assert made.baskets.tolist() == [0, 1]
    assert made.first_new == 1


def test_the_first_act_is_no_target_and_dislikes_and_skips_are_not_among_the_acts() -> None:
    kinds = [PURCHASE, InteractionType.DISLIKE, PURCHASE, InteractionType.SKIP, InteractionType.VIEW]
    made = converted([Act("cup", kind, 0) for kind in kinds], 3)
    assert [TYPES[number] for number in made.types] == [PURCHASE, PURCHASE, InteractionType.VIEW]
    assert made.foreseeable.tolist() == [1, 2]
    assert made.targets.tolist() == [2]
    assert segment([1, 2]).targets.tolist() == [1]


def test_rejections_are_known_from_the_next_act_on_and_lifted_by_an_act_on_the_item() -> None:
    kinds = [PURCHASE, InteractionType.DISLIKE, PURCHASE, InteractionType.SKIP]
    rejections = converted([Act("cup", kind, 0) for kind in kinds], 3).rejections
    assert rejections.items.tolist() == [4, 4]
    assert rejections.since.tolist() == [1, 2]
    assert rejections.until.tolist() == [1, 2]
    assert rejections.strength.tolist() == [1, 0.25]


def test_acts_beyond_a_cap_are_read_but_no_targets() -> None:
    made = converted([Act("cup", PURCHASE, time) for time in range(10)], 0)
    assert len(made) == 10
    assert made.foreseeable.tolist() == list(range(1, SignalsConfig().item_cap))


def test_the_stored_numbers_of_types_never_change() -> None:
    names = "view click cart purchase rating like dislike skip return"
    assert [kind.value for kind in TYPES] == names.split()


@given(st.integers(1, 8), st.data())
def test_a_cut_keeps_which_acts_are_new(length: int, data: st.DataObject) -> None:
    first_new = data.draw(st.integers(0, length))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, length), st.integers(0, length))))
    made = segment(range(length), first_new).cut(start, stop)
    assert made.items.tolist() == list(range(start, stop))
    assert made.items[made.first_new :].tolist() == [item for item in range(start, stop) if item >= first_new]
    np.testing.assert_array_equal(made.types, np.full(stop - start, made.types[:1] if len(made) else 0))


def test_baskets_are_numbered_for_each_user() -> None:
    given_acts = acts((0, "a"), (1, "b"), (2, "b"), (3, "c"))
    assert basket_numbers(given_acts, np.array([0, 2, 4])).tolist() == [0, 1, 0, 1]


def test_histories_at_once_are_those_of_each_alone() -> None:
    signals, row = Signals(SignalsConfig(), history_length=200), {"cup": 4}.__getitem__
    histories = [acts((0, "a"), (5_000, "b")), acts(), acts((9_000, None), (19_000, None)), acts()]
    readings = [signals.read(history) for history in histories]
    together = segments_of(readings, [1, 0, 0, 0], signals, row)
    alone = [
        segments_of([one], [first], signals, row)[0]
        for one, first in zip(readings, [1, 0, 0, 0], strict=True)
    ]
    assert_same(together, alone)


def test_what_comes_next_is_a_last_and_new_act_that_may_be_a_target() -> None:
    signals, row = Signals(SignalsConfig(), history_length=200), {"cup": 4}.__getitem__
    histories = [acts((0, "a"), (5_000, "b")), acts(), acts((9_000, None))]
    coming = acts((6_000, "b"), (7_000, None), (9_000, "c"))
    together = segments_before_next(list(map(signals.read, histories)), coming, signals, row)
    whole = [signals.read([*history, act]) for history, act in zip(histories, coming, strict=True)]
    assert_same(together, segments_of(whole, [2, 0, 1], signals, row))
    assert [segment.targets.tolist() for segment in together] == [[2], [], [1]]


def test_an_act_that_is_not_known_to_count_is_a_target_when_it_comes_next() -> None:
    signals, row = Signals(SignalsConfig(), history_length=200), {"cup": 4}.__getitem__
    busy = signals.read([Act("cup", PURCHASE, time) for time in range(10)])
    (found,) = segments_before_next([busy], [Act("cup", PURCHASE, 11)], signals, row)
    assert found.targets.tolist() == [10]


def assert_same(found: Sequence[Segment], expected: Sequence[Segment]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.first_new == other.first_new
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
