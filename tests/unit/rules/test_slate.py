"""A slate has its pins at their places, keeps its caps, and is no shorter than they make it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from pipeline.events import Item
from pipeline.policy.draws import Exploration
from pipeline.policy.policies import PlackettLuce
from pipeline.rules.columns import Column, Columns
from pipeline.rules.slate import Cap, Pin, Slate, make_slate
from tests.support.rules import BareItems

BRANDS = st.lists(st.sampled_from(["x", "y", ("x", "y"), None]), min_size=5, max_size=12)
PINS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=4)
MOSTS = st.sampled_from([[1], [2], [2, 1], []])


def column_of(brands: list[Any]) -> Column:
    """The column of items' brands."""
    items = [Item(item=str(n), title="", attributes={"brand": b} if b else {}) for n, b in enumerate(brands)]
    return Columns(BareItems(items)).of("brand")


def slate_of(
    brands: list[Any], eligible: list[bool], k: int, pins: list[tuple[int, int]], mosts: list[int]
) -> Slate:
    """Make a slate of items in the order of rows, with caps on their brands."""
    column, everywhere = column_of(brands), np.ones(len(brands), dtype=np.bool_)
    caps = [Cap(f"cap-{most}", most, column, everywhere) for most in mosts]
    placed = [Pin(f"pin-{n}", row, place) for n, (row, place) in enumerate(pins) if row < len(brands)]
    mask = np.array(eligible[: len(brands)])
    return make_slate(np.flatnonzero(mask), k, placed, caps)


def drawn_slates(
    brands: list[Any], k: int, pins: dict[int, int], most: int, policy: PlackettLuce, logits: list[float]
) -> dict[tuple[int, ...], float]:
    """All slates of items, best first, with their probabilities: enumerated by the words of the docs."""

    def allowed(above: list[int]) -> list[int]:
        known = [*pins.values(), *above]
        return [n for n in range(len(brands)) if n not in known and within(brands, [*known, n], [most])]

    def shares(above: list[int]) -> dict[int, float]:
        left = [n for n in allowed(above) if n in allowed([])[: policy.pool]]
        if len(above) >= policy.explored_places or not left:
            return dict.fromkeys(allowed(above)[:1], 1.0)
        weights = np.exp(np.array([logits[n] for n in left]) / policy.temperature)
        probabilities = (1 - policy.epsilon) * weights / weights.sum() + policy.epsilon / len(left)
        return dict(zip(left, probabilities.tolist(), strict=True))

    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(k - len(pins)):
        found = {
            next_: probability * share
            for above, probability in found.items()
            for next_, share in (
                {(*above, n): p for n, p in shares([*above]).items()} or {above: 1.0}
            ).items()
        }
    return {tuple(_with_pins([*above], pins, k)): probability for above, probability in found.items()}


def _with_pins(others: list[int], pins: dict[int, int], k: int) -> list[int]:
    queue = iter(others)
    rows = (pins[place] if place in pins else next(queue, None) for place in range(1, k + 1))
    return [row for row in rows if row is not None]


BRANDED: list[Any] = ["x", "x", "y", "x", ("x", "y"), "y", None, None]


@pytest.mark.parametrize(
    ("pins", "most", "policy"),
    [
        ({}, 1, PlackettLuce(explored_places=3, pool=8, epsilon=0.2, temperature=1.0)),
        ({2: 4}, 2, PlackettLuce(explored_places=3, pool=8, epsilon=0.0, temperature=1.0)),
        ({1: 3}, 2, PlackettLuce(explored_places=2, pool=3, epsilon=0.3, temperature=0.5)),
        ({3: 7, 1: 0}, 8, PlackettLuce(explored_places=4, pool=4, epsilon=0.1, temperature=2.0)),
        ({}, 1, PlackettLuce(explored_places=4, pool=2, epsilon=0.1, temperature=1.0)),
    ],
)
def test_within_caps_and_pins_propensities_are_those_of_enumeration(
    pins: dict[int, int], most: int, policy: PlackettLuce
) -> None:
    logits, k = [2.0, 1.5, 1.5, 1.0, 0.5, 0.0, -1.0, -1.0], 4
    expected, draws = drawn_slates(BRANDED, k, pins, most, policy, logits), 10_000
    assert sum(expected.values()) == pytest.approx(1)
    column = column_of(BRANDED)
    caps, placed = [Cap("cap", most, column)], [Pin("pin", row, place) for place, row in pins.items()]
    observed: Counter[tuple[int, ...]] = Counter()
    for number in range(draws):
        sampler = Exploration(policy, f"i{number}").sampler(np.array(logits))
        slate = make_slate(np.arange(8), k, placed, caps, sampler)
        assert np.prod(slate.propensities) == pytest.approx(expected[tuple(slate.rows)])
        assert all(slate.propensity(row) == 1.0 for row in pins.values())
        observed[tuple(slate.rows)] += 1
    often = [slate for slate, probability in expected.items() if probability * draws >= 5]
    rest = draws - sum(observed[slate] for slate in often)
    found = [*(observed[slate] for slate in often), rest]
    hoped = [*(expected[slate] * draws for slate in often), 0.0]
    hoped[-1] = draws - sum(hoped)
    if hoped[-1] < 1e-6:
        assert not rest
        found, hoped = found[:-1], hoped[:-1]
    assert chisquare(found, hoped).pvalue > 0.01


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
