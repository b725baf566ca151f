"""Items of acts that left a history are remembered once each, up to a bound, and survive the wire."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SignalsConfig
from pipeline.events import InteractionType as T
from pipeline.events import event_digest
from pipeline.state.acted_items import (
    MOST_ITEMS,
    NO_ITEMS,
    decode_older,
    digests_of,
    encode_older,
    item_digest,
    untyped,
    with_acts,
)
from pipeline.state.histories import Act, Histories, decode_history, encode_history
from pipeline.state.signals import Signals
from tests.support.build import purchase


@given(st.lists(st.integers(0, 30), max_size=80))
def test_a_history_and_its_older_items_hold_every_item_ever_acted_on(items: list[int]) -> None:
    histories = Histories(length=5)
    for number, item in enumerate(items):
        histories.fold(
            "ann", Act.of(purchase("ann", f"i{item}", number)), Signals(SignalsConfig(), 5).remembered
        )
    older = set(digests_of(histories.older("ann"), T).tolist())
    recent = {item_digest(act.item) for act in histories.of("ann")}
    assert older | recent == {item_digest(f"i{item}") for item in items}
    assert older == {item_digest(f"i{item}") for item in items[:-5]}
    assert len(histories.older("ann")) == len(older)


def test_the_latest_to_leave_are_kept() -> None:
    older = with_acts(NO_ITEMS, ((f"i{number}", T.VIEW) for number in range(MOST_ITEMS + 3)))
    digests = digests_of(older, T)
    assert digests.size == MOST_ITEMS
    assert digests[-1] == item_digest(f"i{MOST_ITEMS + 2}")
    assert item_digest("i2") not in digests and item_digest("i3") in digests
    assert len(encode_older(older)) < 110_000


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(T))), st.sets(st.sampled_from(T)))
def test_types_are_remembered(acts: list[tuple[str, T]], types: set[T]) -> None:
    older = with_acts(NO_ITEMS, acts)
    assert older.size == len({item for item, _ in acts})
    expected = {item_digest(item) for item, kind in acts if kind in types}
    assert set(digests_of(older, types).tolist()) == expected


def test_items_from_before_types_were_recorded_have_any_but_a_dislike() -> None:
    digests = np.array([event_digest("cup"), event_digest("lamp")])
    fields = {"acts": [], "offset": 3, "older": encode_older(digests)}
    _, _, older = decode_history(orjson.dumps(fields))
    assert np.array_equal(older, untyped(digests))
    for kind in T:
        found = digests_of(older, [kind]).tolist()
        assert found == ([] if kind is T.DISLIKE else [item_digest("cup"), item_digest("lamp")])


def test_they_survive_the_wire_beside_a_history_and_may_be_missing() -> None:
    history, older = (
        (Act.of(purchase("ann", "cup", 1)),),
        with_acts(NO_ITEMS, [("plate", T.VIEW), ("lamp", T.DISLIKE)]),
    )
    wire = encode_history(history, 7, older)
    found, end, left = decode_history(wire)
    assert (found, end) == (history, 7)
    assert np.array_equal(left, older)
    assert encode_history(history, 7) == encode_history(history, 7, NO_ITEMS)
    assert decode_history(encode_history(history, 7))[2].size == 0


@pytest.mark.parametrize("text", ["AAA", "?", encode_older(np.arange(MOST_ITEMS + 1))])
def test_damaged_ones_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode_older(text)


def test_copies_are_independent_and_a_forgotten_user_is_forgotten() -> None:
    histories = Histories(length=1)
    for number, item in enumerate(("cup", "plate", "lamp")):
        histories.fold("ann", Act.of(purchase("ann", item, number)), Signals(SignalsConfig(), 1).remembered)
    copy = histories.copy()
    histories.forget("ann")
    assert (histories.older("ann").size, copy.older("ann").size) == (0, 2)
