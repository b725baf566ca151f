"""Evidence equals the result of a naive loop over targets and the acts before them."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.state.evidence import FACTS, FADING, REPEAT_SCALE, evidence
from pipeline.state.segments import Segment
from tests.support.build import segment

SIZE = 5


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    items = draw(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=10))
    opens = draw(st.lists(st.integers(0, 1), min_size=len(items), max_size=len(items)))
    baskets = list(itertools.accumulate([0, *opens[1:]]))
    return segment(items, draw(st.integers(0, len(items))), baskets)


def naive(one: Segment, target: int) -> NDArray[np.float64]:
    """The facts of one target for every item, ``[facts, size]``."""
    facts = np.zeros((len(FACTS), SIZE))
    for act in range(target):
        item, passed = one.items[act], one.baskets[target] - one.baskets[act]
        if passed:
            facts[0, item] += FADING ** (passed - 1)
        else:
            facts[1, item] = 1
        if act and one.items[act - 1] == one.items[target - 1]:
            facts[2, item] = 1
    facts[0] = np.log1p(REPEAT_SCALE * facts[0])
    return facts


def dense(parts: list[Segment], targets: int) -> NDArray[np.float32]:
    """All facts, including zeros, ``[facts, targets, size]``; checks that each is given once."""
    indices, values = evidence(parts, SIZE)
    assert np.unique(indices, axis=1).shape == indices.shape
    assert (np.diff(indices[1]) >= 0).all()
    facts = np.zeros((len(FACTS), targets, SIZE), dtype=values.dtype)
    facts[tuple(indices)] = values
    assert facts.dtype == np.float32
    return facts


@given(st.lists(segments(), min_size=1, max_size=4))
def test_it_equals_a_naive_loop(parts: list[Segment]) -> None:
    expected = [naive(one, target) for one in parts for target in one.targets]
    actual = dense(parts, len(expected))
    for target, facts in enumerate(expected):
        np.testing.assert_allclose(actual[:, target], facts, rtol=1e-5)


def test_by_hand() -> None:
    """Baskets 0 1 | 0 2, then any item: 2 is the last item, and nothing has followed it before."""
    one = segment([0, 1, 0, 2, 3], first_new=3, baskets=[0, 0, 1, 1, 1])
    repeat, in_basket, followed = dense([one], targets=2)
    once = math.log1p(REPEAT_SCALE)
    np.testing.assert_allclose(repeat, [[once, once, 0, 0, 0]] * 2, rtol=1e-6)
    assert in_basket.tolist() == [[1, 0, 0, 0, 0], [1, 0, 1, 0, 0]]
    assert followed.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_without_segments_there_is_nothing() -> None:
    indices, values = evidence([], SIZE)
    assert indices.shape == (3, 0)
    assert values.shape == (0,)
