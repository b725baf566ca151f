"""A slate has its pins at their places, keeps its caps, and is no shorter than they make it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.events import Item
from pipeline.rules.columns import Columns
from pipeline.rules.slate import Cap, Pin, Slate, make_slate
from tests.support.rules import BareItems

BRANDS = st.lists(st.sampled_from(["x", "y", ("x", "y"), None]), min_size=5, max_size=12)
PINS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=4)
MOSTS = st.sampled_from([[1], [2], [2, 1], []])


def slate_of(
    brands: list[Any], eligible: list[bool], k: int, pins: list[tuple[int, int]], mosts: list[int]
) -> Slate:
    """Make a slate of items in the order of rows, with caps on their brands."""
    items = BareItems(
        [Item(item=str(n), title="", attributes={"brand": b} if b else {}) for n, b in enumerate(brands)]
    )
    column, everywhere = Columns(items).of("brand"), np.ones(len(brands), dtype=np.bool_)
    caps = [Cap(f"cap-{most}", most, column, everywhere) for most in mosts]
    placed = [Pin(f"pin-{n}", row, place) for n, (row, place) in enumerate(pins) if row < len(brands)]
    mask = np.array(eligible[: len(brands)])
    return make_slate(np.flatnonzero(mask), k, placed, caps)


def within(brands: list[Any], rows: list[int], mosts: list[int]) -> bool:
    counts = Counter(part for row in rows for part in brands[row] or ())  # a tuple's parts, or a letter
    return max(counts.values(), default=0) <= min(mosts, default=len(brands))


@settings(max_examples=500)
@given(
    BRANDS,
    st.lists(st.just(True) | st.booleans(), min_size=12, max_size=12),
    st.integers(2, 6),
    PINS,
    MOSTS,
)
def test_a_slate_is_the_best_that_its_rules_allow(
    brands: list[Any], eligible: list[bool], k: int, pins: list[tuple[int, int]], mosts: list[int]
) -> None:
    slate = slate_of(brands, eligible, k, pins, mosts)
    placed: dict[int, int] = {}
    for row, place in pins:
        is_free = place not in placed and row not in placed.values() and place <= k
        if row < len(brands) and eligible[row] and is_free and within(brands, [*placed.values(), row], mosts):
            placed[place] = row
    expected = list(placed.values())
    for row in range(len(brands)):
        if (
            len(expected) < k
            and eligible[row]
            and row not in expected
            and within(brands, [*expected, row], mosts)
        ):
            expected.append(row)
    others = [row for row in expected if row not in placed.values()]
    queue = iter(others)
    in_order = [placed[place] if place in placed else next(queue, None) for place in range(1, k + 1)]
    assert slate.rows == [row for row in in_order if row is not None]
    assert set(slate.pinned) == set(placed.values())


def test_the_rules_that_held_something_back_are_named() -> None:
    slate = slate_of(["x", "x", "x", "y"], [True] * 12, 3, [(3, 1)], [2, 3])
    assert slate.rows == [3, 0, 1]
    assert slate.pinned == {3: "pin-0"}
    assert slate.capped == frozenset()
    assert slate_of(["x", "x", "x", "y"], [True] * 12, 3, [], [2, 3]).capped == {"cap-2"}


def test_a_pin_beyond_the_items_comes_last() -> None:
    assert slate_of([None] * 3, [True] * 12, 5, [(0, 5)], []).rows == [1, 2, 0]


def test_a_pin_beyond_the_answer_does_nothing() -> None:
    assert slate_of([None] * 5, [True] * 12, 2, [(4, 3)], []).rows == [0, 1]
