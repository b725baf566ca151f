"""Keys are found where they are, and nowhere else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.state.sorted_keys import look_up

KEYS = st.lists(st.integers(-5, 5) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=8)


@given(keys=KEYS, wanted=KEYS)
def test_a_key_is_found_if_it_is_there(keys: list[int], wanted: list[int]) -> None:
    ascending = np.sort(np.array(keys, dtype=np.int64))
    found = look_up(ascending, np.array(wanted, dtype=np.int64))
    assert found.is_there.tolist() == [key in keys for key in wanted]
    assert found.at.tolist() == [sum(one < key for one in keys) for key in wanted]


def test_the_shape_is_that_of_the_wanted_keys() -> None:
    at, is_there = look_up(np.array([1, 3]), np.array([[3, 4], [1, 0]]))
    assert at.tolist() == [[1, 2], [0, 0]]
    assert is_there.tolist() == [[True, False], [True, False]]
    assert look_up(np.array([], dtype=np.int64), np.zeros((2, 3))).is_there.shape == (2, 3)
