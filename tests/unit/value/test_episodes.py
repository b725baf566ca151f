"""Episodes: returns of n steps as computed by hand, sessions that end by a pause, bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import EpisodeConfig
from pipeline.value.episodes import Episodes, Step
from tests.support.decisions import changed, equal

MINUTE = 60_000


def episodes(steps: int = 1, users: int = 10) -> Episodes:
    return Episodes(EpisodeConfig(session_minutes=30, discount=0.5, steps=steps, users=users))


def test_a_decision_is_known_by_the_next_one() -> None:
    linked = episodes()
    assert linked.add(1, 0, 0, 3.0) == []
    assert linked.add(1, MINUTE, 1, 5.0) == [Step(0, 0.0, 0.5, 1)]


def test_returns_of_three_steps() -> None:
    linked = episodes(steps=3)
    for number in range(3):
        assert linked.add(1, number * MINUTE, number, float(number + 1)) == []
    assert linked.add(1, 3 * MINUTE, 3, 4.0) == [Step(0, 0.5 * 2 + 0.25 * 3, 0.125, 3)]


def test_a_pause_ends_the_session_by_anybodys_clock() -> None:
    linked = episodes(steps=2)
    for number in range(2):
        linked.add(1, number * MINUTE, number, float(number + 1))
    assert linked.add(2, 31 * MINUTE, 2, 0.0) == []
    assert linked.add(2, 32 * MINUTE, 3, 0.0) == [Step(0, 1.0, 0.0, 0), Step(1, 0.0, 0.0, 1)]
    assert len(linked) == 1


def test_after_a_pause_the_same_user_begins_another_session() -> None:
    linked = episodes()
    linked.add(1, 0, 0, 1.0)
    assert linked.add(1, 31 * MINUTE, 1, 1.0) == [Step(0, 0.0, 0.0, 0)]
    assert linked.add(1, 32 * MINUTE, 2, 1.0) == [Step(1, 0.0, 0.5, 2)]


def test_users_are_not_mixed() -> None:
    linked = episodes()
    linked.add(1, 0, 0, 1.0)
    linked.add(2, 1, 1, 1.0)
    assert linked.add(1, 2, 2, 1.0) == [Step(0, 0.0, 0.5, 2)]


def test_beyond_the_bound_the_oldest_session_is_cut_short_without_an_end() -> None:
    linked = episodes(steps=3, users=1)
    for number in range(3):
        linked.add(1, number, number, 1.0)
    assert linked.add(2, 5, 3, 1.0) == [Step(0, 0.5, 0.25, 2), Step(1, 0.0, 0.5, 2)]
    assert len(linked) == 1


Visits = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 40 * MINUTE), st.floats(-5, 5)), max_size=40)


@given(visits=Visits, steps=st.integers(1, 3), cut=st.integers(0, 40))
def test_a_restored_state_goes_on_alike(visits: list[tuple[int, int, float]], steps: int, cut: int) -> None:
    unbroken, restored = episodes(steps, users=3), episodes(steps, users=3)
    time, found = 0, []
    for number, (user, pause, reward) in enumerate(visits):
        time += pause
        if number == cut:
            restored.load(unbroken.state())
        found += unbroken.add(user, time, number, reward)
        if number >= cut:
            restored.add(user, time, number, reward)
    if cut < len(visits):
        assert equal(restored.state(), unbroken.state())
    assert len(unbroken) <= 3
    assert len({step.number for step in found}) == len(found)
    assert all(step.number < step.following or step.discount == 0 for step in found)


BAD_STATES = {
    "missing": {"last": None},
    "lengths do not sum up": {"lengths": np.array([5, 1])},
    "empty session": {"lengths": np.array([2, 0])},
    "a user twice": {"users": np.array([1, 1])},
    "rewards": {"rewards": np.array([np.nan, 0.0])},
}


@pytest.mark.parametrize("changes", BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_state_that_is_none_is_refused(changes: dict[str, np.ndarray | None]) -> None:
    linked = episodes()
    linked.add(1, 0, 0, 1.0)
    linked.add(2, 0, 1, 1.0)
    with pytest.raises(ValueError, match=r"last|lengths|user|rewards"):
        linked.load(changed(linked.state(), **changes))
