"""Histories keep the last acts, are copied cheaply, and survive encoding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.event_fields import LATEST_MS
from pipeline.events import InteractionType
from pipeline.state.histories import Act, Histories, decode_history, encode_history
from tests.support.build import purchase

ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)
acts = st.builds(
    Act,
    item=ids,
    type=st.sampled_from(InteractionType),
    time=st.integers(0, LATEST_MS),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    session=st.none() | ids,
)


def act(number: int) -> Act:
    return Act(f"i{number}", InteractionType.VIEW, number)


def test_the_last_acts_are_kept_oldest_first() -> None:
    histories = Histories(length=3)
    for number in range(5):
        histories.fold("u", act(number))
    assert histories.of("u") == (act(2), act(3), act(4))
    assert histories.of("unknown") == ()


def test_an_act_keeps_what_matters_of_an_event() -> None:
    assert Act.of(purchase("u", "cup", 7, "s")) == Act("cup", InteractionType.PURCHASE, 7, None, "s")


def test_a_copy_is_independent() -> None:
    histories = Histories(length=3)
    histories.fold("kept", act(0))
    histories.fold("forgotten", act(0))
    captured = histories.copy()
    histories.fold("kept", act(1))
    histories.fold("new", act(2))
    histories.forget("forgotten")
    assert dict(captured.items()) == {"kept": (act(0),), "forgotten": (act(0),)}
    assert dict(histories.items()) == {"kept": (act(0), act(1)), "new": (act(2),)}


def test_put_cuts_to_length_and_forget_may_be_called_twice() -> None:
    histories = Histories(length=2)
    histories.put("u", (act(0), act(1), act(2)))
    assert histories.of("u") == (act(1), act(2))
    histories.forget("u")
    histories.forget("u")
    assert len(histories) == 0


@given(st.lists(acts, max_size=5), st.integers(0, 2**53))
def test_the_wire_form_loses_nothing(history: list[Act], offset: int) -> None:
    found, end, _ = decode_history(encode_history(tuple(history), offset))
    assert (found, end) == (tuple(history), offset)
