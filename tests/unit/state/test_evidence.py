"""Evidence equals the result of a naive loop over targets and the acts before them."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.events import Item
from pipeline.state.evidence import (
    BEFORE,
    BESIDE_SCALE,
    FACTS,
    FADING,
    LATEST,
    NEARNESS,
    REACH,
    RELATED_SCALE,
    REPEAT_SCALE,
    evidence,
    returned,
)
from pipeline.state.related_items import NO_RELATED_ROWS, RelatedItems, RelatedRows
from pipeline.state.segments import Rejections, Segment
from tests.support.build import segment

SIZE = 5


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    items = draw(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=10))
    opens = draw(st.lists(st.integers(0, 1), min_size=len(items), max_size=len(items)))
    baskets = list(itertools.accumulate([0, *opens[1:]]))
    made = segment(items, draw(st.integers(0, len(items))), baskets)
    rows = st.integers(0, len(items))
    strengths = st.sampled_from([0.25, 1])
    found = draw(st.lists(st.tuples(st.integers(0, SIZE - 1), rows, rows, strengths, st.booleans())))
    if not found:
        return made
    return replace(made, rejections=Rejections(*(np.array(column) for column in zip(*found, strict=True))))


def related_rows(named: dict[int, tuple[str, ...]]) -> RelatedRows:
    """Items whose ids are their rows' numbers, and whom each names."""
    related = RelatedItems((), ("near",))
    for row, others in named.items():
        related.put(str(row), Item(item=str(row), title="cup", attributes={"near": others}))
    return RelatedRows(related, [str(row) for row in range(SIZE)], {str(row): row for row in range(SIZE)}.get)


RELATED = related_rows({0: ("1", "3"), 2: ("3", "unknown")})
PARTNERS = {0: [1, 3], 1: [0], 2: [3], 3: [0, 2], 4: []}
"""Whom `RELATED` relates to each row."""


def naive(one: Segment, target: int) -> NDArray[np.float64]:
    """The facts of one target for every item, ``[facts, size]``."""
    facts = np.zeros((len(FACTS), SIZE))
    for act in range(target):
        item, passed = one.items[act], one.baskets[target] - one.baskets[act]
        if passed:
            facts[0, item] += FADING ** (passed - 1)
        else:
            facts[1, item] = 1
            facts[6, item] = min(1, facts[6, item] + 1 / max(1, target - 1 - act))
        if act and one.items[act - 1] == one.items[target - 1]:
            facts[2, item] = 1
    facts[3] = np.log1p(BESIDE_SCALE * beside(one.items, target))
    facts[0] = np.log1p(REPEAT_SCALE * facts[0])
    rejected = one.rejections
    for item, since, until, strength, _ in zip(*rejected, strict=True):
        if since <= target <= until:
            facts[4, item] += strength
    facts[4] = np.log2(1 + facts[4])
    for since in range(min(LATEST, target)):
        facts[5, PARTNERS[int(one.items[target - 1 - since])]] += NEARNESS[since]
    facts[5] = np.log1p(RELATED_SCALE * facts[5])
    return facts


def beside(items: NDArray[np.int64], target: int) -> NDArray[np.float64]:
    """How closely each item stood beside earlier acts on the items of the latest acts, ``[size]``."""
    found = np.zeros(SIZE)
    for since in range(min(LATEST, target)):
        latest = target - 1 - since
        for act in range(latest):
            if items[act] != items[latest]:
                continue
            for distance in range(1, REACH + 1):
                nearness = NEARNESS[since] * NEARNESS[distance - 1]
                if act + distance < target:
                    found[items[act + distance]] += nearness
                if act >= distance:
                    found[items[act - distance]] += BEFORE * nearness
    return found


def dense(parts: list[Segment], targets: int, related: RelatedRows = NO_RELATED_ROWS) -> NDArray[np.float32]:
    """All facts, including zeros, ``[facts, targets, size]``; checks that each is given once."""
    indices, values = evidence(parts, SIZE, related)
    assert np.unique(indices, axis=1).shape == indices.shape
    assert (np.diff(indices[1]) >= 0).all()
    facts = np.zeros((len(FACTS), targets, SIZE), dtype=values.dtype)
    facts[tuple(indices)] = values
    assert facts.dtype == np.float32
    return facts


@given(st.lists(segments(), min_size=1, max_size=4))
def test_it_equals_a_naive_loop(parts: list[Segment]) -> None:
    expected = [naive(one, target) for one in parts for target in one.targets]
    actual = dense(parts, len(expected), RELATED)
    for target, facts in enumerate(expected):
        np.testing.assert_allclose(actual[:, target], facts, rtol=1e-5)


def test_by_hand() -> None:
    """Baskets 0 1 | 0 2, then any item: 2 is the last item, and nothing has followed it before."""
    one = segment([0, 1, 0, 2, 3], first_new=3, baskets=[0, 0, 1, 1, 1])
    repeat, in_basket, followed, beside, rejected, related, recent = dense([one], targets=2)
    assert not rejected.any() and not related.any()
    once = math.log1p(REPEAT_SCALE)
    np.testing.assert_allclose(repeat, [[once, once, 0, 0, 0]] * 2, rtol=1e-6)
    assert in_basket.tolist() == [[1, 0, 0, 0, 0], [1, 0, 1, 0, 0]]
    assert recent.tolist() == in_basket.tolist()
    np.testing.assert_allclose(beside[0], np.log1p(BESIDE_SCALE * np.array([0.7, 1.0, 0, 0, 0])), rtol=1e-6)
    np.testing.assert_allclose(
        beside[1], np.log1p(BESIDE_SCALE * 0.7 * np.array([0.7, 1.0, 0.5, 0, 0])), rtol=1e-6
    )
    assert followed.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_the_last_two_acts_of_the_basket_are_recent_and_those_before_less_so() -> None:
    one = segment([4, 0, 1, 2, 3], first_new=4, baskets=[0, 1, 1, 1, 1])
    np.testing.assert_array_equal(dense([one], targets=1)[FACTS.index("recent")], [[0.5, 1, 1, 0, 0]])


@given(st.lists(segments(), min_size=1, max_size=4))
def test_what_was_returned_is_known_of_each_target(parts: list[Segment]) -> None:
    targets = [(one, target) for one in parts for target in one.targets]
    expected = {
        (number, item)
        for number, (one, target) in enumerate(targets)
        for item, since, until, _, is_return in zip(*one.rejections, strict=True)
        if is_return and since <= target <= until
    }
    assert set(zip(*returned(parts, [one.targets for one in parts]).tolist(), strict=True)) == expected


def test_without_segments_there_is_nothing() -> None:
    indices, values = evidence([], SIZE)
    assert indices.shape == (3, 0)
    assert values.shape == (0,)
