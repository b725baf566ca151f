"""The head of the catalogue: by hand, and the same however it was reached."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.state.head import Head


def loaded(*acts: int) -> Head:
    head = Head()
    head.load(np.array(acts, dtype=np.int64))
    return head


def test_the_head_has_four_fifths_of_all_acts() -> None:
    assert loaded(8, 1, 1).least == 7, "the one item with 8 of 10 is enough"
    assert loaded(7, 1, 1, 1).least == 0, "7 of 10 is too few, and the others are alike"
    assert loaded(50, 30, 10, 5, 5).least == 29


def test_without_acts_all_is_tail() -> None:
    assert Head().least == loaded(0, 0).least == 0


@given(
    start=st.lists(st.integers(0, 9), max_size=8),
    steps=st.lists(st.dictionaries(st.integers(0, 7), st.integers(1, 30), max_size=4), max_size=12),
)
def test_it_follows_from_the_numbers_of_acts_alone(start: list[int], steps: list[dict[int, int]]) -> None:
    acts = np.zeros(8, dtype=np.int64)
    acts[: len(start)] = start
    head = loaded(*start)
    for step in steps:
        rows, added = (np.array(list(part), dtype=np.int64) for part in (step.keys(), step.values()))
        before = acts[rows]
        acts[rows] += added
        head.move(before, acts[rows])
        assert head.least == loaded(*acts.tolist()).least
        enough = [bound for bound in range(acts.max() + 1) if 5 * acts[acts > bound].sum() >= 4 * acts.sum()]
        assert head.least == max(enough, default=0) or not acts.any()
