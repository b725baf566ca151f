"""Histories keep the last acts, are copied cheaply, and survive encoding."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SignalsConfig
from pipeline.event_fields import LATEST_MS
from pipeline.events import InteractionType
from pipeline.state import histories as module
from pipeline.state.histories import (
    RECENT,
    Act,
    Histories,
    History,
    decode_history,
    encode_history,
    inserted,
)
from pipeline.state.signals import Signals
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


REMEMBERED = Signals(SignalsConfig(), history_length=3).remembered


def act(number: int) -> Act:
    return Act(f"i{number}", InteractionType.VIEW, number)


def test_the_last_acts_are_kept_oldest_first() -> None:
    histories = Histories(length=3)
    for number in range(5):
        histories.fold("u", act(number), REMEMBERED)
    assert histories.of("u") == (act(2), act(3), act(4))
    assert histories.of("unknown") == ()


def test_an_act_keeps_what_matters_of_an_event() -> None:
    assert Act.of(purchase("u", "cup", 7, "s")) == Act("cup", InteractionType.PURCHASE, 7, None, "s")


def test_a_copy_is_independent() -> None:
    histories = Histories(length=3)
    histories.fold("kept", act(0), REMEMBERED)
    histories.fold("forgotten", act(0), REMEMBERED)
    captured = histories.copy()
    histories.fold("kept", act(1), REMEMBERED)
    histories.fold("new", act(2), REMEMBERED)
    histories.forget("forgotten")
    assert dict(captured.items()) == {"kept": (act(0),), "forgotten": (act(0),)}
    assert dict(histories.items()) == {"kept": (act(0), act(1)), "new": (act(2),)}


def test_what_was_kept_of_a_longer_history_is_cut_when_its_user_acts() -> None:
    histories = Histories(length=3)
    histories.put("u", tuple(act(number) for number in range(5)))
    histories.fold("u", act(5), REMEMBERED)
    assert histories.of("u") == (act(3), act(4), act(5))
    assert histories.older("u").size == 3


@given(st.lists(st.tuples(st.sampled_from("abcd"), acts), max_size=30))
def test_packed_histories_are_read_as_they_were_written(folded: list[tuple[str, Act]]) -> None:
    plain: dict[str, History] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECENT", 2)
        histories = Histories(length=3)
        for user, one in folded:
            histories.fold(user, one, REMEMBERED)
            plain[user] = REMEMBERED(inserted(plain.get(user, ()), one))[0]
        copied = histories.copy()
        histories.fold("e", act(0), REMEMBERED)
    assert dict(copied.items()) == plain
    assert repr(dict(copied.items())) == repr(plain), "a type is an InteractionType again, and 1.0 no integer"
    assert len(copied) == len(plain)


def test_few_histories_cost_the_garbage_collector_anything() -> None:
    histories, tracked = Histories(length=10), len(gc.get_objects())
    for number in range(20_000):
        histories.fold(f"u{number}", act(number), REMEMBERED)
    assert len(gc.get_objects()) - tracked < 5 * RECENT


def test_forget_may_be_called_twice() -> None:
    histories = Histories(length=2)
    histories.put("u", (act(0),))
    histories.forget("u")
    histories.forget("u")
    assert len(histories) == 0


@given(st.lists(acts, max_size=5), st.integers(0, 2**53))
def test_the_wire_form_loses_nothing(history: list[Act], offset: int) -> None:
    found, end, _ = decode_history(encode_history(tuple(history), offset))
    assert (found, end) == (tuple(history), offset)
