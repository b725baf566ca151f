"""Features survive the impression as they are rounded, and projections are the same on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.events import Features
from pipeline.value.features import (
    ITEM,
    JOINT,
    LARGEST,
    LAYOUT,
    OWN,
    STATE,
    directions,
    pack,
    project_items,
    project_user,
    rounded,
    unpack,
)
from pipeline.value.port import Vectors

numbers = st.floats(-2e3, 2e3, width=32)
states = arrays.arrays(np.float32, STATE, elements=numbers)
items = arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(ITEM)), elements=numbers)


@given(states, items, items)
def test_what_is_packed_is_read_as_it_was_rounded(state: Vectors, shown: Vectors, others: Vectors) -> None:
    read = unpack(pack(state, shown, others), len(shown))
    for found, exact in zip(read, (state, shown, others), strict=True):
        assert found is not None
        np.testing.assert_array_equal(found, rounded(exact))
        np.testing.assert_array_equal(rounded(found), found)
        np.testing.assert_allclose(found, np.clip(exact, -LARGEST, LARGEST), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "count", "fault"),
    [
        ({"layout": "0"}, 2, "of layout '0'"),
        ({}, 3, "not 13 of a state and 36 of each item"),
        ({"state": ""}, 2, "not 13 of a state"),
        ({"state": "fHx8"}, 2, "not numbers of 16 bits"),
        ({"state": "AH4="}, 2, "not numbers"),
        ({"state": "/3s="}, 2, "1000 at most"),
        ({"items": "?"}, 2, "base64"),
        ({"others": "AAA="}, 2, "36 of each item"),
        ({"others": "AH4="}, 2, "not numbers"),
    ],
)
def test_what_are_no_features_is_refused(change: dict[str, Any], count: int, fault: str) -> None:
    packed = pack(np.zeros(STATE, dtype=np.float32), np.zeros((2, ITEM), dtype=np.float32))
    with pytest.raises(ValueError, match=fault):
        unpack(packed.model_copy(update=change), count)


def test_no_others_are_said_as_nothing() -> None:
    packed = pack(np.zeros(STATE, dtype=np.float32), np.zeros((2, ITEM), dtype=np.float32))
    assert packed.others == "" and unpack(packed, 2).others is None


def test_the_layout_is_pinned_because_learned_values_rest_on_it() -> None:
    """Another projection, or another meaning of a column, needs another number of the layout."""
    user, item = np.arange(1, 9, dtype=np.float32), np.ones((1, 8), dtype=np.float32)
    assert (LAYOUT, STATE, ITEM) == ("1", 13, 36)
    projected = project_items(directions(user), directions(item))
    assert projected.shape == (1, JOINT + OWN)
    np.testing.assert_allclose(projected[0, :3], [0.280056, 1.400280, 1.820364], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(project_user(directions(user))[:2], [-0.700140, 0.0], rtol=1e-4, atol=1e-6)


def test_lengths_do_not_matter_and_zeros_stay() -> None:
    rng = np.random.default_rng(0)
    user, item = rng.normal(size=32).astype(np.float32), rng.normal(size=(3, 32)).astype(np.float32)
    longer = project_items(directions(7 * user), directions(3 * item))
    np.testing.assert_allclose(
        longer, project_items(directions(user), directions(item)), rtol=1e-4, atol=1e-6
    )
    assert not project_items(directions(np.zeros_like(user)), directions(item))[:, :JOINT].any()
    assert not project_user(directions(np.zeros_like(user))).any()


def test_features_are_of_moderate_size() -> None:
    rng = np.random.default_rng(0)
    user, item = rng.normal(size=384).astype(np.float32), rng.normal(size=(1_000, 384)).astype(np.float32)
    assert 0.7 < project_items(directions(user), directions(item)).std() < 1.3


def test_features_are_bounded_on_the_wire() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        Features(layout=LAYOUT, state="A" * 5_000, items="")
