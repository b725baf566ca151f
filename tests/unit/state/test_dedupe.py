"""A duplicate is detected while its event is among the last `window` ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.state.dedupe import SeenEvents


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8))
def test_it_agrees_with_a_plain_list(digests: list[int], window: int) -> None:
    seen, naive = SeenEvents(window), list[int]()
    for digest in digests:
        assert seen.add(digest) == (digest not in naive)
        if digest not in naive:
            naive = [*naive, digest][-window:]
    assert seen.to_array().tolist() == naive


@given(st.lists(st.integers(0, 12), max_size=30), st.lists(st.integers(0, 12), max_size=30))
def test_a_rebuilt_window_continues_like_the_original(before: list[int], after: list[int]) -> None:
    seen = SeenEvents(5)
    for digest in before:
        seen.add(digest)
    rebuilt = SeenEvents(5, seen.to_array().tolist())
    assert [rebuilt.add(digest) for digest in after] == [seen.add(digest) for digest in after]
