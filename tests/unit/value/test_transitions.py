"""Replay of transitions: a bounded ring that returns only what it holds, drawn as the settings say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import TransitionConfig
from pipeline.value.episodes import Step
from pipeline.value.transitions import CORRECTION, TransitionBuffer
from tests.support.decisions import changed, decision, equal

CAPACITY = 16


def buffer(priority: float = 0.0, actions: int = 4) -> TransitionBuffer:
    config = TransitionConfig(decisions=CAPACITY, actions=actions, priority=priority)
    return TransitionBuffer(config, (1, 2))


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def add(kept: TransitionBuffer, number: int, finish: bool = True) -> None:
    """Add a decision whose facts are its number, and say that it ended its session."""
    one = decision(np.full((2, 2), number), np.array([number, 0.0]), state=np.array([number]))
    assert kept.add(one, np.random.default_rng(number)) == number
    if finish:
        kept.finish(Step(number, 0.0, 0.0, number))


Acts = st.lists(st.sampled_from(["add", "link", "end", "draw", "restore"]), max_size=120)


@given(acts=Acts)
def test_what_is_drawn_was_added_and_is_linked_to_what_followed(acts: list[str]) -> None:
    kept, open_numbers, finished = buffer(), [], set()
    for act in acts:
        if act == "add":
            open_numbers.append(kept.added)
            add(kept, kept.added, finish=False)
        elif act in {"link", "end"} and open_numbers and open_numbers[0] < kept.added - 1:
            number = open_numbers.pop(0)
            kept.finish(Step(number, 0.5, 0.9 if act == "link" else 0.0, number + (act == "link")))
            finished.add(number)
        elif act == "restore":
            other = buffer()
            other.load(kept.state())
            assert equal(other.state(), kept.state())
            kept = other
        elif act == "draw" and kept.complete:
            drawn = kept.draw(8, random())
            numbers = drawn.decisions["state"][:, 0].astype(int)
            assert set(numbers.tolist()) <= {n for n in finished if n >= kept.added - CAPACITY}
            ahead = drawn.following["state"][:, 0] - drawn.decisions["state"][:, 0]
            assert ahead.tolist() == (drawn.decisions["discount"] > 0).tolist()
        assert len(kept) == min(kept.added, CAPACITY)
        assert kept.complete == len({n for n in finished if n >= kept.added - CAPACITY})


def test_a_transition_that_is_finished_too_late_is_left_out() -> None:
    kept = buffer()
    for number in range(CAPACITY + 1):
        add(kept, number, finish=False)
    kept.finish(Step(0, 0.0, 0.9, 1))
    assert kept.complete == 0


def test_consumed_items_come_first_and_what_does_not_fit_is_left_out() -> None:
    kept = buffer(actions=3)
    items = np.arange(10.0).reshape(5, 2)
    kept.add(decision(items, np.array([0, 0, 7.0, 0, -1.0]), others=np.full((2, 2), 99)), random())
    state = kept.state()
    assert state["actions"][0].tolist() == [[4, 5], [8, 9], [0, 1]]
    assert state["rewards"][0].tolist() == [7, -1, 0]
    assert (int(state["shown"][0]), int(state["known"][0])) == (3, 3)


def test_what_else_could_have_been_shown_follows() -> None:
    kept = buffer()
    kept.add(decision(np.ones((2, 2)), np.zeros(2), others=np.full((1, 2), 5)), random())
    state = kept.state()
    assert state["actions"][0].tolist() == [[1, 1], [1, 1], [5, 5], [0, 0]]
    assert (int(state["shown"][0]), int(state["known"][0])) == (2, 3)


def test_if_that_is_not_known_actions_of_earlier_decisions_stand_in() -> None:
    kept = buffer()
    for number in range(3):
        add(kept, number)
    state = kept.state()
    assert state["known"].tolist() == [2, 4, 4]
    assert set(state["actions"][2, 2:].ravel().tolist()) <= {0.0, 1.0}


def test_all_are_drawn_alike_without_a_priority() -> None:
    kept = buffer()
    for number in range(4):
        add(kept, number)
    kept.note(np.arange(4), np.array([0.0, 1.0, 2.0, 7.0], np.float32))
    drawn = kept.draw(40_000, random())
    assert np.bincount(drawn.indices) / 40_000 == pytest.approx(np.full(4, 0.25), abs=0.01)
    assert drawn.weights.tolist() == [1.0] * 40_000


def test_large_errors_are_drawn_more_often_and_weigh_less() -> None:
    kept = buffer(priority=1.0)
    for number in range(4):
        add(kept, number)
    kept.note(np.arange(4), np.array([1.0, 1.0, 2.0, 4.0], np.float32))
    drawn = kept.draw(40_000, random())
    assert np.bincount(drawn.indices) / 40_000 == pytest.approx(np.array([1, 1, 2, 4]) / 8, abs=0.01)
    weights = {int(place): weight for place, weight in zip(drawn.indices, drawn.weights, strict=True)}
    assert weights == pytest.approx({0: 1, 1: 1, 2: 2**-CORRECTION, 3: 4**-CORRECTION})


def test_a_new_decision_forgets_the_error_of_the_one_it_replaces() -> None:
    kept = buffer(priority=1.0)
    for number in range(CAPACITY):
        add(kept, number)
    kept.note(np.arange(CAPACITY), np.full(CAPACITY, 9, np.float32))
    add(kept, CAPACITY)
    assert kept.state()["error"][:2].tolist() == [1, 9]


BAD_STATES = {
    "missing": {"added": None},
    "negative": {"added": np.array([-1])},
    "shape": {"actions": np.zeros((3, 4, 9), np.float32)},
    "not finite": {"rewards": np.full((3, 4), np.inf, np.float32)},
    "shown": {"shown": np.array([2, 2, 0])},
    "known": {"known": np.array([2, 4, 5])},
    "following": {"following": np.array([0, 1, 3])},
}


@pytest.mark.parametrize("changes", BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_state_that_is_none_is_refused(changes: dict[str, np.ndarray | None]) -> None:
    kept = buffer()
    for number in range(3):
        add(kept, number)
    before = kept.state()
    with pytest.raises(ValueError, match=next(iter(changes))):
        kept.load(changed(before, **changes))
    assert equal(kept.state(), before)
