"""Pages are sequences; a changed copy leaves the original as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.serve.state.pages import PAGE, Pages

LENGTHS = st.integers(0, 3 * PAGE)


@given(LENGTHS, LENGTHS, LENGTHS, st.lists(st.integers(0, 3 * PAGE), max_size=3))
def test_copies_are_as_those_of_a_list_and_leave_the_original(
    length: int, cut: int, more: int, positions: list[int]
) -> None:
    listed = list(range(length))
    pages = Pages(listed)
    changes = {place: -place for place in positions if place < length}
    changed = [changes.get(place, value) for place, value in enumerate(listed)]
    kept = min(cut, length)
    copy = pages.changed(changes).cut(kept).extended(range(more))
    assert list(copy) == [*changed[:kept], *range(more)]
    assert len(copy) == kept + more
    assert list(pages) == listed
    assert [copy[place] for place in range(len(copy))] == list(copy)
    assert copy == Pages(copy)
    assert list(copy[1:4]) == list(copy)[1:4]


def test_there_is_nothing_beyond_the_end() -> None:
    with pytest.raises(IndexError):
        Pages("ab")[2]
    assert Pages("ab")[-1] == "b"
